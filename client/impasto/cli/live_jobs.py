"""The jobs of a caller as they are now, for a table that is live."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from impasto.errors import ImpastoError, Unavailable
from impasto.job import ContactLost, JobChanged, JobDeleted, JobsListed, Progress

if TYPE_CHECKING:
    from impasto.client import Client
    from impasto.job import Job, JobsEvent

REFRESH = 1.0
"""Seconds between two requests for the jobs of a server that cannot tell what happens to them."""


class LiveJobs:
    """Follows all jobs in a thread of its own, with one stream. It ends with the client."""

    def __init__(
        self, client: Client, look: Callable[[], list[Job]], is_wanted: Callable[[Job], bool]
    ) -> None:
        """
        Args:
            client: of the server.
            look: lists the wanted jobs, newest first.
            is_wanted: whether a job belongs into the list.
        """
        self._client = client
        self._look = look
        self._is_wanted = is_wanted
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._lost: float | None = None
        self._error: Exception | None = None
        self.listed = threading.Event()
        """Set once the jobs are known."""
        threading.Thread(target=self._follow, name="jobs", daemon=True).start()

    def now(self) -> tuple[list[Job], float]:
        """Returns the jobs, newest first, and the seconds since contact to the server was lost; else 0.

        Raises:
            ImpastoError: the jobs cannot be followed any more.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            silent = 0.0 if self._lost is None else time.monotonic() - self._lost
            return list(self._jobs.values()), silent

    def _follow(self) -> None:
        try:
            while True:
                with self._patient():
                    self._stream()
        except Exception as error:
            with self._lock:
                self._error = error
            self.listed.set()

    def _stream(self) -> None:
        try:
            for event in self._client.watch_jobs():
                self._take(event)
        except ImpastoError as error:
            if error.code != "UNIMPLEMENTED":
                raise
            self._poll()

    def _poll(self) -> None:
        while True:
            with self._patient():
                self._list()
            time.sleep(REFRESH)

    @contextlib.contextmanager
    def _patient(self) -> Iterator[None]:
        """Waits a moment if the server cannot be reached."""
        try:
            yield
        except Unavailable:
            with self._lock:
                self._lost = self._lost or time.monotonic()
            time.sleep(REFRESH)

    def _list(self) -> None:
        listed = {job.name: job for job in self._look()}
        with self._lock:
            self._jobs, self._lost = listed, None
        self.listed.set()

    def _take(self, told: JobsEvent) -> None:
        event = told.event
        if isinstance(event, JobsListed):
            self._list()
            return
        with self._lock:
            if isinstance(event, ContactLost):
                self._lost = time.monotonic()
            elif isinstance(event, JobDeleted):
                self._jobs.pop(told.name, None)
            elif isinstance(event, JobChanged):
                self._change(event.job)
            elif isinstance(event, Progress) and told.name in self._jobs:
                job = self._jobs[told.name]
                self._jobs[told.name] = dataclasses.replace(job, progress=event)

    def _change(self, job: Job) -> None:
        if not self._is_wanted(job):
            self._jobs.pop(job.name, None)
        elif job.name in self._jobs:
            self._jobs[job.name] = job
        else:
            self._jobs = {job.name: job, **self._jobs}
