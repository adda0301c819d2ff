"""Sends a job's events to a caller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.gateway.metrics import Metrics
from impasto_server.jobs.job import Job
from impasto_server.jobs.watching import Watcher


async def relay(
    watcher: Watcher,
    write: Callable[[pb.JobEvent], Awaitable[None]],
    *,
    heartbeat_interval: float,
    metrics: Metrics,
) -> pb.JobEvent | None:
    """Writes a watcher's events until they end, and returns the last one.

    Writes a heartbeat when no event came for `heartbeat_interval` seconds.
    """
    metrics.watchers(+1)
    skipped = 0
    event: pb.JobEvent | None = None
    try:
        while True:
            try:
                event = await watcher.next(heartbeat_interval)
            except asyncio.TimeoutError:
                event = watcher.heartbeat()
            except StopAsyncIteration:
                return event
            await write(event)
            if event.HasField("preview"):
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
