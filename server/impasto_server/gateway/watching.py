"""Sends the events of a job, or of all jobs of a tenant, to a caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.gateway.metrics import Metrics
from impasto_server.jobs.job import Job
from impasto_server.jobs.watching import Watcher

Event = TypeVar("Event", pb.JobEvent, pb.WatchJobsResponse)


Told = TypeVar("Told", covariant=True)


class Watching(Protocol[Told]):
    """A watcher of one job, or of all of a tenant."""

    @property
    def skipped_previews(self) -> int: ...

    async def next(self, timeout: float | None = None) -> Told: ...

    def heartbeat(self) -> Told: ...


async def relay(
    watcher: Watching[Event],
    write: Callable[[Event], Awaitable[None]],
    *,
    heartbeat_interval: float,
    metrics: Metrics,
) -> Event | None:
    """Writes a watcher's events until they end, and returns the last one.

    Writes a heartbeat when no event came for `heartbeat_interval` seconds.
    """
    metrics.watchers(+1)
    skipped = 0
    event: Event | None = None
    try:
        while True:
            try:
                event = await watcher.next(heartbeat_interval)
            except asyncio.TimeoutError:
                event = watcher.heartbeat()
            except StopAsyncIteration:
                return event
            await write(event)
            told = event.event if isinstance(event, pb.WatchJobsResponse) else event
            if told.HasField("preview"):
                metrics.preview_sent()
            metrics.previews_skipped(watcher.skipped_previews - skipped)
            skipped = watcher.skipped_previews
    finally:
        metrics.watchers(-1)


async def newer_preview(
    job: Job, watcher: Watcher, after_sequence: int, seconds: float
) -> pb.JobEvent | None:
    """Waits for a preview that is newer than a sequence number.

    Returns:
        The newest preview's event; None if there is none within `seconds`, or once the job is final or the
        server is shutting down.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        event = job.audience.preview
        if event is not None and event.sequence > after_sequence:
            return event
        left = deadline - loop.time()
        if job.final or left <= 0:
            return None
        try:
            await watcher.next(left)
        except (asyncio.TimeoutError, StopAsyncIteration):
            # Look for a preview once more, then give up.
            deadline = 0.0
