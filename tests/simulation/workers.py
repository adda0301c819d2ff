"""Simulated workers that paint nothing: they count evaluations, and die, hang and refuse at random."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Sequence
from pathlib import Path

from google.rpc import code_pb2, status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, does_not_fit, invalid_argument, unavailable
from impasto_server.contract.pictures import Samples
from impasto_server.fleet.worker_process import WorkerDied
from impasto_server.jobs.states import copied
from impasto_server.v1 import worker_pb2

ANSWER_SECONDS = 3.0
"""A worker that has not answered an update after this many seconds is busy."""

SILENT_SECONDS = 12.0
"""A worker that hangs for this many seconds is killed."""

BIG_SIDE = 64
"""A job of this width or more fits only on a large device."""


@dataclasses.dataclass
class Stay:
    """A job on a worker, with what the worker was told."""

    recipe: pb.Recipe
    watched: bool
    priority: int
    suspended: bool = False
    started: bool = False


@dataclasses.dataclass
class Told:
    """What workers reported about jobs, by name.

    Attributes:
        failed: jobs that workers reported as failed.
        blames: number of deaths that a job may be blamed for.
        results: results that were sent.
    """

    failed: set[str] = dataclasses.field(default_factory=set)
    blames: Counter[str] = dataclasses.field(default_factory=Counter)
    results: dict[str, set[bytes]] = dataclasses.field(default_factory=dict)


class SimulatedWorker:
    """See `impasto_server.fleet.workers.Worker`.

    Attributes:
        jobs: jobs on the device.
        ready: whether it accepts jobs.
        leaving: whether its jobs must go to other workers.
    """

    def __init__(self, number: int, *, memory_bytes: int, workers: SimulatedWorkers) -> None:
        self.key = f"worker-{number}"
        self.device = f"cpu:{number}"
        self.network = pb.FeatureNetwork(architecture="none")
        self.jobs: dict[str, Stay] = {}
        self.ready = True
        self.leaving = False
        self._memory_bytes = memory_bytes
        self._workers = workers
        self._random = workers.random
        self._pace = self._random.choice((0.05, 0.3, 1.5))
        self._died = asyncio.Event()
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._death: WorkerDied | None = None
        # Requests that came while it hung; it reads them even if nobody waits for an answer any more.
        self._unread: list[worker_pb2.UpdateRunRequest] = []

    @property
    def memory_bytes(self) -> int:
        return self._memory_bytes if self.ready else 0

    @property
    def hangs(self) -> bool:
        return not self._goes_on.is_set()

    async def run(
        self, begin: worker_pb2.Begin, pictures: AsyncIterable[Samples], checkpoint: Path | None
    ) -> AsyncGenerator[worker_pb2.RunResponse, None]:
        name = begin.job_name
        if not self.ready:
            raise _death("", blames=False)
        self._workers.check_alone(name)
        stay = self.jobs[name] = Stay(copied(begin.spec.recipe), begin.watched, begin.priority)
        self._workers.note(f"{self.key} takes {name}")
        try:
            async for _ in pictures:
                pass
            content = next(picture for picture in begin.pictures if "content" in picture.fields)
            async with contextlib.aclosing(self._paint(begin, stay, content, checkpoint)) as responses:
                async for response in responses:
                    yield response
        finally:
            self._workers.note(f"{self.key} leaves {name}")
            if self.jobs.get(name) is stay:
                del self.jobs[name]

    async def update(self, request: worker_pb2.UpdateRunRequest) -> worker_pb2.UpdateRunResponse | None:
        if not self.ready:
            return None
        await self._answer()
        await asyncio.sleep(self._random.choice((0.0, 0.001, 0.1, 1.0)))
        if not self.ready:
            return None
        if self.hangs:
            if self._random.random() < 0.5:
                self._unread.append(request)
            raise CallError(unavailable("WORKER_BUSY", "the job's device is busy; try again", 2.0))
        answer = self._take_up(request)
        # Two answers may arrive in another order than their changes.
        await asyncio.sleep(self._random.choice((0.0, 0.0, 0.01, 0.3)))
        return answer

    def _take_up(self, request: worker_pb2.UpdateRunRequest) -> worker_pb2.UpdateRunResponse | None:
        stay = self.jobs.get(request.job_name)
        if stay is None or not stay.started:
            return None
        if request.HasField("recipe"):
            if refuses(request.recipe):
                raise CallError(invalid_argument([("job.recipe.content_weight", "cannot be taken up")]))
            stay.recipe.CopyFrom(request.recipe)
        if request.HasField("watched"):
            stay.watched = request.watched
        if request.HasField("priority"):
            stay.priority = request.priority
        return worker_pb2.UpdateRunResponse(recipe=stay.recipe)

    async def suspend(self, job_name: str) -> None:
        if not self.ready:
            return
        await self._answer()
        stay = self.jobs.get(job_name)
        if stay is not None and not self.hangs:
            stay.suspended = True

    async def _answer(self) -> None:
        """Waits until it answers, or until nobody waits any longer."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._goes_on.wait(), ANSWER_SECONDS)

    # Faults.

    def hang(self) -> None:
        """Stops answering until `go_on`, or until it is killed."""
        if self.hangs or not self.ready:
            return
        self._workers.note(f"{self.key} hangs")
        self._goes_on.clear()
        asyncio.get_running_loop().call_later(SILENT_SECONDS, self._be_killed, self._died)

    def leave(self) -> None:
        """Must get rid of its jobs, because its machine is drained, and is used again after a while."""
        if not self.leaving and len(self._workers.ready_workers) > 1:
            self._workers.note(f"{self.key} is leaving")
            self.leaving = True
            self._workers.changed()
            asyncio.get_running_loop().call_later(self._random.uniform(0.5, 8.0), self._stay)

    def _stay(self) -> None:
        self._workers.note(f"{self.key} stays")
        self.leaving = False
        self._workers.changed()

    def go_on(self) -> None:
        if self.hangs:
            self._workers.note(f"{self.key} goes on")
            self._goes_on.set()
            unread, self._unread = self._unread, []
            for request in unread:
                with contextlib.suppress(CallError):
                    self._take_up(request)

    def _be_killed(self, life: asyncio.Event) -> None:
        if self.hangs and self._died is life:
            self.die(blames=False)

    def die(self, *, blames: bool) -> None:
        """Ends every stay with `WorkerDied`; the worker comes back after a while."""
        if not self.ready:
            return
        turn_of = self._random.choice([*self.jobs, ""]) if blames else ""
        self._workers.note(f"{self.key} dies blames={blames} turn={turn_of}")
        if blames:
            self._workers.told.blames.update(self.jobs.keys())
        self.ready = False
        self._death = _death(turn_of, blames=blames)
        self._died.set()
        self._workers.changed()
        asyncio.get_running_loop().call_later(self._random.uniform(0.1, 4.0), self._come_back)

    def _come_back(self) -> None:
        self.ready = True
        self._died = asyncio.Event()
        self._death = None
        self._unread = []
        self._goes_on.set()
        self._workers.note(f"{self.key} is back")
        self._workers.changed()

    # Painting.

    async def _pause(self, seconds: float, death: asyncio.Event) -> None:
        """Waits while the device computes, and as long as it hangs."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(death.wait(), seconds)
        if self.hangs and not death.is_set():
            waits = [asyncio.ensure_future(event.wait()) for event in (death, self._goes_on)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if death.is_set():
            raise self._death or _death("", blames=False)

    async def _paint(
        self, begin: worker_pb2.Begin, stay: Stay, content: worker_pb2.Picture, checkpoint: Path | None
    ) -> AsyncGenerator[worker_pb2.RunResponse, None]:
        name, death, chance = begin.job_name, self._died, self._random.random
        made = _evaluation_of(name, checkpoint)
        await self._pause(chance() * 0.3, death)
        width, height = content.source_width, content.source_height
        if width >= BIG_SIDE and not self._workers.is_largest(self):
            self._workers.note(f"{name} does not fit on {self.key}")
            self._workers.told.failed.add(name)
            error = does_not_fit("longest_side", "needs more memory; give less")
            yield _finished(error)
            return
        stay.started = True
        yield worker_pb2.RunResponse(
            started=worker_pb2.Started(recipe=stay.recipe, width=width, height=height, evaluation=made)
        )
        while made < stay.recipe.evaluations and not stay.suspended:
            await self._pause(self._pace * (0.5 + chance()), death)
            made += 1
            yield _progress(made, stay.recipe.evaluations, self._pace)
            if stay.watched and chance() < 0.3:
                data = f"preview {made}".encode()
                yield worker_pb2.RunResponse(
                    preview=pb.Preview(data=data, evaluation=made, width=4, height=4)
                )
            if chance() < 0.3:
                for response in _checkpoint(name, made):
                    yield response
                    await self._pause(0.0, death)
        if stay.suspended and made < stay.recipe.evaluations:
            for response in _checkpoint(name, made):
                yield response
            yield worker_pb2.RunResponse(suspended=worker_pb2.Suspended())
            return
        if not self._workers.calm and chance() < 0.03:
            self._workers.told.failed.add(name)
            yield _finished(status_pb2.Status(code=code_pb2.INTERNAL, message="an evaluation gave no number"))
            return
        yield _finished(None)
        result = f"{name} {made} {chance()}".encode()
        self._workers.told.results.setdefault(name, set()).add(result)
        for start in range(0, len(result), 20):
            await self._pause(0.01, death)
            piece = worker_pb2.ResultChunk(offset=start, data=result[start : start + 20])
            yield worker_pb2.RunResponse(result=piece)


class SimulatedWorkers:
    """See `impasto_server.fleet.workers.Workers`.

    Attributes:
        all: every worker, ready or not.
        told: what they reported about jobs.
        change: see `Workers`.
        calm: whether nothing goes wrong from now on.
        random: decides what happens.
        note: called with each event.
    """

    def __init__(
        self,
        number: int,
        told: Told,
        random: random.Random,
        note: Callable[[str], None],
        violation: Callable[[str], None],
    ) -> None:
        self.told = told
        self.calm = False
        self.random = random
        self.note = note
        self.change = asyncio.Event()
        self._violation = violation
        sizes = [random.choice((1, 2)) << 30 for _ in range(number)]
        self.all = [SimulatedWorker(i, memory_bytes=size, workers=self) for i, size in enumerate(sizes)]

    @property
    def ready_workers(self) -> Sequence[SimulatedWorker]:
        return [worker for worker in self.all if worker.ready and not worker.leaving]

    def want(self, jobs: int) -> None:
        """Does nothing: the number of workers stays the same."""

    def changed(self) -> None:
        self.change.set()
        self.change = asyncio.Event()

    def is_largest(self, worker: SimulatedWorker) -> bool:
        return worker.memory_bytes >= max(other.memory_bytes for other in self.all)

    def check_alone(self, name: str) -> None:
        for worker in self.all:
            if name in worker.jobs:
                self._violation(f"{name} is begun while it is on {worker.key}")

    def be_calm(self) -> None:
        self.calm = True
        for worker in self.all:
            worker.go_on()


def refuses(recipe: pb.Recipe) -> bool:
    """Whether workers refuse to continue with this recipe."""
    return round(recipe.content_weight * 1000) % 7 == 0


def _death(turn_of: str, *, blames: bool) -> WorkerDied:
    status = unavailable("WORKER_DIED", "the job's worker died; the job goes on", 1.0)
    return WorkerDied(status, turn_of=turn_of, blames=blames)


def _finished(error: status_pb2.Status | None) -> worker_pb2.RunResponse:
    result = worker_pb2.ResultInfo(width=4, height=4, bits=8, metadata="{}") if error is None else None
    finished = worker_pb2.Finished(stop_reason=pb.STOP_REASON_COMPLETED, error=error, result=result)
    return worker_pb2.RunResponse(finished=finished)


def _progress(made: int, evaluations: int, pace: float) -> worker_pb2.RunResponse:
    progress = pb.Progress(evaluation=made, evaluations=evaluations)
    progress.device_time.FromMilliseconds(round(made * pace * 1000))
    return worker_pb2.RunResponse(progress=progress)


def _checkpoint(name: str, made: int) -> Iterator[worker_pb2.RunResponse]:
    data = f"{name} {made}".encode().ljust(90, b".")
    for start in range(0, len(data), 40):
        chunk = worker_pb2.CheckpointChunk(
            evaluation=made, size_bytes=len(data), offset=start, data=data[start : start + 40]
        )
        yield worker_pb2.RunResponse(checkpoint=chunk)


def _evaluation_of(name: str, checkpoint: Path | None) -> int:
    """Number of evaluations in a job's checkpoint; 0 without one."""
    if checkpoint is None:
        return 0
    data = checkpoint.read_bytes()
    owner, made = data.decode().rstrip(".").split(" ")
    assert owner == name, f"{name} continues from the checkpoint of {owner}"
    assert len(data) == 90, f"{name} continues from part of a checkpoint"
    return int(made)
