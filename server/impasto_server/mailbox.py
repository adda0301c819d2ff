"""A mailbox for one slow reader: what matters is kept, what is stale is replaced."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Items for one reader of the same event loop, read by `async for` or `next`.

    An item of a kind replaces an unread item of the same kind and takes its place at the end; an
    item without a kind is never dropped. So a stalled reader costs one item for each kind, and what
    it reads next is the newest.
    """

    def __init__(self) -> None:
        self._items: dict[object, T] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None

    def put(self, item: T, *, kind: str | None = None) -> bool:
        """Puts an item in and tells whether it replaced an unread one. Nothing comes in after `close`."""
        if self._closed:
            return False
        key = object() if kind is None else kind
        replaced = self._items.pop(key, None) is not None
        self._items[key] = item
        self._changed.set()
        return replaced

    def __len__(self) -> int:
        """How many items are unread."""
        return len(self._items)

    def clear(self) -> None:
        """Drops what is unread."""
        self._items.clear()

    def close(self, error: Exception | None = None) -> None:
        """Ends the reading: after the items that are there, or at once by raising `error`."""
        self._closed = True
        self._error = self._error or error
        self._changed.set()

    def __aiter__(self) -> Mailbox[T]:
        return self

    async def __anext__(self) -> T:
        return await self.next()

    async def next(self, timeout: float | None = None) -> T:
        """The next item.

        Args:
            timeout: seconds to wait for it at most; None for no limit.

        Raises:
            asyncio.TimeoutError: none came in time.
            StopAsyncIteration: the mailbox is closed and read to its end.
        """
        while self._error is None:
            if self._items:
                return self._items.pop(next(iter(self._items)))
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            # Only the waiting may be cut short: an item that was taken out could get lost.
            await asyncio.wait_for(self._changed.wait(), timeout)
        raise self._error
