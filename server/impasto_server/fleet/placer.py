"""Places waiting jobs on devices, and takes them off at shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from impasto_server.contract.pictures import Intake
from impasto_server.contract.previews import seconds
from impasto_server.contract.recipes import is_draft
from impasto_server.fleet import run as runs
from impasto_server.fleet.outlook import Load, Outlook, device_of_newcomer
from impasto_server.fleet.placement import Candidate, Place, Placed, Served, Waiting, plan
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
        self._waiting = Waiting()
        self._weights: dict[str, float] = {}
        self._running: list[Run] = []
        # The candidates of jobs on devices, by name.
        self._on_devices: dict[str, Candidate] = {}
        # Waiting jobs that are watched, by name: their watchers are told of each new position.
        self._watched: dict[str, Job] = {}
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

    def outlook(self, tenant: str, too_small: frozenset[str]) -> Outlook | None:
        """Returns what a new job of a tenant would find; None if there is no device for it.

        Args:
            tenant: the tenant.
            too_small: keys of workers whose devices have too little memory for the job.
        """
        stays: defaultdict[str, list[Run]] = defaultdict(list)
        for run in self._runs():
            stays[run.worker.key].append(run)
        workers = {worker.key: worker for worker in self._workers.ready_workers}
        candidate = Candidate(name="", tenant=tenant, weight=self._weight_of(tenant), too_small=too_small)
        places = [self._place_of(worker, stays[key], may_move=False) for key, worker in workers.items()]
        key = device_of_newcomer(candidate, places, self._served)
        if key is None:
            return None
        known: defaultdict[str, float] = defaultdict(float)
        unknown: defaultdict[str, float] = defaultdict(float)
        for run in stays[key]:
            left = _seconds_left(run)
            if math.isfinite(left):
                known[run.job.tenant] += left
            else:
                unknown[run.job.tenant] += 1
        for group in self._waiting.groups:
            unknown[group[0].tenant] += len(group) / len(workers)
        loads = {name: Load(self._weight_of(name), known[name], unknown[name]) for name in {*known, *unknown}}
        return Outlook(workers[key], loads, len(stays[key]) + len(self._waiting))

    def _loop(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    @property
    def runs(self) -> Sequence[Run]:
        """The runs of the jobs that are on a device."""
        return self._runs()

    def _runs(self) -> list[Run]:
        self._running = [run for run in self._running if run.job.painting is run]
        return self._running

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
        for job in self._watched.values():
            if job.waiting:
                job.publish_position()
        if ticks % _STORE_RETRY_TICKS == 0:
            for job in self._registry:
                if job.behind:
                    self._registry.tasks.start(job.store_what_happened())
        for run in self._runs():
            run.remind()

    def _place(self) -> None:
        self._served.keep(self._registry.tenants)
        self._note_changes()
        self._observer.queue_length(len(self._waiting))
        runs = self._runs()
        self._workers.want(len(self._waiting) + len(runs))
        for run in runs:
            if run.worker.leaving and not run.leaving:
                _log.info("job moves, because its worker is leaving job=%s", run.job.name)
                run.suspend()
        stays: defaultdict[str, list[Run]] = defaultdict(list)
        for run in runs:
            stays[run.worker.key].append(run)
        workers = {worker.key: worker for worker in self._workers.ready_workers}
        # While more jobs wait than there are places, none moves, so that it does not matter when jobs end.
        may_move = len(self._waiting) < self._max_resident * len(workers)
        places = [self._place_of(worker, stays[key], may_move) for key, worker in workers.items()]
        todo = plan(self._waiting, places, self._served)
        for name in todo.suspend:
            _log.info("job makes room job=%s", name)
            self._take_off(name)
        for name in todo.move:
            _log.info("job moves to a device with fewer jobs job=%s", name)
            self._take_off(name)
        if todo.start:
            self._start_all([(self._waiting_job(name), workers[key]) for name, key in todo.start])

    def _waiting_job(self, name: str) -> Job:
        job = self._registry.find(name)
        assert job is not None
        return job

    def _start_all(self, starts: list[tuple[Job, Worker]]) -> None:
        """Starts jobs. A tenant's weight is divided among its places: otherwise a tenant with twice the
        weight would have twice as many places, and each would get twice as many turns of its device."""
        places = Counter(run.job.tenant for run in self._running if not run.leaving)
        here = Counter((run.worker.key, run.job.tenant) for run in self._running if not run.leaving)
        for job, worker in starts:
            places[job.tenant] += 1
            here[worker.key, job.tenant] += 1
        for job, worker in starts:
            self._waiting.remove(job.name)
            self._watched.pop(job.name, None)
            share = here[worker.key, job.tenant] / places[job.tenant]
            self._start(job, worker, self._weight_of(job.tenant) * share)

    def _take_off(self, name: str) -> None:
        job = self._registry.find(name)
        if job is not None and job.painting is not None:
            job.painting.suspend()

    def _note_changes(self) -> None:
        """Takes over what has changed since the last plan: a plan must not look at all jobs."""
        weights = {tenant: self._weight_of(tenant) for tenant in self._registry.tenants}
        jobs = self._registry.take_moved()
        changed = {
            tenant for tenant in weights if self._weights.get(tenant, weights[tenant]) != weights[tenant]
        }
        if changed:
            jobs += [job for job in self._registry if job.tenant in changed]
        self._weights = weights
        for job in jobs:
            self._on_devices.pop(job.name, None)
            self._watched.pop(job.name, None)
            if job.waiting:
                candidate = self._candidate(job)
                self._waiting.put(candidate)
                if job.audience:
                    self._watched[job.name] = job
            else:
                self._waiting.remove(job.name)

    def _place_of(self, worker: Worker, stays: list[Run], may_move: bool) -> Place:
        now = asyncio.get_running_loop().time()
        placed = [
            Placed(
                candidate=self._placed_candidate(run.job),
                seconds=now - run.since,
                leaving=run.leaving,
                seconds_left=_seconds_left(run) if may_move else math.inf,
            )
            for run in stays
        ]
        planned = sum(run.job.record.job.memory_plan.estimated_bytes for run in stays if run.started)
        return Place(
            device=worker.key,
            slots=self._max_resident,
            jobs=placed,
            free_bytes=worker.memory_bytes - planned,
        )

    def _placed_candidate(self, job: Job) -> Candidate:
        candidate = self._on_devices.get(job.name)
        # Progress changes these two, and is not announced.
        if (
            candidate is None
            or (candidate.interactive and job.progress is not None)
            or candidate.alone != (job.deaths >= _ALONE_AFTER)
        ):
            candidate = self._on_devices[job.name] = self._candidate(job)
        return candidate

    def _candidate(self, job: Job) -> Candidate:
        message = job.record.job
        watched = job.audience.is_attended
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

    def _start(self, job: Job, worker: Worker, weight: float) -> None:
        run = Run(
            job,
            worker,
            store=self._registry.store,
            intake=self._intake,
            tasks=self._registry.tasks,
            observer=self._observer,
            weight=weight,
            checkpoint_interval=self._checkpoint_interval,
            charge=self._charge,
            has_larger_device=self._has_larger_device,
        )
        self._running.append(run)
        self._registry.placed(job)

    def _charge(self, tenant: str, seconds: float) -> None:
        self._served.charge(tenant, seconds, self._weight_of(tenant))

    def _has_larger_device(self, worker: Worker) -> bool:
        return any(other.memory_bytes > worker.memory_bytes for other in self._workers.ready_workers)


def _seconds_left(run: Run) -> float:
    if run.painted:
        return 0.0
    progress = run.job.progress
    if progress is None or not progress.HasField("time_left"):
        return math.inf
    return seconds(progress.time_left)


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
