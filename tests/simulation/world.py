"""One simulated world: a folder, the lives of a server on it, its callers, and what must hold."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import hashlib
import logging
import random
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.jobs import states
from impasto_server.jobs.job import Job
from impasto_server.store import reserve
from impasto_server.store.records import FINAL_STATES
from impasto_server.store.store import Store
from simulation import rest
from simulation.clients import Client
from simulation.loop import Stuck, VirtualLoop
from simulation.model import KnownJob
from simulation.server import Server, Settings
from simulation.workers import Told

TENANTS = ("tenant-0", "tenant-1")

LIVE_SECONDS = 120.0
"""A life of the server with callers takes so long at most."""

REST_SECONDS = 240.0
"""Once nothing goes wrong any more, everything has come to rest after so long."""

LOOK_SECONDS = 5.0
"""What may be wrong for a moment is right after so long."""

ENDINGS = ("kill", "kill", "kill after work", "drain", "rest")
"""How a life of the server with callers may end."""

_RESERVE_BYTES = 4096
_WORLDS_TO_COLLECT = 50


class Broken(Exception):
    """Something is not as it must be; the world has been told."""


@dataclasses.dataclass(frozen=True)
class Images:
    """Digests of the images that every tenant has."""

    small: str
    large: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a world.

    Attributes:
        seed: that it was made of.
        violations: what was not as it must be, in the order in which it was seen.
        trace: all that happened.
        calls, jobs: how many there were.
    """

    seed: int
    violations: list[str]
    trace: list[str]
    calls: int
    jobs: int

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


class World:
    """What outlives the server: the folder, the callers' knowledge, and the time.

    Attributes:
        server: the one that lives now.
        loop: it lives on this one.
        images: every tenant has them.
        jobs: those that callers know, by name.
        told: what workers told.
    """

    server: Server
    loop: VirtualLoop

    def __init__(self, seed: int, folder: Path, images: Images, endings: Sequence[str]) -> None:
        self.images = images
        self.folder = folder
        self.tenants = TENANTS
        self.image_bytes = len(b"smalllarge")
        self.jobs: dict[str, KnownJob] = {}
        self.told = Told()
        self.violations: list[str] = []
        self.trace: list[str] = []
        self.calls = 0
        self._seed = seed
        self._endings = endings
        self._by_request: dict[tuple[str, str], KnownJob] = {}
        self._now = 1000.0
        self._life = 0
        self._random = random.Random(f"{seed}")
        self._settings = Settings(
            max_jobs=self._random.choice((3, 8, 20)), max_jobs_per_tenant=self._random.choice((2, 6))
        )
        self._trouble = self._random.choice((0.0, 0.05, 0.2))
        self._in_order = self._random.random() < 0.3
        self._clients = [
            Client(self, number, random.Random(f"{seed}/client/{number}"))
            for number in range(self._random.choice((1, 2, 3)))
        ]

    # What happens.

    def streams(self, purpose: str) -> random.Random:
        """Random numbers for a purpose, others in each life."""
        return random.Random(f"{self._seed}/{self._life}/{purpose}")

    def note(self, text: str) -> None:
        if not self.loop.dead:
            self.trace.append(f"{self.loop.time():.6f} {text}")

    def violation(self, text: str) -> None:
        """Something is not as it must be: the world stops."""
        if not self.loop.dead:
            self.note(f"VIOLATION: {text}")
            self.violations.append(text)
            self.loop.halt()

    def run(self) -> None:
        """Lives all lives. Afterwards `violations` tells what was wrong."""
        with contextlib.suppress(Broken):
            for _ in range(self._random.choice((1, 1, 2))):
                self._live()
            self._live_quietly()

    def _live(self) -> None:
        """A life with callers and faults, which may end at any moment."""
        plan = self._random
        ending = plan.choice(self._endings)
        self._open(trouble=self._trouble)
        if ending == "kill after work":
            self.server.disk.die_after = plan.randint(1, 120)
        end = self.loop.time() + plan.choice((0.3, 1.0, 3.0, 10.0)) if ending in ("kill", "drain") else None
        living = self.loop.create_task(self._callers())
        faults = self.loop.create_task(self._mischief())
        looking = self.loop.create_task(self._look())
        self._run_until(living.done, end or self.loop.time() + LIVE_SECONDS)
        faults.cancel()
        if ending == "drain":
            drain = self.loop.create_task(self.server.drain())
            self._run_until(drain.done, self.loop.time() + LIVE_SECONDS)
            if not drain.done():
                self.violation("the drain does not come to its end")
            drain.result()
        self.raise_if_broken()
        if ending == "rest":
            self._settle()
            rest.check(self)
        looking.cancel()
        self._end()

    def _live_quietly(self) -> None:
        """The last life: nothing goes wrong, and every job comes to its end."""
        self._open(trouble=0.0)
        self._be_calm()
        rest.check_memory(self)
        self._settle()
        rest.check(self)
        self._run_until(self.loop.create_task(self._resume_all()).done, self.loop.time() + REST_SECONDS)
        self._settle()
        rest.check(self, all_final=True)
        self._end()

    def _open(self, *, trouble: float) -> None:
        self._life += 1
        self.loop = VirtualLoop(self.streams("order"), now=self._now, in_order=self._in_order)
        self.loop.set_exception_handler(self._on_loop_error)
        plan = self.streams("server")
        self.note(f"life {self._life}")
        self.server = Server(
            self.folder,
            self._settings,
            self.told,
            streams=self.streams,
            note=self.note,
            violation=self.violation,
            kill=self._kill,
            trouble=trouble,
            workers=plan.choice((1, 1, 2, 3)),
            slots=plan.choice((1, 1, 2)),
        )
        calm, self.server.disk.calm = self.server.disk.calm, True
        self._run_until(self.loop.create_task(self.server.start()).done, self.loop.time() + 5.0)
        self.server.disk.calm = calm

    def _end(self) -> None:
        """The server is dead. What was under way and not done will not be done."""
        self.note("dead")
        self.raise_if_broken()
        self._now = self.loop.time() + 1.0
        self.loop.abandon()
        self.server.store.close()
        for job in self.jobs.values():
            job.server_died(self._now)

    def close(self) -> None:
        """Leaves nothing behind, however it ended."""
        self.loop.abandon()
        self.server.store.close()

    def _kill(self) -> None:
        self.note("killed")
        self.loop.halt()

    def _run_until(self, done: object, end: float) -> None:
        try:
            while not done() and not self.loop.halted and self.loop.time() < end:  # type: ignore[operator]
                self.loop.run(min(end, self.loop.time() + 0.5))
        except Stuck as error:
            self.violation(str(error))
        self.raise_if_broken()

    def raise_if_broken(self) -> None:
        if self.violations:
            raise Broken

    async def _callers(self) -> None:
        lives = (client.live(self._random.choice((2, 5, 8))) for client in self._clients)
        await asyncio.gather(*lives)

    async def _resume_all(self) -> None:
        for job in list(self.jobs.values()):
            if self.server.registry.find(job.name) is not None:
                await self._clients[0].resume_for_good(job)

    async def _mischief(self) -> None:
        """Workers die and hang, the disk fills up and is emptied."""
        faults = self.streams("mischief")
        if faults.random() < 0.2:
            return
        while True:
            await asyncio.sleep(faults.choice((0.1, 1.0, 4.0)))
            worker = faults.choice(self.server.workers.all)
            what = faults.choice(("die", "be killed", "hang", "hang", "go on", "full", "empty", "empty"))
            if what in ("die", "be killed"):
                worker.die(blames=what == "die")
            elif what == "hang":
                worker.hang()
            elif what == "go on":
                worker.go_on()
            else:
                self.note(f"disk {what}")
                self.server.disk.full = what == "full" and self._trouble > 0

    async def _look(self) -> None:
        """Sees to it that what is wrong for a moment does not stay wrong."""
        seen: dict[str, float] = {}
        while True:
            await asyncio.sleep(1.0)
            now = self.loop.time()
            # What the store still is at cannot be right yet.
            if self.server.disk.under_way or self.server.drained_at is not None:
                continue
            seen = {fault: seen.get(fault, now) for fault in rest.passing(self)}
            for fault, since in seen.items():
                if now - since > LOOK_SECONDS:
                    self.violation(fault)

    # Rest.

    def _be_calm(self) -> None:
        self.server.disk.calm, self.server.disk.full = True, False
        self.server.workers.be_calm()

    def _settle(self) -> None:
        """Lets everything come to its rest, with nothing going wrong any more."""
        self._be_calm()
        self.note("calm")
        self._run_until(self._is_quiet, self.loop.time() + REST_SECONDS)
        for job in self.jobs.values():
            job.server_died(self.loop.time())

    def _is_quiet(self) -> bool:
        server = self.server
        return (
            not server.disk.under_way
            and not len(server.registry.tasks)
            and all(worker.ready and not worker.jobs for worker in server.workers.all)
            and all(_rests(job) for job in server.registry)
            and all(handler.job in self._paused() for handler in server.handlers.values())
        )

    def _paused(self) -> set[str]:
        return {job.name for job in self.server.registry if job.state == pb.JOB_STATE_PAUSED}

    # What callers learn.

    def created(
        self,
        message: pb.Job,
        request: pb.CreateJobRequest,
        tenant: str,
        begin: float,
        *,
        lingers: bool = False,
    ) -> None:
        """A caller was told that its job is made."""
        now = self.loop.time()
        if self.server.drained_at is not None and begin > self.server.drained_at:
            self.violation(f"{message.name} is made although the server drains")
        unfinished = self.server.registry.unfinished()
        if unfinished > self._settings.max_jobs:
            self.violation(f"there are {unfinished} jobs, more than {self._settings.max_jobs}")
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
        """A caller was shown a job, in answer to a call that began then."""
        for fault in job.faults(message, begin, self.loop.time()):
            self.violation(f"shown: {fault}")
        job.observe(message, begin, self.loop.time())
        self.check_stored(job)

    def shown(self, tenant: str, event: pb.JobEvent, before: pb.JobEvent | None) -> None:
        """A watcher was told an event."""
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
        """A caller was told that a job is deleted."""
        job.deleted = min(job.deleted, self.loop.time())
        if self.server.store.jobs.get(job.name) is not None:
            self.violation(f"{job.name} was deleted and is on disk")

    def check_stored(self, job: KnownJob) -> None:
        """What was shown or acknowledged of a job is on disk."""
        record = self.server.store.jobs.get(job.name)
        if record is None:
            if not job.deletes:
                self.violation(f"{job.name} was acknowledged and is not on disk")
            return
        if record.tenant != job.tenant:
            self.violation(f"{job.name} is another tenant's on disk")
        for fault in job.faults(record.job):
            self.violation(f"on disk: {fault}")

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        if loop is self.loop:
            self.violation(f"the loop was told: {context}")


def _rests(job: Job) -> bool:
    return job.state == pb.JOB_STATE_PAUSED and job.painting is None and not job.behind


class Log(logging.Handler):
    """What the server logs becomes part of the trace; an unexpected error breaks the world."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self._world.note(f"log {text}")
        bad = (
            record.exc_info or record.name == "asyncio" or text.startswith(("jobs cannot", "painting failed"))
        )
        if bad and record.levelno >= logging.ERROR:
            error = f" {record.exc_info[1]!r}" if record.exc_info else ""
            self._world.violation(f"logged: {text}{error}")


class Names:
    """Names of jobs that come from a count, in place of `secrets`."""

    def __init__(self) -> None:
        self._count = 0

    def token_urlsafe(self, _: int) -> str:
        self._count += 1
        return f"job-{self._count}"


class Simulation:
    """Makes worlds, each of its seed. Used as a context manager; removes what it wrote."""

    def __enter__(self) -> Simulation:
        # Of a killed server, coroutines are left that nobody awaits any more; they may be found at any time.
        gc.disable()
        self._worlds = 0
        self._quiet = warnings.catch_warnings()
        self._quiet.__enter__()
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        memory = Path("/dev/shm")
        self._folder = Path(tempfile.mkdtemp("-simulation", dir=memory if memory.is_dir() else None))
        with self._small_reserve(), contextlib.closing(Store(self._folder / "template")) as store:
            for tenant in TENANTS:
                small = store.images.put(tenant, b"small", size=(16, 16))
                large = store.images.put(tenant, b"large", size=(64, 16))
        self._images = Images(small, large)
        return self

    def __exit__(self, *_: object) -> None:
        gc.enable()
        gc.collect()
        self._quiet.__exit__()
        shutil.rmtree(self._folder)

    def outcome(self, seed: int, endings: Sequence[str] = ENDINGS) -> Outcome:
        """What becomes of the world of a seed.

        Args:
            seed: decides everything.
            endings: how lives of the server may end.
        """
        self._worlds += 1
        if self._worlds % _WORLDS_TO_COLLECT == 0:
            gc.collect()
        folder = self._folder / "world"
        shutil.copytree(self._folder / "template", folder)
        world = World(seed, folder, self._images, endings)
        loggers = [logging.getLogger(name) for name in ("impasto_server", "asyncio")]
        before = [(logger.level, logger.propagate) for logger in loggers]
        handler = Log(world)
        secrets, states.secrets = states.secrets, Names()  # type: ignore[assignment]
        for logger in loggers:
            logger.addHandler(handler)
            logger.setLevel(logging.WARNING)
            logger.propagate = False
        try:
            with self._small_reserve():
                world.run()
        finally:
            world.close()
            states.secrets = secrets
            for logger, (level, propagate) in zip(loggers, before, strict=True):
                logger.removeHandler(handler)
                logger.setLevel(level)
                logger.propagate = propagate
            shutil.rmtree(folder)
        return Outcome(seed, world.violations, world.trace, world.calls, len(world.jobs))

    @contextlib.contextmanager
    def _small_reserve(self) -> Iterator[None]:
        """A full disk is simulated: the room kept for one need not be written for every seed."""
        size, reserve.RESERVE_BYTES = reserve.RESERVE_BYTES, _RESERVE_BYTES
        try:
            yield
        finally:
            reserve.RESERVE_BYTES = size
