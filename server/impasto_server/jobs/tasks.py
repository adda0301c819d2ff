"""Tasks that are completed even if their caller leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from impasto_server.contract.errors import CallError
from impasto_server.store.errors import Refusal, StoreError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Tasks:
    """Keeps tasks running until they end, independently of their callers."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Starts a task. An unexpected error is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def complete(self, work: Coroutine[Any, Any, T]) -> T:
        """Completes work and returns its result. If the caller is cancelled, the work goes on."""
        return await asyncio.shield(self.start(work))

    async def join(self, seconds: float) -> None:
        """Waits until no task is left, including tasks that are started meanwhile.

        Args:
            seconds: time after which the remaining tasks are cancelled.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._tasks and loop.time() < deadline:
            await asyncio.wait(set(self._tasks), timeout=deadline - loop.time())
        left = set(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        # Errors of these kinds are answers for the caller, who may have left.
        if error is not None and not isinstance(error, (CallError, StoreError, Refusal)):
            _log.error("a task failed", exc_info=error)
