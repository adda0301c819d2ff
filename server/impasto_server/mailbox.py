"""A mailbox for one slow reader: it keeps what matters and replaces what is stale."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Items for one reader in the same event loop, read with `async for` or `next`.

    A new item of a kind replaces an unread item of the same kind and is put at the end. An item without a
    kind is never dropped. A stalled reader therefore costs one item per kind, and next reads the newest.
    """

    def __init__(self) -> None:
        self._items: dict[object, T] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None

    def put(self, item: T, *, kind: str | None = None) -> bool:
        """Adds an item, and tells whether it replaced an unread one. After `close` it does nothing."""
        if self._closed:
            return False
        key = object() if kind is None else kind
        replaced = self._items.pop(key, None) is not None
        self._items[key] = item
        self._changed.set()
        return replaced

    def __len__(self) -> int:
        """The number of unread items."""
        return len(self._items)

    def clear(self) -> None:
        """Drops all unread items."""
        self._items.clear()

    def close(self, error: Exception | None = None) -> None:
        """Ends the reading: after the unread items, or at once by raising `error`."""
        self._closed = True
        self._error = self._error or error
        self._changed.set()

    def __aiter__(self) -> Mailbox[T]:
        return self

    async def __anext__(self) -> T:
        return await self.next()

    async def next(self, timeout: float | None = None) -> T:
        """Waits for the next item.

        Args:
            timeout: maximum wait in seconds; None for no limit.

        Raises:
            asyncio.TimeoutError: no item came in time.
            StopAsyncIteration: the mailbox is closed and all its items are read.
        """
        while self._error is None:
            if self._items:
                return self._items.pop(next(iter(self._items)))
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            # The timeout is for the waiting only. If it ended the taking of an item, the item could get lost.
            await asyncio.wait_for(self._changed.wait(), timeout)
        raise self._error
