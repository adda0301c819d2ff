"""The registry of unfinished jobs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections import Counter, deque
from collections.abc import Iterator, Set
from typing import Protocol

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, not_found, queue_full, shutting_down, too_many_jobs
from impasto_server.jobs.job import Job
from impasto_server.jobs.queues import Queues
from impasto_server.jobs.states import is_final
from impasto_server.jobs.stored_job import StoredJob
from impasto_server.jobs.tasks import Tasks
from impasto_server.jobs.tenant_watching import TenantWatcher, TenantWatchers
from impasto_server.jobs.watching import Sequence
from impasto_server.store.errors import StoreClosed
from impasto_server.store.facade import AsyncStore
from impasto_server.store.records import Record

_log = logging.getLogger(__name__)

QUEUE_RETRY_SECONDS = 10.0
"""Time in seconds after which a caller can try again to create a job that was refused."""

RETURN_SECONDS = 60.0
"""Minimum time in seconds after a restart for which a job waits for its watcher to come back."""

RESUME_SECONDS = 1.0
"""Time in seconds after which watchers are asked to come back when the server shuts down."""

_END_SECONDS = 2.0


REMEMBERED_FAILURES = 20
"""Number of failed jobs that are remembered, at most."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes:
        time: when it failed, in seconds since the epoch.
        job, tenant: its name, and its owner.
        device: name of the device that it was last on; empty if there was none.
        message: why it failed.
    """

    time: float
    job: str
    tenant: str
    device: str
    message: str


class Observer(Protocol):
    """Receives the events that the metrics count."""

    def job_ended(self, state: str, reason: str) -> None: ...


class Registry:
    """All unfinished jobs, and the only way to create one. A job that it acknowledges is in the store.

    Attributes:
        store, tasks, sequence, tenant_watchers, draining: shared by the jobs; see `Surroundings`.
        changed: set when the placement of jobs may have to change. Its reader clears it.
        failures: the newest jobs that failed since the server was started, the oldest first.
    """

    def __init__(
        self, store: AsyncStore, observer: Observer, *, max_jobs: int, max_jobs_of_tenant: int
    ) -> None:
        """
        Args:
            store: keeps the jobs.
            observer: for the metrics.
            max_jobs: maximum unfinished jobs, all tenants.
            max_jobs_of_tenant: maximum unfinished jobs per tenant.
        """
        self.store = store
        self.tasks = Tasks()
        self.sequence = Sequence(store.store.generation)
        self.tenant_watchers = TenantWatchers()
        self.draining = False
        self.changed = asyncio.Event()
        self.failures: deque[Failure] = deque(maxlen=REMEMBERED_FAILURES)
        self._observer = observer
        self._max_jobs = max_jobs
        self._max_jobs_of_tenant = max_jobs_of_tenant
        self._jobs: dict[str, Job] = {}
        self._of_tenant: Counter[str] = Counter()
        self._queues = Queues()
        # A dictionary keeps their order.
        self._moved: dict[Job, None] = {}
        # Held from storing a job until it is in `_jobs`. Otherwise a repeated request could be answered in
        # between.
        self._entering = asyncio.Lock()

    # Life.

    async def take_up(self) -> None:
        """Loads the unfinished jobs from the store. Called once, before the first call is answered."""
        for record in await self.store.read(self.store.store.jobs.unfinished):
            job = self._enter(record)
            job.was_left()
            self._note(job)
            if record.linger is not None:
                job.cancel_unless_watched(max(record.linger, RETURN_SECONDS))
        if self._jobs:
            _log.info("unfinished jobs loaded jobs=%d", len(self._jobs))

    def begin_drain(self) -> None:
        """Refuses all changes from now on, and asks every watcher to come back."""
        self.draining = True
        for job in self:
            job.audience.tell_resume(RESUME_SECONDS)
        self.tenant_watchers.tell_resume(RESUME_SECONDS)

    async def end(self) -> None:
        """Waits for changes in progress, and closes the store. Called after `begin_drain`."""
        await self.tasks.join(_END_SECONDS)
        await self.store.close()

    # Questions.

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def unfinished(self, tenant: str | None = None) -> int:
        """The number of unfinished jobs: all, or those of a tenant."""
        if tenant is None:
            return len(self._jobs)
        return self._of_tenant[tenant]

    @property
    def tenants(self) -> Set[str]:
        """The tenants with unfinished jobs."""
        return self._of_tenant.keys()

    def in_state(self, state: str) -> int:
        """The number of jobs in a state such as "running", which is not final. Any thread may call it."""
        number = pb.JobState.Value(f"JOB_STATE_{state.upper()}")
        return sum(job.state == number for job in list(self._jobs.values()))

    def find(self, name: str) -> Job | None:
        """Returns an unfinished job; None if there is none with this name."""
        return self._jobs.get(name)

    async def get(self, name: str, tenant: str | None) -> Job:
        """Returns a job, final or not. A final job can still be watched and deleted.

        Args:
            name: of the job.
            tenant: its owner; None: whoever owns it.

        Raises:
            CallError: NOT_FOUND; UNAVAILABLE: the server is shutting down.
        """
        while True:
            job = self._jobs.get(name)
            if job is not None:
                if tenant not in (None, job.tenant):
                    raise CallError(not_found(name))
                return job
            try:
                record = await self.store.read(self.store.store.jobs.get, name, tenant)
            except StoreClosed:
                raise CallError(shutting_down()) from None
            if record is None:
                raise CallError(not_found(name))
            if is_final(record.job):
                return Job(record, self)
            await self._settle(name)

    def check_room(self, tenant: str) -> None:
        """Checks that there is room for one more job of a tenant.

        Raises:
            CallError: RESOURCE_EXHAUSTED: there are too many unfinished jobs.
        """
        if self.unfinished() >= self._max_jobs:
            raise CallError(queue_full(self._max_jobs, QUEUE_RETRY_SECONDS))
        if self.unfinished(tenant) >= self._max_jobs_of_tenant:
            raise CallError(too_many_jobs(self._max_jobs_of_tenant, tenant, QUEUE_RETRY_SECONDS))

    async def is_known(self, tenant: str, request_id: str) -> bool:
        """Whether a tenant has already sent a request with this ID."""
        if not request_id:
            return False
        return await self.store.read(self.store.store.jobs.by_request, tenant, request_id) is not None

    # Watching all of a tenant's.

    @contextlib.contextmanager
    def watching(self, tenant: str, watcher: TenantWatcher) -> Iterator[None]:
        """Has a watcher receive the events of all jobs of a tenant, for the duration of the block."""
        jobs = [job for job in self if job.tenant == tenant]
        watcher.begin(pb.JobEvent(sequence=self.sequence.next(), job=job.message()) for job in jobs)
        for job in jobs:
            if job.audience.preview is not None:
                # It gets a new number, because it comes after the first event.
                watcher.tell(job.name, job.audience.preview, self.sequence.next())
        self.tenant_watchers.enter(tenant, watcher)
        try:
            self._on_tenant_watched(tenant)
            yield
        finally:
            self.tenant_watchers.leave(tenant, watcher)
            self._on_tenant_watched(tenant)

    def _on_tenant_watched(self, tenant: str) -> None:
        for job in self:
            if job.tenant == tenant:
                job.on_tenant_watched()

    # Making one.

    async def create(self, record: Record) -> Job:
        """Stores a new job and queues it. If the same request was sent before, returns its job.

        Raises:
            CallError: there are too many unfinished jobs, or the server is shutting down.
            RequestIdTaken, MissingImage, QuotaExceeded, StoreError: the job was not stored.
        """
        return await self.tasks.complete(self._create(record))

    async def _create(self, record: Record) -> Job:
        async with self._entering:
            if self.draining:
                raise CallError(shutting_down())
            if not await self.is_known(record.tenant, record.request_id):
                self.check_room(record.tenant)
            stored = await self.store.change(self.store.store.jobs.create, record)
            name = stored.job.name
            if name == record.job.name:
                job = self._enter(stored)
                job.queued_at = asyncio.get_running_loop().time()
                if stored.linger is not None:
                    job.cancel_unless_watched(stored.linger + RESUME_SECONDS)
                self.moved(job)
                if job.audience:
                    job.publish()
                size = record.job.width, record.job.height
                _log.info("job accepted job=%s tenant=%s size=%dx%d", job.name, job.tenant, *size)
                return job
        return await self.get(name, record.tenant)

    def _enter(self, record: Record) -> Job:
        job = self._jobs[record.job.name] = Job(record, self)
        self._of_tenant[record.tenant] += 1
        return job

    async def _settle(self, name: str) -> None:
        """Enters an unfinished job that is in the store but not in the registry.

        It may just be entered by another task, or have become final. If neither, the call that created it
        failed after storing it.
        """
        async with self._entering:
            if name in self._jobs:
                return
            record = await self.store.read(self.store.store.jobs.get, name)
            if record is not None and not is_final(record.job):
                job = self._enter(record)
                job.was_left()
                self.moved(job)
                job.publish()

    # Notifications from the jobs.

    def moved(self, job: StoredJob) -> None:
        self._note(job)
        self.changed.set()

    def gone(self, job: StoredJob) -> None:
        self._note(job)
        self.changed.set()
        if self._jobs.get(job.name) is job:
            if job.state == pb.JOB_STATE_FAILED:
                message = job.record.job
                failure = Failure(time.time(), job.name, job.tenant, message.device, message.error.message)
                self.failures.append(failure)
            del self._jobs[job.name]
            self._of_tenant[job.tenant] -= 1
            if not self._of_tenant[job.tenant]:
                del self._of_tenant[job.tenant]

    def placed(self, job: Job) -> None:
        """A job was placed on a device."""
        self._queues.update(job)

    def _note(self, job: StoredJob) -> None:
        registered = self._jobs.get(job.name)
        if registered is job:
            self._queues.update(job)
            self._moved[registered] = None

    def take_moved(self) -> list[Job]:
        """Returns the jobs that are new, moved, or gone since the last call."""
        moved, self._moved = list(self._moved), {}
        return moved

    def position(self, job: StoredJob) -> int:
        return self._queues.position(job)

    def count_end(self, state: str, reason: str) -> None:
        self._observer.job_ended(state, reason)
