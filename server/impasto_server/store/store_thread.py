"""The store from an event loop: one call after the other, in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from impasto_server.store.store import Store

T = TypeVar("T")


class StoreThread:
    """Calls methods of a store in their order, off the event loop: a commit waits for the disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    def __call__(self, method: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Has a method called; the answer can be awaited."""
        work = functools.partial(method, *args)
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Waits for the calls that have been made."""
        await asyncio.to_thread(self._thread.shutdown)
