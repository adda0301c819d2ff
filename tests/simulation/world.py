"""A simulated world: a folder, the lives of a server in it, and its callers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.jobs.job import Job
from simulation import rest
from simulation.clients import Client
from simulation.knowledge import Images, Knowledge
from simulation.loop import Stuck, VirtualLoop
from simulation.server import Server, Settings

LIVE_SECONDS = 120.0
"""Maximum duration of a life of the server with callers, in seconds."""

REST_SECONDS = 240.0
"""Seconds after which everything must have come to rest once nothing goes wrong any more."""

LOOK_SECONDS = 5.0
"""Maximum seconds for states that are allowed only for a moment."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of worlds.

    Attributes:
        endings: how lives of the server with callers may end.
        moods: what may happen to the workers and the disk in one life.
    """

    endings: Sequence[str] = ("kill", "kill", "kill after work", "drain", "rest", "rest")
    moods: Sequence[Sequence[str]] = (
        ("die", "be killed", "hang", "hang", "go on", "full", "empty", "empty"),
        ("hang", "hang", "go on", "nothing", "nothing", "nothing", "nothing"),
        ("die", "die", "be killed", "nothing"),
        ("leave", "leave", "hang", "go on", "be killed", "nothing"),
        ("full", "empty", "be killed"),
        ("nothing",),
    )


ALL = Kind()


class Broken(Exception):
    """Something is wrong, and the world has recorded it."""


class World(Knowledge):
    """A folder, and the lives of a server in it."""

    def __init__(self, seed: int, folder: Path, images: Images, kind: Kind) -> None:
        """
        Args:
            seed: decides everything.
            folder: folder of the store, with the images.
            images: digests of the images.
            kind: kind of the world.
        """
        self._random = random.Random(f"{seed}")
        settings = Settings(
            max_jobs=self._random.choice((3, 8, 20)), max_jobs_per_tenant=self._random.choice((2, 6))
        )
        super().__init__(folder, settings, images)
        self._seed = seed
        self._kind = kind
        self._now = 1000.0
        self._life = 0
        self._trouble = self._random.choice((0.0, 0.05, 0.2))
        self._in_order = self._random.random() < 0.3
        self._clients = [
            Client(self, number, random.Random(f"{seed}/client/{number}"))
            for number in range(self._random.choice((1, 2, 3)))
        ]

    def streams(self, purpose: str) -> random.Random:
        """Random numbers for a purpose, different in each life."""
        return random.Random(f"{self._seed}/{self._life}/{purpose}")

    def run(self) -> None:
        """Runs all lives. Afterwards, `violations` lists everything that was wrong."""
        with contextlib.suppress(Broken):
            for _ in range(self._random.choice((1, 1, 2))):
                self._live()
            self._live_quietly()

    def _live(self) -> None:
        """Runs a life with callers and faults, which may end at any moment."""
        plan = self._random
        ending = plan.choice(self._kind.endings)
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
                self.violation("the drain does not end")
            drain.result()
        self.raise_if_broken()
        if ending == "rest":
            self._settle()
            rest.check(self)
        looking.cancel()
        self._end()

    def _live_quietly(self) -> None:
        """Runs the last life: nothing goes wrong, and every job becomes final."""
        self._open(trouble=0.0)
        self._be_calm()
        rest.check_memory(self)
        self._settle()
        rest.check(self)
        self._run_until(self.loop.create_task(self._end_all()).done, self.loop.time() + REST_SECONDS)
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
            self.settings,
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
        """Records the server's death: unfinished work will not be done."""
        self.note("dead")
        self.raise_if_broken()
        self._now = self.loop.time() + 1.0
        self.loop.abandon()
        self.server.store.close()
        for job in self.jobs.values():
            job.server_died(self._now)

    def close(self) -> None:
        """Cleans up, however the world ended."""
        self.loop.abandon()
        self.server.store.close()

    def _kill(self) -> None:
        self.note("killed")
        self.loop.halt()

    def _run_until(self, done: Callable[[], bool], end: float) -> None:
        try:
            while not done() and not self.loop.halted and self.loop.time() < end:
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

    async def _end_all(self) -> None:
        """Watches every job, and resumes or cancels it."""
        for job in list(self.jobs.values()):
            if self.server.registry.find(job.name) is not None:
                await self._clients[0].end(job, cancel=self._random.random() < 0.3)

    async def _mischief(self) -> None:
        """Makes workers die and hang, and fills and empties the disk."""
        faults = self.streams("mischief")
        mood = faults.choice(self._kind.moods)
        while True:
            await asyncio.sleep(faults.choice((0.1, 1.0, 4.0)))
            worker = faults.choice(self.server.workers.all)
            what = faults.choice(mood)
            if what in ("die", "be killed"):
                worker.die(blames=what == "die")
            elif what == "leave":
                worker.leave()
            elif what == "hang":
                worker.hang()
            elif what == "go on":
                worker.go_on()
            elif what in ("full", "empty"):
                self.note(f"disk {what}")
                self.server.disk.full = what == "full" and self._trouble > 0

    async def _look(self) -> None:
        """Checks that momentary states do not last."""
        seen: dict[str, float] = {}
        while True:
            await asyncio.sleep(1.0)
            now = self.loop.time()
            # Changes that the store is still working on cannot be complete yet.
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
        self.server.intake.calm = True

    def _settle(self) -> None:
        """Lets everything come to rest, with nothing going wrong any more."""
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

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        if loop is self.loop:
            self.violation(f"error in the loop: {context}")


def _rests(job: Job) -> bool:
    return job.state == pb.JOB_STATE_PAUSED and job.painting is None and not job.behind
