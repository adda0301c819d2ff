"""The store for an event loop: calls that wait for the disk run on other threads, by kind.

Calls with large files, which may take long, take turns between tenants (see `shares.acting_for`).
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, Protocol, TypeVar

from impasto_server.shares import Shares, acting_for
from impasto_server.store.errors import StoreClosed
from impasto_server.store.store import Store

CHANGE, READ, FILES, LOAD = "change", "read", "files", "load"
"""Lanes: short durable changes of rows; reads; writes of large files; reads of large files."""

_THREADS = {CHANGE: 1, READ: 4, FILES: 4, LOAD: 4}

P = ParamSpec("P")
T = TypeVar("T")


class Runner(Protocol):
    """Does work of the store for an event loop."""

    async def run(self, lane: str, work: Callable[[], T]) -> T:
        """Does the work and returns its result. Work in one lane never waits for work in another."""
        ...


class ThreadRunner:
    """Runs the work of each lane in its own threads."""

    def __init__(self) -> None:
        self._lanes = {
            lane: ThreadPoolExecutor(threads, thread_name_prefix=f"store-{lane}")
            for lane, threads in _THREADS.items()
        }

    async def run(self, lane: str, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._lanes[lane], work)

    async def close(self) -> None:
        """Ends the threads once they have done their work."""
        for lane in self._lanes.values():
            await asyncio.to_thread(lane.shutdown)


class AsyncStore:
    """Calls methods of a store outside of the event loop.

    A cancelled caller stops waiting, but its call is still carried out.

    Attributes:
        store: the store itself, for calls from other threads; close it after this object.
    """

    def __init__(self, store: Store, runner: Runner | None = None) -> None:
        """
        Args:
            store: the store whose methods are called.
            runner: does the work; None: threads, which `close` ends.
        """
        self.store = store
        self._threads: ThreadRunner | None = None
        if runner is None:
            runner = self._threads = ThreadRunner()
        self._runner = runner
        # One tenant may use half of the threads.
        self._turns = {lane: Shares(_THREADS[lane] // 2, _THREADS[lane]) for lane in (FILES, LOAD)}
        self._begun: set[asyncio.Task[Any]] = set()
        self._last_change: asyncio.Task[Any] | None = None
        self._closed = False

    async def change(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Makes a short durable change of rows. Changes are made one at a time, in the order of the calls.

        Raises:
            StoreClosed: the store was closed; the change is not made.
            Exception: any that the method raises.
        """
        before = self._last_change
        work = functools.partial(method, *args, **kwargs)

        async def in_turn() -> T:
            nonlocal before
            if before is not None:
                await asyncio.wait([before])
                before = None
            return await self._runner.run(CHANGE, work)

        task = self._begin(in_turn)
        self._last_change = task
        return await asyncio.shield(task)

    async def read(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Reads rows or small files. Waits for no change.

        Raises:
            StoreClosed: the store was closed.
            Exception: any that the method raises.
        """
        work = functools.partial(method, *args, **kwargs)
        return await asyncio.shield(self._begin(lambda: self._runner.run(READ, work)))

    async def files(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Writes large files and the rows that name them. No change waits for this.

        Raises:
            StoreClosed: the store was closed; nothing is done.
            Exception: any that the method raises.
        """
        work = functools.partial(method, *args, **kwargs)

        async def in_turn() -> T:
            async with self._turns[FILES].held(acting_for.get(), 1):
                return await self._runner.run(FILES, work)

        return await asyncio.shield(self._begin(in_turn))

    async def load(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Reads or hashes large files. Waits for no writer.

        The method must change no row. The call of a caller that is cancelled before its turn is not made.

        Raises:
            StoreClosed: the store was closed.
            Exception: any that the method raises.
        """
        work = functools.partial(method, *args, **kwargs)
        turns, tenant = self._turns[LOAD], acting_for.get()

        async def in_turn() -> T:
            try:
                return await self._runner.run(LOAD, work)
            finally:
                turns.give_back(tenant, 1)

        # A caller that is cancelled before its turn leaves no work behind.
        await turns.take(tenant, 1, math.inf)
        try:
            task = self._begin(in_turn)
        except BaseException:
            turns.give_back(tenant, 1)
            raise
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Waits for calls in progress. Later calls raise `StoreClosed`. The store itself stays open."""
        self._closed = True
        while self._begun:
            await asyncio.wait(self._begun)
        if self._threads is not None:
            await self._threads.close()

    def _begin(self, run: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        if self._closed:
            raise StoreClosed("the server is shutting down; try again later")
        task = asyncio.ensure_future(run())
        self._begun.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._begun.discard(task)
        if task is self._last_change:
            self._last_change = None
        # Retrieves the error, since a cancelled caller does not.
        if not task.cancelled():
            task.exception()
