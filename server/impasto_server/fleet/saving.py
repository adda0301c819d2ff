"""Stores the checkpoints that a worker sends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from impasto_server.jobs.tasks import Tasks
from impasto_server.store.checkpoints import CheckpointWriter
from impasto_server.store.errors import StoreError
from impasto_server.store.facade import AsyncStore
from impasto_server.v1 import worker_pb2

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Saving:
    """Stores the checkpoints of a job as they come, piece by piece.

    If a checkpoint cannot be written, the job goes on: the previous checkpoint is still there.
    """

    def __init__(self, store: AsyncStore, tasks: Tasks, job_name: str) -> None:
        self._store = store
        self._tasks = tasks
        self._job_name = job_name
        self._writer: CheckpointWriter | None = None
        self._turn = asyncio.Lock()

    async def take(self, chunk: worker_pb2.CheckpointChunk) -> bool:
        """Stores a piece, and tells whether it completes a checkpoint."""
        # In a task of its own, so that a cancellation does not interrupt the writing of a piece.
        return await self._tasks.complete(self._in_turn(self._take(chunk)))

    async def aclose(self) -> None:
        """Discards an incomplete checkpoint."""
        await self._tasks.complete(self._in_turn(self._abort()))

    async def _in_turn(self, work: Coroutine[Any, Any, T]) -> T:
        async with self._turn:
            return await work

    async def _take(self, chunk: worker_pb2.CheckpointChunk) -> bool:
        checkpoints = self._store.store.checkpoints
        try:
            if chunk.offset == 0:
                await self._abort()
                self._writer = await self._store.files(checkpoints.writer, self._job_name, chunk.evaluation)
            if self._writer is None:
                return False
            await self._store.files(self._writer.write, chunk.data)
            if chunk.offset + len(chunk.data) < chunk.size_bytes:
                return False
            writer, self._writer = self._writer, None
            return await self._store.files(writer.commit)
        except StoreError as error:
            _log.error("checkpoint cannot be stored job=%s error=%r", self._job_name, str(error))
            await self._abort()
            return False

    async def _abort(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(StoreError):
                await self._store.files(writer.abort)
