"""Watching a job from a host, whose main thread may be busy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from impasto.errors import DataLoss
from impasto.hosts.errands import Errands
from impasto.job import Job, JobChanged, Preview, Progress

if TYPE_CHECKING:
    from impasto.client import Client
    from impasto.painting import Painting


class Watcher:
    """Watches a job in a thread and delivers its events on the main thread.

    If the main thread is busy, a newer progress or preview replaces one that it has not taken yet. No call
    comes after `leave`.

    Args:
        errands: starts the thread and delivers the calls.
        decode: decodes a preview, in the thread.
        on_job, on_progress, on_preview: called with the new state, progress or decoded preview.
        on_failed: called with the error that ended the watching.
    """

    def __init__(
        self,
        errands: Errands,
        *,
        decode: Callable[[Preview], Any],
        on_job: Callable[[Job], None],
        on_progress: Callable[[Progress], None],
        on_preview: Callable[[Any], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self._errands = errands
        self._decode = decode
        self._on_job = on_job
        self._on_newest: dict[str, Callable[[Any], None]] = {"progress": on_progress, "preview": on_preview}
        self._on_failed = on_failed
        self._lock = threading.Lock()
        self._newest: dict[str, Any] = {}
        self._painting: Painting | None = None
        self._left = False

    def start(self, client: Client, name: str) -> None:
        """Begins to watch a job."""
        self._errands.start(lambda: self._watch(client, name), failed=self._failed)

    def leave(self) -> None:
        """Stops watching. May be used before the watching has begun."""
        with self._lock:
            self._left = True
            painting = self._painting
        if painting is not None:
            painting.leave()

    def _watch(self, client: Client, name: str) -> None:
        painting = client.watch(name)
        with self._lock:
            self._painting = painting
            left = self._left
        if left:
            painting.leave()
        try:
            for event in painting:
                if isinstance(event, Progress):
                    self._show("progress", event)
                elif isinstance(event, Preview):
                    self._show("preview", self._decode(event))
                elif isinstance(event, JobChanged):
                    self._errands.hand(lambda job=event.job: self._tell(job))  # type: ignore[misc]
                    if event.job.is_final:
                        return
        finally:
            painting.leave()
        raise DataLoss("the server's stream ended before the job did")

    def _show(self, kind: str, value: Any) -> None:
        with self._lock:
            waiting = kind in self._newest
            self._newest[kind] = value
        if not waiting:
            self._errands.hand(lambda: self._take(kind))

    # On the main thread.

    def _take(self, kind: str) -> None:
        with self._lock:
            value = self._newest.pop(kind)
        if not self._left:
            self._on_newest[kind](value)

    def _tell(self, job: Job) -> None:
        if not self._left:
            self._on_job(job)

    def _failed(self, error: Exception) -> None:
        if not self._left:
            self._on_failed(error)
