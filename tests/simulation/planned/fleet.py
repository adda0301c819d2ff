"""Simulated devices under the real placement, on a virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import heapq
import itertools
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.recipes import is_draft
from impasto_server.fleet import placer as placers
from impasto_server.fleet.placement import Plan, plan
from impasto_server.fleet.placer import Placer
from impasto_server.worker.scheduler import Claim, Scheduler

SLOTS = 8
DEVICES_OF_MACHINE = 8
PLAN_SECONDS = 1.0
"""Time between two plans. The server plans at each change, but at most a tenth of the time."""
LOAD_SECONDS = 1.0
"""Time from the placement of a job until it takes turns: images are decoded and targets computed."""
SAVE_SECONDS = 1.5
"""Time for which a job that leaves its device waits for its checkpoint."""
CHECKPOINT_SECONDS = 5.0
"""Device time of a job between two checkpoints: the server's default."""
TURN_SECONDS = 0.5
"""Several evaluations count as one turn until they take this long, so that there are fewer events."""

EVALUATION_SECONDS: Mapping[str, Mapping[int, float]] = {
    "gpu": {256: 0.006, 512: 0.018, 1024: 0.065, 2048: 0.25},
    "cpu": {256: 0.57, 512: 2.5, 1024: 10.0, 2048: 40.0},
}
"""Seconds of an evaluation by the longer side in pixels. Those of the GPU are ASSUMED, for a data-centre GPU.
Those of the CPU were measured at 256 and 512 pixels with one thread; the others are in proportion to the
pixels."""

SIZES = {256: 0.15, 512: 0.50, 1024: 0.30, 2048: 0.05}
"""Shares of the jobs by size."""
EVALUATIONS = (30, 68, 200)
"""Evaluations of a draft, a standard and a fine painting."""
DRAFTS, WATCHED = 0.02, 0.02
"""Shares of the jobs that are drafts, and that somebody watches."""
CHECKPOINT_BYTES = 107
"""Size of a checkpoint per pixel, measured for the default objective: the image and a part of
the optimiser's history."""
SMALL_SCALES = 0.6
"""Mean cost of an evaluation relative to one at full size: the first ones are made at smaller scales."""


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time is set by hand."""

    now = 0.0

    def time(self) -> float:
        return self.now


@dataclasses.dataclass(frozen=True)
class Record:
    """What the placer reads of a job's record."""

    job: pb.Job
    number: int


@dataclasses.dataclass(frozen=True)
class SimulatedAudience:
    """Whether somebody watches a job."""

    is_attended: bool

    def __bool__(self) -> bool:
        return self.is_attended


@dataclasses.dataclass(eq=False)
class SimulatedJob:
    """A job, as far as the placer sees it, and its work."""

    name: str
    tenant: str
    record: Record
    audience: SimulatedAudience
    side: int
    seconds_per_evaluation: float
    evaluations: int
    queued_at: float
    progress: pb.Progress | None = None
    deaths: int = 0
    too_small: frozenset[str] = frozenset()
    painting: SimulatedRun | None = None
    final: bool = False
    made: int = 0
    saved: int = 0
    unsaved_seconds: float = 0.0
    first_started: float | None = None

    @property
    def waiting(self) -> bool:
        return self.painting is None and not self.final


@dataclasses.dataclass(eq=False)
class SimulatedRun:
    """A job's run on a device."""

    job: SimulatedJob
    worker: SimulatedDevice
    weight: float
    since: float
    started: bool = False
    leaving: bool = False
    painted: bool = False

    def suspend(self) -> None:
        self.leaving = True


class SimulatedDevice:
    """A device with its scheduler."""

    def __init__(self, key: str) -> None:
        self.key = self.device = key
        self.memory_bytes = 80 << 30
        self.leaving = False
        self.runs: dict[str, SimulatedRun] = {}
        self.life = 0
        self.turn: SimulatedRun | None = None
        self.busy_seconds = 0.0
        self.scheduler: Scheduler[str] = Scheduler()


class Jobs:
    """The registry, as far as the placer sees it."""

    def __init__(self) -> None:
        self.jobs: dict[str, SimulatedJob] = {}
        self.of_tenant: dict[str, int] = {}
        self._moved: dict[SimulatedJob, None] = {}
        self.changed = asyncio.Event()
        self.draining = False

    def __iter__(self) -> Iterator[SimulatedJob]:
        return iter(list(self.jobs.values()))

    @property
    def tenants(self) -> Any:
        return self.of_tenant.keys()

    def find(self, name: str) -> SimulatedJob | None:
        return self.jobs.get(name)

    def enter(self, job: SimulatedJob) -> None:
        self.jobs[job.name] = job
        self.of_tenant[job.tenant] = self.of_tenant.get(job.tenant, 0) + 1
        self.moved(job)

    def moved(self, job: SimulatedJob) -> None:
        self._moved[job] = None

    def gone(self, job: SimulatedJob) -> None:
        del self.jobs[job.name]
        self.of_tenant[job.tenant] -= 1
        if not self.of_tenant[job.tenant]:
            del self.of_tenant[job.tenant]
        self.moved(job)

    def take_moved(self) -> list[SimulatedJob]:
        moved, self._moved = list(self._moved), {}
        return moved

    def placed(self, job: SimulatedJob) -> None:
        """The simulated registry has no queue positions."""


class Ignored:
    """Metrics that count nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@dataclasses.dataclass
class Outcome:
    """What was counted.

    Attributes:
        seconds: simulated time.
        plan_seconds: CPU time of each plan.
        waited: time from the request to the first start, by whether the job was interactive.
        finished, lost_evaluations, deaths: numbers.
        suspended, moved: number of jobs that made room for others, and that moved to another device.
        checkpoint_bytes: bytes of all checkpoints.
        device_seconds: device time that each tenant had.
        weights: of the tenants.
        demanding: tenants that had waiting jobs all the time.
        writes: number of changes that the store would have written, by kind.
        busy: mean share of the time for which devices were busy.
        most_jobs: maximum number of unfinished jobs.
    """

    seconds: float = 0.0
    plan_seconds: list[float] = dataclasses.field(default_factory=list)
    waited: dict[bool, list[float]] = dataclasses.field(default_factory=lambda: {False: [], True: []})
    finished: int = 0
    lost_evaluations: int = 0
    evaluations: int = 0
    deaths: int = 0
    suspended: int = 0
    moved: int = 0
    device_seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    demanding: set[str] = dataclasses.field(default_factory=set)
    writes: dict[str, int] = dataclasses.field(default_factory=dict)
    checkpoint_bytes: int = 0
    busy: float = 0.0
    most_jobs: int = 0

    def wrote(self, what: str) -> None:
        self.writes[what] = self.writes.get(what, 0) + 1


class SimulatedPlacer(Placer):
    """The real placer, whose runs are simulated."""

    fleet: Fleet

    def _start(self, job: Any, worker: Any, weight: float) -> None:
        self._running.append(self.fleet.start(job, worker, weight))


class Fleet:
    """The whole simulation."""

    def __init__(
        self,
        *,
        devices: int,
        jobs: int,
        tenants: int,
        seconds: float,
        kind: str,
        seed: int,
        deaths_every: float,
    ) -> None:
        """
        Args:
            devices: number of devices, 8 in each machine.
            jobs: number of jobs in the queue at the start.
            tenants: number of tenants.
            seconds: time to simulate.
            kind: evaluation times: "gpu" or "cpu".
            seed: decides everything.
            deaths_every: mean time between two deaths of machines in seconds; 0 for none.
        """
        self._random = random.Random(seed)
        self._kind = kind
        self._seconds = seconds
        self._deaths_every = deaths_every
        self.outcome = Outcome(seconds=seconds)
        self.jobs = Jobs()
        self.devices = [
            SimulatedDevice(f"machine-{n // DEVICES_OF_MACHINE}/cuda:{n % DEVICES_OF_MACHINE}")
            for n in range(devices)
        ]
        self.ready_workers: list[SimulatedDevice] = list(self.devices)
        self._numbers = itertools.count(1)
        self._order = itertools.count()
        self._events: list[tuple[float, int, Any, tuple[Any, ...]]] = []
        self._messages: dict[tuple[int, bool], pb.Job] = {}
        weights = {f"tenant-{n}": self._random.choice((0.5, 1.0, 1.0, 1.0, 2.0, 4.0)) for n in range(tenants)}
        self.outcome.weights = weights
        self.outcome.device_seconds = dict.fromkeys(weights, 0.0)
        self._clock = Clock()
        self.placer = SimulatedPlacer(
            self,  # type: ignore[arg-type]
            self.jobs,  # type: ignore[arg-type]
            Ignored(),  # type: ignore[arg-type]
            Ignored(),
            weight_of=weights.__getitem__,
            max_resident=SLOTS,
            checkpoint_interval=CHECKPOINT_SECONDS,
        )
        self.placer.fleet = self
        self._plan_arrivals(jobs, weights)

    def _plan_arrivals(self, jobs: int, weights: Mapping[str, float]) -> None:
        """A queue at the start, of most tenants; later jobs of all; some tenants come only later."""
        names = list(weights)
        amounts = [self._random.lognormvariate(0.0, 1.0) for _ in names]
        late = set(self._random.sample(names, len(names) // 10))
        total = sum(amount for name, amount in zip(names, amounts, strict=True) if name not in late)
        for name, amount in zip(names, amounts, strict=True):
            if name in late:
                # A burst in the middle of the time.
                at = self._seconds * self._random.uniform(0.2, 0.8)
                for _ in range(round(jobs / len(names))):
                    self._at(at, self._arrive, name)
                continue
            for _ in range(round(jobs * amount / total)):
                self._at(0.0, self._arrive, name)
            later = self._random.expovariate(1.0) * jobs / len(names) / 10
            for _ in range(round(later)):
                self._at(self._random.uniform(0.0, self._seconds), self._arrive, name)

    def _at(self, when: float, do: Any, *args: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), do, args))

    def run(self) -> Outcome:
        """Simulates the time, and returns what was counted."""
        placers.plan = self._counted_plan
        try:
            self._clock.run_until_complete(self._run())
        finally:
            placers.plan = plan
            self._clock.close()
        return self.outcome

    def _counted_plan(self, *args: Any) -> Plan:
        made = plan(*args)
        self.outcome.suspended += len(made.suspend)
        self.outcome.moved += len(made.move)
        return made

    async def _run(self) -> None:
        self._at(0.0, self._plan)
        if self._deaths_every:
            self._at(self._random.expovariate(1 / self._deaths_every), self._die)
        demanding: set[str] | None = None
        while self._events and self._events[0][0] <= self._seconds:
            when, _, do, args = heapq.heappop(self._events)
            self._clock.now = max(self._clock.now, when)
            do(*args)
            if do == self._plan:
                waiting = {job.tenant for group in self.placer._waiting.groups for job in group[:1]}
                demanding = waiting if demanding is None else demanding & waiting
        self.outcome.demanding = demanding or set()
        self.outcome.busy = (
            sum(device.busy_seconds for device in self.devices) / len(self.devices) / self._seconds
        )

    def _arrive(self, tenant: str) -> None:
        number = next(self._numbers)
        draft = self._random.random() < DRAFTS
        watched = self._random.random() < WATCHED
        priority = self._random.choice((0, 0, 0, 0, 1, 2))
        size = self._random.choices(list(SIZES), list(SIZES.values()))[0]
        message = self._messages.get((priority, draft))
        if message is None:
            message = self._messages[priority, draft] = pb.Job(priority=priority)
            message.recipe.objective = pb.OBJECTIVE_NEIGHBOURS
            message.recipe.evaluations = EVALUATIONS[0] if draft else EVALUATIONS[1]
        self.jobs.enter(
            SimulatedJob(
                name=f"jobs/{number}",
                tenant=tenant,
                record=Record(message, number),
                audience=SimulatedAudience(watched),
                side=size,
                seconds_per_evaluation=EVALUATION_SECONDS[self._kind][size] * SMALL_SCALES,
                evaluations=EVALUATIONS[0] if draft else self._random.choice(EVALUATIONS[1:]),
                queued_at=self._clock.now,
            )
        )
        self.outcome.wrote("created")
        self.outcome.most_jobs = max(self.outcome.most_jobs, len(self.jobs.jobs))

    def _plan(self) -> None:
        leaving = {id(run) for run in self.placer._running if run.leaving}
        begin = time.process_time()
        self.placer._place()
        self.outcome.plan_seconds.append(time.process_time() - begin)
        for run in self.placer._running:
            if run.leaving and id(run) not in leaving and run is not run.worker.turn:
                self._leave(run)  # type: ignore[arg-type]
        self._at(self._clock.now + PLAN_SECONDS, self._plan)

    @property
    def change(self) -> asyncio.Event:
        return asyncio.Event()

    # Runs.

    def start(self, job: SimulatedJob, device: SimulatedDevice, weight: float) -> SimulatedRun:
        run = job.painting = device.runs[job.name] = SimulatedRun(job, device, weight, self._clock.now)
        self._at(self._clock.now + LOAD_SECONDS, self._started, run, device.life)
        return run

    def _started(self, run: SimulatedRun, life: int) -> None:
        device, job = run.worker, run.job
        if device.life != life or run.leaving:
            return
        run.started = True
        if job.first_started is None:
            job.first_started = self._clock.now
            interactive = job.audience.is_attended or is_draft(job.record.job)
            self.outcome.waited[interactive].append(self._clock.now - job.queued_at)
        self.outcome.wrote("state changes")
        claim = Claim(
            tenant=job.tenant,
            weight=run.weight,
            priority=job.record.job.priority,
            created=job.record.number,
            watched=job.audience.is_attended,
        )
        device.scheduler.add(job.name, claim)
        device.scheduler.admit(job.name, 1 << 30)
        if device.turn is None:
            self._next_turn(device)

    def _next_turn(self, device: SimulatedDevice) -> None:
        name = device.scheduler.next()
        device.turn = None if name is None else device.runs[name]
        if device.turn is not None:
            job = device.turn.job
            number = max(1, round(TURN_SECONDS / job.seconds_per_evaluation))
            number = min(number, job.evaluations - job.made)
            self._at(
                self._clock.now + number * job.seconds_per_evaluation,
                self._turn_over,
                device,
                device.life,
                number,
            )

    def _turn_over(self, device: SimulatedDevice, life: int, number: int) -> None:
        if device.life != life:
            return
        run = device.turn
        assert run is not None
        job, seconds = run.job, number * run.job.seconds_per_evaluation
        device.scheduler.charge(job.name, seconds)
        device.busy_seconds += seconds
        device.turn = None
        job.made += number
        job.unsaved_seconds += seconds
        left = (job.evaluations - job.made) * job.seconds_per_evaluation * len(device.runs)
        job.progress = pb.Progress(evaluation=job.made)
        job.progress.time_left.FromNanoseconds(round(left * 1e9))
        self.outcome.evaluations += number
        self.outcome.device_seconds[job.tenant] += seconds
        self.placer._charge(job.tenant, seconds)
        if job.made >= job.evaluations:
            self._finish(run)
        elif run.leaving:
            self._leave(run)
        elif job.unsaved_seconds >= CHECKPOINT_SECONDS:
            self._save(job)
        if device.turn is None:
            self._next_turn(device)

    def _save(self, job: SimulatedJob) -> None:
        job.saved, job.unsaved_seconds = job.made, 0.0
        self.outcome.wrote("checkpoints")
        self.outcome.checkpoint_bytes += job.side**2 * CHECKPOINT_BYTES

    def _finish(self, run: SimulatedRun) -> None:
        job = run.job
        job.final = True
        self._off(run)
        self.jobs.gone(job)
        self.outcome.finished += 1
        self.outcome.wrote("results")

    def _leave(self, run: SimulatedRun) -> None:
        """Takes a job off the device's turns; it waits once its checkpoint is stored."""
        device = run.worker
        if run.job.name in device.scheduler:
            device.scheduler.remove(run.job.name)
            self._save(run.job)
        self._at(self._clock.now + SAVE_SECONDS, self._left, run, device.life)

    def _left(self, run: SimulatedRun, life: int) -> None:
        if run.worker.life == life:
            self._off(run)
            self.jobs.moved(run.job)
            self.outcome.wrote("state changes")

    def _off(self, run: SimulatedRun) -> None:
        device = run.worker
        del device.runs[run.job.name]
        if run.job.name in device.scheduler:
            device.scheduler.remove(run.job.name)
        run.job.painting = None

    # Machines.

    def _die(self) -> None:
        """A machine dies; another takes its place two minutes later."""
        first = self._random.randrange(0, len(self.devices), DEVICES_OF_MACHINE)
        lost = self.devices[first : first + DEVICES_OF_MACHINE]
        self.outcome.deaths += 1
        for device in lost:
            with contextlib.suppress(ValueError):
                self.ready_workers.remove(device)
            device.life += 1
            device.turn = None
            for run in list(device.runs.values()):
                job = run.job
                self.outcome.lost_evaluations += job.made - job.saved
                job.made, job.unsaved_seconds = job.saved, 0.0
                self._off(run)
                self.jobs.moved(job)
                self.outcome.wrote("state changes")
            device.scheduler = Scheduler()
        self._at(self._clock.now + 120.0, self._join, lost)
        self._at(self._clock.now + self._random.expovariate(1 / self._deaths_every), self._die)

    def want(self, jobs: int) -> None:
        """Does nothing: the number of devices stays the same."""

    def _join(self, devices: Sequence[SimulatedDevice]) -> None:
        self.ready_workers += [device for device in devices if device not in self.ready_workers]
