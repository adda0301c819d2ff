"""What the callers of a world know, and checks that all answers are consistent with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.records import FINAL_STATES
from impasto_server.store.store import Store
from simulation.loop import VirtualLoop
from simulation.model import KnownJob
from simulation.server import Server, Settings
from simulation.workers import Told

TENANTS = ("tenant-0", "tenant-1")
SMALL, LARGE = b"small", b"large"


@dataclasses.dataclass(frozen=True)
class Images:
    """Digests of the images that every tenant has."""

    small: str
    large: str

    @staticmethod
    def put(store: Store) -> Images:
        """Stores the images for every tenant."""
        for tenant in TENANTS:
            small = store.images.put(tenant, SMALL, size=(16, 16))
            large = store.images.put(tenant, LARGE, size=(64, 16))
        return Images(small, large)


class Knowledge:
    """Everything that outlives the server: the folder, what callers and workers know, and the trace.

    Attributes:
        server: the current life of the server.
        loop: the event loop of this life.
        folder: folder of the store.
        settings: limits of the server.
        images: images that every tenant has.
        tenants: names of the tenants.
        jobs: jobs that callers know, by name.
        told: what workers reported.
        calls: number of calls made.
        trace: all events.
        violations: everything that was wrong.
    """

    server: Server
    loop: VirtualLoop

    def __init__(self, folder: Path, settings: Settings, images: Images) -> None:
        self.folder = folder
        self.settings = settings
        self.images = images
        self.tenants = TENANTS
        self.jobs: dict[str, KnownJob] = {}
        self.told = Told()
        self.calls = 0
        self.trace: list[str] = []
        self.violations: list[str] = []
        self._by_request: dict[tuple[str, str], KnownJob] = {}

    def note(self, text: str) -> None:
        """Something happened."""
        if not self.loop.dead:
            self.trace.append(f"{self.loop.time():.6f} {text}")

    def violation(self, text: str) -> None:
        """Records that something is wrong, and stops the world."""
        if not self.loop.dead:
            self.note(f"VIOLATION: {text}")
            self.violations.append(text)
            self.loop.halt()

    def created(
        self,
        message: pb.Job,
        request: pb.CreateJobRequest,
        tenant: str,
        begin: float,
        *,
        lingers: bool = False,
    ) -> None:
        """Records that a caller learned that its job was created."""
        now = self.loop.time()
        if self.server.drained_at is not None and begin > self.server.drained_at:
            self.violation(f"{message.name} is made although the server drains")
        unfinished = self.server.registry.unfinished()
        if unfinished > self.settings.max_jobs:
            self.violation(f"there are {unfinished} jobs, more than {self.settings.max_jobs}")
        if request.request_id:
            key = tenant, request.request_id
            earlier = self._by_request.get(key)
            if earlier is not None and earlier.name != message.name and not earlier.deletes:
                self.violation(f"{request.request_id} made {earlier.name} and {message.name}")
        job = self.jobs.get(message.name)
        if job is None:
            job = self.jobs[message.name] = KnownJob(message.name, tenant, lingers=lingers)
            asked = pb.Job(
                title=request.title,
                priority=request.priority,
                preview=request.preview,
                recipe=request.spec.recipe,
            )
            job.begin(asked, -1.0, now)
        if request.request_id:
            self._by_request[key] = job
        self.observed(job, message, begin)

    def observed(self, job: KnownJob, message: pb.Job, begin: float) -> None:
        """Records that a caller was shown a job, in answer to a call that began at `begin`."""
        for fault in job.faults(message, begin, self.loop.time()):
            self.violation(f"shown: {fault}")
        job.observe(message, begin, self.loop.time())
        self.check_stored(job)

    def shown(self, tenant: str, event: pb.JobEvent, before: pb.JobEvent | None) -> None:
        """Records that a watcher received an event."""
        kind = event.WhichOneof("event")
        if (
            before is not None
            and kind in ("job", "progress", "preview")
            and event.sequence <= before.sequence
        ):
            self.violation(f"event {event.sequence} comes after event {before.sequence}")
        if before is not None and before.HasField("job") and before.job.state in FINAL_STATES:
            self.violation(f"an event comes after the final state of {before.job.name}")
        job = self.jobs.get(event.job.name) if kind == "job" else None
        if job is not None:
            self.note(f"watcher of {job.name} sees {pb.JobState.Name(event.job.state)}")
            if event.job.state in FINAL_STATES and job.final not in (None, event.job.state):
                self.violation(f"{job.name} is shown in another final state than before")
            job.show(event.job, self.loop.time())
            self.check_stored(job)

    def deleted(self, job: KnownJob) -> None:
        """Records that a caller learned that a job was deleted."""
        job.deleted = min(job.deleted, self.loop.time())
        if self.server.store.jobs.get(job.name) is not None:
            self.violation(f"{job.name} was deleted and is on disk")

    def check_stored(self, job: KnownJob) -> None:
        """Checks that everything shown or acknowledged of a job is on disk."""
        record = self.server.store.jobs.get(job.name)
        if record is None:
            if not job.deletes:
                self.violation(f"{job.name} was acknowledged and is not on disk")
            return
        if record.tenant != job.tenant:
            self.violation(f"{job.name} is another tenant's on disk")
        for fault in job.faults(record.job):
            self.violation(f"on disk: {fault}")
