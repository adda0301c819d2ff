"""Places waiting jobs on devices, and takes them off at shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from impasto_server.contract.pictures import Intake
from impasto_server.contract.recipes import is_draft
from impasto_server.fleet import run as runs
from impasto_server.fleet.placement import Candidate, Place, Placed, Served, plan
from impasto_server.fleet.run import MAX_DEATHS, Run
from impasto_server.fleet.workers import Worker, Workers
from impasto_server.jobs.job import Job
from impasto_server.jobs.registry import Registry

_log = logging.getLogger(__name__)

_ALONE_AFTER = MAX_DEATHS - 1
"""Crashes after which a job gets a device to itself: it can harm no other job, and no other is to blame."""

_TICK_SECONDS = 1.0
_STORE_RETRY_TICKS = 5
_END_SECONDS = 2.0
_REST = 9
"""The pause after a plan, as a multiple of the time that the plan took."""


class Observer(runs.Observer, Protocol):
    """Receives the events that the metrics count."""

    def device_seconds(self, tenant: str, seconds: float) -> None: ...

    def queue_length(self, jobs: int) -> None: ...


class Placer:
    """Decides regularly which jobs are on which device, until `drain`."""

    def __init__(
        self,
        workers: Workers,
        registry: Registry,
        intake: Intake,
        observer: Observer,
        *,
        weight_of: Callable[[str], float],
        max_resident: int,
        checkpoint_interval: float,
    ) -> None:
        """
        Args:
            workers: paint the jobs.
            registry: the jobs.
            intake: reads the jobs' pictures.
            observer: for the metrics.
            weight_of: returns a tenant's share of device time relative to other tenants.
            max_resident: maximum jobs on a device at the same time.
            checkpoint_interval: minimum device time in seconds between two checkpoints of a job.
        """
        self._workers = workers
        self._registry = registry
        self._intake = intake
        self._observer = observer
        self._weight_of = weight_of
        self._max_resident = max_resident
        self._checkpoint_interval = checkpoint_interval
        self._served = Served()
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts to place jobs."""
        self._loops = [self._loop(self._keep_placing()), self._loop(self._keep_time())]

    async def drain(self, seconds: float) -> None:
        """Takes every job off its device with a checkpoint, and places no more jobs.

        Called after `Registry.begin_drain`.

        Args:
            seconds: time after which jobs are taken off without a checkpoint.
        """
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        stays = self._runs()
        for run in stays:
            run.suspend()
        for run in await _still_there(stays, seconds, remind=True):
            _log.warning("job leaves its device without a last checkpoint job=%s", run.job.name)
            run.stop()
        await _still_there(stays, _END_SECONDS)

    def _loop(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    def _runs(self) -> list[Run]:
        return [job.painting for job in self._registry if isinstance(job.painting, Run)]

    async def _keep_placing(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._registry.changed.wait()
            self._registry.changed.clear()
            if self._registry.draining:
                return
            begin = loop.time()
            try:
                self._place()
            except Exception:
                _log.exception("jobs cannot be placed")
            # With a thousand jobs, a plan takes milliseconds, during which no call is answered. The pause
            # limits plans to a tenth of the time, however often jobs change.
            await asyncio.sleep(_REST * (loop.time() - begin))

    async def _keep_time(self) -> None:
        """Handles changes that come with time: device time of tenants, readiness, positions in the queue."""
        ticks = 0
        while True:
            change = self._workers.change
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(change.wait(), _TICK_SECONDS)
            self._registry.changed.set()
            ticks += 1
            try:
                self._tick(ticks)
            except Exception:
                _log.exception("error in the regular work on jobs")

    def _tick(self, ticks: int) -> None:
        self._number_queues()
        for job in self._registry:
            if job.behind and ticks % _STORE_RETRY_TICKS == 0:
                self._registry.tasks.start(job.store_what_happened())
        for run in self._runs():
            run.remind()

    def _place(self) -> None:
        jobs = list(self._registry)
        waiting = {job.name: job for job in jobs if job.waiting}
        self._observer.queue_length(len(waiting))
        self._served.keep({job.tenant for job in jobs})
        self._number_queues(quiet=True)
        runs = self._runs()
        self._workers.want(len(waiting) + len(runs))
        for run in runs:
            if run.worker.leaving and not run.leaving:
                _log.info("job moves, because its worker is leaving job=%s", run.job.name)
                run.suspend()
        if not waiting:
            return
        stays: defaultdict[str, list[Run]] = defaultdict(list)
        for run in runs:
            stays[run.worker.key].append(run)
        workers = {worker.key: worker for worker in self._workers.ready_workers}
        places = [self._place_of(worker, stays[key]) for key, worker in workers.items()]
        todo = plan([self._candidate(job) for job in waiting.values()], places, self._served)
        for run in (run for those in stays.values() for run in those if run.job.name in set(todo.suspend)):
            _log.info("job makes room job=%s", run.job.name)
            run.suspend()
        for name, key in todo.start:
            self._start(waiting[name], workers[key])

    def _place_of(self, worker: Worker, stays: list[Run]) -> Place:
        now = asyncio.get_running_loop().time()
        placed = [
            Placed(candidate=self._candidate(run.job), seconds=now - run.since, leaving=run.leaving)
            for run in stays
        ]
        planned = sum(run.job.record.job.memory_plan.estimated_bytes for run in stays if run.started)
        return Place(
            device=worker.key,
            slots=self._max_resident,
            jobs=placed,
            free_bytes=worker.memory_bytes - planned,
        )

    def _candidate(self, job: Job) -> Candidate:
        message = job.record.job
        watched = len(job.audience) > 0
        return Candidate(
            name=job.name,
            tenant=job.tenant,
            weight=self._weight_of(job.tenant),
            priority=message.priority,
            number=job.record.number,
            interactive=job.progress is None and (watched or is_draft(message)),
            watched=watched,
            alone=job.deaths >= _ALONE_AFTER,
            too_small=job.too_small,
        )

    def _start(self, job: Job, worker: Worker) -> None:
        Run(
            job,
            worker,
            store=self._registry.store,
            intake=self._intake,
            tasks=self._registry.tasks,
            observer=self._observer,
            weight=self._weight_of(job.tenant),
            checkpoint_interval=self._checkpoint_interval,
            charge=self._charge,
            has_larger_device=self._has_larger_device,
        )

    def _charge(self, tenant: str, seconds: float) -> None:
        self._served.charge(tenant, seconds, self._weight_of(tenant))
        self._observer.device_seconds(tenant, seconds)

    def _has_larger_device(self, worker: Worker) -> bool:
        return any(other.memory_bytes > worker.memory_bytes for other in self._workers.ready_workers)

    def _number_queues(self, *, quiet: bool = False) -> None:
        """Sets every waiting job's position among its tenant's jobs. Unless `quiet`, tells the watchers of
        jobs whose position has changed."""
        queues: defaultdict[str, list[Job]] = defaultdict(list)
        for job in self._registry:
            if job.waiting:
                queues[job.tenant].append(job)
        for queue in queues.values():
            queue.sort(key=lambda job: job.rank)
            for position, job in enumerate(queue, 1):
                job.queue_position = position
                if not quiet:
                    job.publish_position()


async def _still_there(stays: list[Run], seconds: float, *, remind: bool = False) -> list[Run]:
    """Waits for runs to end.

    Args:
        stays: the runs.
        seconds: maximum wait.
        remind: whether to remind their workers every second.

    Returns:
        The runs that have not ended.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    waits = {asyncio.ensure_future(run.off_device.wait()) for run in stays}
    while waits and (left := deadline - loop.time()) > 0:
        _, waits = await asyncio.wait(waits, timeout=min(left, _TICK_SECONDS))
        for run in stays if remind else ():
            if not run.off_device.is_set():
                run.remind()
    for wait in waits:
        wait.cancel()
    return [run for run in stays if not run.off_device.is_set()]
