"""All workers of a server, on whichever machines they run."""

from __future__ import annotations

import abc
import asyncio
import collections
import logging
from collections.abc import AsyncIterator, Sequence

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.fleet.machines import DeviceLoad, Machine
from impasto_server.fleet.program import PlaceLost
from impasto_server.fleet.worker_process import REMEMBERED_DEATHS, Death, WorkerProcess

_log = logging.getLogger(__name__)


class Refused(Exception):
    """The fleet cannot do what the administrator wants. The message says why."""


class Fleet(abc.ABC):
    """The workers, one for each device.

    Used as `async with fleet:`. The future `failed` ends with a `ConfigurationError` if the server cannot run
    with its settings.
    """

    def __init__(self, max_resident: int) -> None:
        """
        Args:
            max_resident: maximum number of jobs on a device at a time.
        """
        self._max_resident = max_resident
        self._workers: dict[WorkerProcess, asyncio.Task[None]] = {}
        self._draining: set[str] = set()
        self._change = asyncio.Event()
        self._network_told = False
        self._restarts_of_removed = 0
        self._deaths_of_removed: collections.deque[Death] = collections.deque(maxlen=REMEMBERED_DEATHS)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @abc.abstractmethod
    async def __aenter__(self) -> Fleet: ...

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._workers.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.failed.cancel()

    def kill(self) -> None:
        """Kills what must not outlive this process, for when there is no time for `__aexit__`."""
        for worker in self._workers:
            worker.kill()

    def want(self, jobs: int) -> None:  # noqa: B027 - a fleet that cannot grow does nothing
        """Tells how many jobs are being painted or wait for a device."""

    @abc.abstractmethod
    def wanted_workers(self) -> tuple[int, int, int]:
        """Returns the number of workers now, the number that the jobs want, and the maximum (0: no limit)."""

    @abc.abstractmethod
    async def machines(self) -> list[Machine]:
        """Describes all machines as they are now."""

    @property
    def trouble(self) -> str:
        """What is wrong with the fleet as a whole, in a sentence; empty if nothing is."""
        return ""

    @property
    def ready_workers(self) -> list[WorkerProcess]:
        """The workers that take jobs now: not those that are starting, leaving, or do not answer."""
        return [worker for worker in self._workers if worker.ready]

    async def describe_devices(self) -> list[pb.Device]:
        """Describes the devices as they are now."""
        return list(await asyncio.gather(*(worker.describe() for worker in self._workers)))

    @property
    def change(self) -> asyncio.Event:
        """An event that is set when a worker becomes ready, is leaving, stops answering or dies. Each change
        has a new event."""
        return self._change

    @property
    def restarts(self) -> int:
        """The number of restarts of all workers."""
        return self._restarts_of_removed + sum(worker.restarts for worker in self._workers)

    @property
    def deaths(self) -> list[Death]:
        """The newest deaths of workers since the server was started."""
        return [*self._deaths_of_removed, *(death for worker in self._workers for death in worker.deaths)]

    @property
    def takes_jobs(self) -> bool:
        """Whether jobs are painted: a worker is ready, or will be as soon as there is a job."""
        return bool(self.ready_workers)

    async def readiness(self) -> AsyncIterator[bool]:
        """Yields whether the fleet takes jobs, now and after each change."""
        while True:
            ready = self.takes_jobs
            yield ready
            while self.takes_jobs == ready:
                await self._change.wait()

    def drain(self, machine: str) -> None:
        """Takes a machine out of use: it gets no jobs any more, and its jobs go on elsewhere.

        Raises:
            KeyError: there is no such machine; its argument is the list of the names that there are.
        """
        self._check_name(machine)
        _log.info("machine is drained machine=%s", machine)
        self._draining.add(machine)
        self._note_change()

    def undrain(self, machine: str) -> None:
        """Takes a machine into use again.

        Raises:
            KeyError: there is no such machine; its argument is the list of the names that there are.
            Refused: it cannot be used again.
        """
        self._check_name(machine)
        _log.info("machine is used again machine=%s", machine)
        self._draining.discard(machine)
        self._note_change()

    @abc.abstractmethod
    def _names(self) -> list[str]:
        """The names of all machines."""

    def _check_name(self, machine: str) -> None:
        if machine not in (names := self._names()):
            raise KeyError(names)

    def _is_leaving(self, worker: WorkerProcess) -> bool:
        """Whether a worker must get rid of its jobs."""
        return worker.machine in self._draining

    def _add(self, worker: WorkerProcess, after: float = 0.0) -> None:
        """Adds a worker and keeps it alive, from so many seconds later on."""

        async def keep_alive() -> None:
            await asyncio.sleep(after)
            await worker.keep_alive()

        task = asyncio.create_task(keep_alive())
        self._workers[worker] = task
        task.add_done_callback(lambda task: self._on_task_end(worker, task))

    def _remove(self, worker: WorkerProcess) -> None:
        """Removes a worker and leaves its process."""
        task = self._workers.pop(worker, None)
        if task is not None:
            self._restarts_of_removed += worker.restarts
            self._deaths_of_removed.extend(worker.deaths)
            task.cancel()
            self._note_change()

    def _on_task_end(self, worker: WorkerProcess, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception() or AssertionError("the task that keeps a worker alive ended")
        if isinstance(error, PlaceLost):
            self._on_place_lost(worker, error)
        else:
            self._on_worker_failed(worker, error)

    def _on_place_lost(self, worker: WorkerProcess, error: PlaceLost) -> None:
        """Called when a worker can never be started again."""
        _log.warning("worker is lost device=%s why=%r", worker.device, str(error))
        self._remove(worker)

    def _on_worker_failed(self, worker: WorkerProcess, error: BaseException) -> None:
        """Called when a worker cannot be kept alive, usually because of a `ConfigurationError`."""
        if not self.failed.done():
            self.failed.set_exception(error)

    def _note_change(self) -> None:
        """To be called at every change of a worker."""
        for worker in self._workers:
            worker.leaving = self._is_leaving(worker)
            if worker.info is not None and not self._network_told:
                self._network_told = True
                network = worker.info.network
                _log.info(
                    "network architecture=%s weights=%s sha256=%s origin=%r",
                    network.architecture,
                    network.weights,
                    network.sha256,
                    network.origin,
                )
        self._change.set()
        self._change = asyncio.Event()

    def _loads(self, workers: Sequence[WorkerProcess]) -> list[DeviceLoad]:
        """Describes workers for the administrator."""
        return [
            DeviceLoad(
                key=worker.key,
                name=worker.device,
                state=worker.state,
                jobs=worker.jobs,
                places=self._max_resident,
                memory_bytes=worker.memory_bytes,
                restarts=worker.restarts,
                description=worker.description,
            )
            for worker in workers
        ]
