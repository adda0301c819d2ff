"""One life of the server: the real jobs, placement, store and calls, on a simulated loop."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from impasto_server.fleet.placer import Placer
from impasto_server.gateway.administration import Administration
from impasto_server.gateway.answering import status_of
from impasto_server.gateway.links import Links
from impasto_server.gateway.service import StyleTransfer
from impasto_server.jobs.job import Job
from impasto_server.jobs.registry import Registry
from impasto_server.store.facade import AsyncStore
from impasto_server.store.store import Store
from simulation.disk import Disk
from simulation.intake import SimulatedIntake
from simulation.workers import SimulatedWorker, SimulatedWorkers, Told

DRAIN_SECONDS = 10.0
GRACE_SECONDS = 1.0
QUOTA_BYTES = 1 << 20

_caller = contextvars.ContextVar("caller", default="")


class CallEnded(Exception):
    """A call ended with a status that is not OK."""

    def __init__(self, status: status_pb2.Status) -> None:
        self.code = rpc_status.to_status(status).code
        info = error_details_pb2.ErrorInfo()
        self.reason = next((info.reason for detail in status.details if detail.Unpack(info)), "")
        super().__init__(f"{self.code.name} {self.reason}: {status.message}")


class Context:
    """The context that a call gets from gRPC."""

    def __init__(self, write: Callable[[Any], Awaitable[None]] | None) -> None:
        self._write = write

    async def write(self, message: Any) -> None:
        assert self._write is not None
        await self._write(message)


@dataclasses.dataclass
class Tenant:
    name: str


class Access:
    """Names the tenant of a call: each call is a task, and its context has the tenant's name."""

    def tenant(self) -> Tenant:
        return Tenant(_caller.get())


class Metrics:
    """Counts nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings that the calls read."""

    max_jobs: int
    max_jobs_per_tenant: int
    keep_results_for: float = 3600.0
    heartbeat_interval: float = 15.0


class WitnessedPlacer(Placer):
    """A placer that reports each job that it places."""

    def __init__(self, *args: Any, placed: Callable[[Job, SimulatedWorker], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._placed = placed

    def _start(self, job: Job, worker: Any, weight: float) -> None:
        self._placed(job, worker)
        super()._start(job, worker, weight)


class Server:
    """A server from its start to its death.

    Attributes:
        store: the open store.
        disk: runs the store's work.
        registry, placer, service: the code under test.
        workers: the simulated workers.
        intake: the simulated intake.
        accepts: whether calls are accepted.
        drained_at: when the drain began; None: it did not.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        told: Told,
        *,
        streams: Callable[[str], random.Random],
        note: Callable[[str], None],
        violation: Callable[[str], None],
        kill: Callable[[], None],
        trouble: float,
        workers: int,
        slots: int,
    ) -> None:
        """
        Args:
            folder: folder of the store.
            settings: limits.
            told: what workers reported about jobs, in this life and earlier ones.
            streams: makes random numbers for a purpose.
            note: called with each event.
            violation: called with each violation.
            kill: kills the server.
            trouble: probability of trouble with the disk, 0 to 1.
            workers: number of workers.
            slots: maximum number of jobs on a worker at a time.
        """
        self.store = Store(folder, quota_bytes=QUOTA_BYTES)
        self.disk = Disk(streams("disk"), note, kill, trouble=trouble)
        self.workers = SimulatedWorkers(workers, told, streams("workers"), note, violation)
        self.intake = SimulatedIntake(streams("intake"))
        self.accepts = False
        self.drained_at: float | None = None
        self._note = note
        self._violation = violation
        metrics: Any = Metrics()
        self.registry = Registry(
            AsyncStore(self.store, self.disk),
            metrics,
            max_jobs=settings.max_jobs,
            max_jobs_of_tenant=settings.max_jobs_per_tenant,
        )
        self.placer = WitnessedPlacer(
            self.workers,
            self.registry,
            self.intake,
            metrics,
            weight_of=lambda _: 1.0,
            max_resident=slots,
            checkpoint_interval=1.0,
            placed=self._on_placed,
        )
        fleet, access, styles = (object() for _ in range(3))
        access = Access()
        of_service: Any = (settings, fleet, self.registry, access, metrics, styles, self.intake)
        self.service = StyleTransfer(*of_service, self.placer, Links(), lambda: None)
        status: Any = object()
        self.administration = Administration(
            status, self.registry, keep_results_for=settings.keep_results_for, caller=lambda: "administrator"
        )
        self.handlers: dict[asyncio.Task[Any], Handler] = {}

    async def start(self) -> None:
        await self.registry.take_up()
        self.placer.start()
        self.accepts = True

    async def drain(self) -> None:
        """Ends as the gateway does on SIGTERM."""
        begin = self.drained_at = asyncio.get_running_loop().time()
        busy = self.disk.busy_seconds()
        self._note("drain")
        self.registry.begin_drain()
        await self.placer.drain(DRAIN_SECONDS)
        self.accepts = False
        if self.handlers:
            await asyncio.wait(self.handlers, timeout=GRACE_SECONDS)
        for handler in list(self.handlers):
            handler.cancel()
        if self.handlers:
            await asyncio.wait(self.handlers)
        await self.registry.end()
        took = asyncio.get_running_loop().time() - begin
        busy = self.disk.busy_seconds() - busy
        self._note("drained")
        # All callbacks that were ready have run by now.
        await asyncio.sleep(0.001)
        if took - busy > DRAIN_SECONDS + GRACE_SECONDS + 5.0:
            self._violation(f"the drain took {took:.1f} s")
        if len(self.registry.tasks):
            self._violation(f"{len(self.registry.tasks)} tasks are left after the drain")
        left = [name for worker in self.workers.all for name in worker.jobs]
        if left:
            self._violation(f"{left} are on devices after the drain")

    def begin(
        self, name: str, request: Any, tenant: str, write: Callable[[Any], Awaitable[None]] | None = None
    ) -> asyncio.Task[Any]:
        """Starts a call. Its task ends with the answer or `CallEnded`; cancel it to cancel the call."""
        owner = self.service if hasattr(self.service, name) else self.administration
        method = getattr(owner, name)

        async def answer() -> Any:
            _caller.set(tenant)
            try:
                return await method(request, Context(write))
            except Exception as error:
                ending = status_of(error, name)
            raise CallEnded(ending)

        loop = asyncio.get_running_loop()
        task = loop.create_task(answer())
        self.handlers[task] = Handler(name, getattr(request, "name", ""), loop.time())
        task.add_done_callback(self._on_answered)
        return task

    def _on_answered(self, task: asyncio.Task[Any]) -> None:
        handler = self.handlers.pop(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, CallEnded):
            self._violation(f"{handler.method} raised {error!r}")
        if isinstance(error, CallEnded) and error.code == grpc.StatusCode.INTERNAL:
            self._violation(f"{handler.method} was answered {error}")

    def _on_placed(self, job: Job, worker: SimulatedWorker) -> None:
        self._note(f"{job.name} is placed on {worker.key}")
        if self.drained_at is not None:
            self._violation(f"{job.name} is placed although the server drains")
        if job.painting is not None or job.final:
            self._violation(f"{job.name} is placed although it is on a device or final")


@dataclasses.dataclass
class Handler:
    """A call that is being answered."""

    method: str
    job: str
    since: float
