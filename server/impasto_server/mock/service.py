"""The calls of `impasto_server.v1.WorkerService`, answered without painting."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import hashlib
import importlib.metadata
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
import numpy as np
from google.rpc import status_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import does_not_fit, internal, invalid_argument, status
from impasto_server.contract.previews import PreviewWish, preview_wish, seconds
from impasto_server.contract.recipes import recipe_from_proto, recipe_to_proto
from impasto_server.engine.recipe import Recipe, RecipeError, evaluations_of
from impasto_server.engine.scales import plan_scales
from impasto_server.mailbox import Mailbox
from impasto_server.mock.painting import BLACK, MockPainting, resolved
from impasto_server.v1 import worker_pb2, worker_pb2_grpc
from impasto_server.worker.handover import BadHandover, receive_begin, receive_rest
from impasto_server.worker.previews import code_preview
from impasto_server.worker.scheduler import Claim, Scheduler
from impasto_server.worker.turn_file import TurnFile

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

DESCRIPTION = "Mock: nothing is painted"
MEMORY_BYTES = 8 << 30
NETWORK = pb.FeatureNetwork(
    architecture="mock",
    weights="mock",
    origin="No network: this server only pretends to paint.",
    sha256=hashlib.sha256(b"mock").hexdigest(),
)
_PLAN = pb.MemoryPlan(method=pb.MEMORY_METHOD_PLAIN, estimated_bytes=64 << 20)
_RESULT_CHUNK_BYTES = 256 * 1024
_LEAST_SECONDS = 0.001
_CRASH = os.EX_SOFTWARE


class Seed(enum.IntEnum):
    """Seeds of a recipe that make something happen to its job, for tests. server/README.md lists them."""

    FAILS = 9001
    DOES_NOT_FIT = 9002
    CRASHES_ONCE = 9003
    CRASHES_ALWAYS = 9004
    IS_SLOW = 9005
    STOPS_EARLY = 9006


class _Run:
    """One execution of a job: its painting, and the responses that are not sent yet.

    Attributes:
        responses: responses of the call of Run; closed at the end.
        wish: the previews to make while `watched`.
    """

    def __init__(self, begin: worker_pb2.Begin, painting: MockPainting) -> None:
        self.job_name = begin.job_name
        self.painting = painting
        self.responses: Mailbox[worker_pb2.RunResponse] = Mailbox()
        self.wish: PreviewWish = preview_wish(begin.preview)
        self.watched = begin.watched
        self.stop_reason = pb.STOP_REASON_COMPLETED
        self._result_bits = begin.result_bits
        self._checkpoint_seconds = seconds(begin.checkpoint_interval)
        self._unsaved_seconds = 0.0
        self._next_preview = 0.0
        self._previewed: tuple[int, int] | None = None

    async def turn(self, spent: float) -> None:
        """Makes an evaluation, which took `spent` seconds, and queues the responses about it."""
        painting = self.painting
        progress = painting.step(spent)
        self.responses.put(worker_pb2.RunResponse(progress=progress), kind="progress")
        if painting.recipe.seed == Seed.STOPS_EARLY and painting.share >= 0.5:
            self.stop_reason, painting.done = pb.STOP_REASON_PLATEAU, True
        self._unsaved_seconds += spent
        if 0 < self._checkpoint_seconds <= self._unsaved_seconds and not painting.done:
            self.save()
        at = progress.evaluation, progress.scale
        now = time.monotonic()
        if self.watched and not self.wish.disabled and now >= self._next_preview and at != self._previewed:
            self._next_preview, self._previewed = now + self.wish.min_interval, at
            await self._send_preview(*at)

    def save(self) -> None:
        self._unsaved_seconds = 0.0
        data = self.painting.checkpoint()
        chunk = worker_pb2.CheckpointChunk(
            evaluation=self.painting.evaluation, size_bytes=len(data), data=data
        )
        self.responses.put(worker_pb2.RunResponse(checkpoint=chunk), kind="checkpoint")

    def suspend(self) -> None:
        if self.painting.evaluation:
            self.save()
        self.end(worker_pb2.RunResponse(suspended=worker_pb2.Suspended()))

    def end(self, last: worker_pb2.RunResponse) -> None:
        self.responses.put(last)
        self.responses.close()

    async def _send_preview(self, evaluation: int, scale: int) -> None:
        painting, wish = self.painting, self.wish
        size, recipe, share = painting.preview_size(wish.max_side), painting.recipe, painting.share
        picture = await asyncio.to_thread(painting.picture.preview, size, recipe, share)
        data, width, height = await asyncio.to_thread(code_preview, picture, wish)
        preview = pb.Preview(
            data=data, format=wish.format, width=width, height=height, evaluation=evaluation, scale=scale
        )
        self.responses.put(worker_pb2.RunResponse(preview=preview), kind="preview")

    async def result(self) -> AsyncIterator[worker_pb2.RunResponse]:
        """Yields the responses that deliver the result."""
        painting, bits = self.painting, self._result_bits
        made = painting.evaluation
        if self.stop_reason == pb.STOP_REASON_PLATEAU:
            message = f"the loss had almost stopped falling after {made} evaluations"
        else:
            message = "the one evaluation was made" if made == 1 else f"all {made} evaluations were made"
        metadata = {
            "impasto": importlib.metadata.version("impasto"),
            "device": DESCRIPTION,
            "network": {field.name: value for field, value in NETWORK.ListFields()},
            "recipe": dataclasses.asdict(painting.recipe),
            "memory_plan": {"method": "plain", "tile_side": None},
            "stop_reason": pb.StopReason.Name(self.stop_reason).removeprefix("STOP_REASON_").lower(),
            "stop_message": message,
            "evaluations": made,
        }
        width, height = painting.size
        info = worker_pb2.ResultInfo(width=width, height=height, bits=bits, metadata=json.dumps(metadata))
        finished = worker_pb2.Finished(stop_reason=self.stop_reason, stop_message=message, result=info)
        yield worker_pb2.RunResponse(finished=finished)
        samples = await asyncio.to_thread(painting.picture.samples, painting.recipe, painting.share, bits)
        data = samples.astype(samples.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
        for offset in range(0, len(data), _RESULT_CHUNK_BYTES):
            piece = data[offset : offset + _RESULT_CHUNK_BYTES].tobytes()
            yield worker_pb2.RunResponse(result=worker_pb2.ResultChunk(offset=offset, data=piece))


class MockWorker(worker_pb2_grpc.WorkerServiceServicer):
    """Pretends to own a device. Its jobs take turns as on a real one; a turn only lets time pass."""

    def __init__(self, evaluation_seconds: float, turn_file: TurnFile, folder: Path) -> None:
        """
        Args:
            evaluation_seconds: duration of an evaluation in seconds.
            turn_file: records the job that has the turn.
            folder: folder for notes that outlive this process, but not the server.
        """
        self._evaluation_seconds = evaluation_seconds
        self._turn_file = turn_file
        self._folder = folder
        self._scheduler: Scheduler[_Run] = Scheduler()
        self._runs: dict[str, _Run] = {}
        self._changed = asyncio.Event()
        # The job that has the turn, and the time at which the turn began.
        self._at_work: tuple[str, float] | None = None

    async def work(self) -> None:
        """Gives the jobs turns in an endless loop."""
        while True:
            run = self._scheduler.next()
            if run is None:
                self._turn_file.write("")
                self._changed.clear()
                await self._changed.wait()
                continue
            self._turn_file.write(run.job_name)
            self._at_work = run.job_name, time.monotonic()
            spent = self._seconds_of(run.painting.recipe)
            await asyncio.sleep(spent)
            self._at_work = None
            # Else it was cancelled or suspended meanwhile.
            if run in self._scheduler:
                # Turns that cost nothing would leave the order of the jobs as it is.
                self._scheduler.charge(run, max(spent, _LEAST_SECONDS))
                await run.turn(spent)
                self._provoke(run)
                if run.painting.done:
                    self._leave(run)

    def _provoke(self, run: _Run) -> None:
        """Does what the job's seed demands, once half of the evaluations are made."""
        seed = run.painting.recipe.seed
        if run.painting.share < 0.5:
            return
        if seed == Seed.FAILS:
            self._leave(run)
            run.end(_failed(internal("PAINTING_FAILED", "the mock's painting failed, as the seed 9001 asks")))
        elif seed == Seed.CRASHES_ALWAYS:
            os._exit(_CRASH)
        elif seed == Seed.CRASHES_ONCE:
            note = self._folder / f"crashed-{run.job_name.rpartition('/')[2]}"
            if not note.exists():
                note.touch()
                os._exit(_CRASH)

    def _leave(self, run: _Run) -> None:
        if run in self._scheduler:
            self._scheduler.remove(run)
        if run.painting.done:
            run.responses.close()

    async def GetWorkerInfo(
        self, request: worker_pb2.GetWorkerInfoRequest, context: Context
    ) -> worker_pb2.GetWorkerInfoResponse:
        device = pb.Device(
            name="mock",
            description=DESCRIPTION,
            auto_precision=pb.PRECISION_FLOAT32,
            resident_jobs=len(self._runs),
            memory_bytes=MEMORY_BYTES,
        )
        return worker_pb2.GetWorkerInfoResponse(device=device, network=NETWORK, process_id=os.getpid())

    async def EstimateRun(
        self, request: worker_pb2.EstimateRunRequest, context: Context
    ) -> worker_pb2.EstimateRunResponse:
        spec = request.spec
        if spec.HasField("texture"):
            size = spec.texture.width, spec.texture.height
        else:
            content = next(picture for picture in request.pictures if "content" in picture.fields)
            size = content.width, content.height
        try:
            recipe = resolved(spec.recipe, size, texture=spec.HasField("texture"))
            if request.HasField("selected") and not request.selected.right:
                raise RecipeError("selection", BLACK)
        except RecipeError as error:
            await _abort(context, _refusal(error))
        if recipe.seed == Seed.DOES_NOT_FIT:
            await _abort(context, _no_room())
        assert recipe.evaluations is not None
        turns = recipe.evaluations
        if recipe.objective == "neighbours":
            # One more at each scale, to find its targets.
            turns += len(plan_scales(recipe, size))
        seconds = turns * self._seconds_of(recipe)
        response = worker_pb2.EstimateRunResponse(recipe=recipe_to_proto(recipe), memory_plan=_PLAN)
        response.device_time.FromNanoseconds(round(seconds * 1e9))
        return response

    def _seconds_of(self, recipe: Recipe) -> float:
        """Returns the time of an evaluation."""
        return self._evaluation_seconds * (10 if recipe.seed == Seed.IS_SLOW else 1)

    async def Ping(self, request: worker_pb2.PingRequest, context: Context) -> worker_pb2.PingResponse:
        response = worker_pb2.PingResponse()
        if self._at_work is not None:
            response.job_name, since = self._at_work
            response.duration.FromNanoseconds(round((time.monotonic() - since) * 1e9))
        return response

    # A coroutine that writes, as the real worker's.
    async def Run(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[worker_pb2.RunRequest],
        context: Context,
    ) -> None:
        try:
            begin = await receive_begin(request_iterator)
            handover = await receive_rest(request_iterator, begin)
        except BadHandover as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        try:
            painting = await asyncio.to_thread(MockPainting, begin.spec, handover.pictures)
        except RecipeError as error:
            await context.write(_failed(_refusal(error)))
            return
        if painting.recipe.seed == Seed.DOES_NOT_FIT:
            await context.write(_failed(_no_room()))
            return
        if handover.checkpoint is not None:
            painting.resume(handover.checkpoint)
        run = self._runs[begin.job_name] = _Run(begin, painting)
        try:
            run.responses.put(_started(painting))
            self._scheduler.add(run, _claim(begin, painting.recipe))
            self._scheduler.admit(run, _PLAN.estimated_bytes)
            self._changed.set()
            async for response in run.responses:
                await context.write(response)
            if painting.done:
                async for response in run.result():
                    await context.write(response)
        finally:
            self._leave(run)
            # The gateway may have begun the job here again before this call has ended.
            if self._runs.get(begin.job_name) is run:
                del self._runs[begin.job_name]

    async def UpdateRun(
        self, request: worker_pb2.UpdateRunRequest, context: Context
    ) -> worker_pb2.UpdateRunResponse:
        run = await self._run_of(request.job_name, context)
        if request.HasField("recipe"):
            try:
                run.painting.update(recipe_from_proto(request.recipe))
            except RecipeError as error:
                await _abort(context, _refusal(error))
        if request.HasField("preview"):
            run.wish = preview_wish(request.preview)
        watched = request.watched if request.HasField("watched") else None
        priority = request.priority if request.HasField("priority") else None
        self._scheduler.change(run, priority=priority, watched=watched)
        if watched is not None:
            run.watched = watched
        return worker_pb2.UpdateRunResponse(recipe=recipe_to_proto(run.painting.recipe))

    async def SuspendRun(
        self, request: worker_pb2.SuspendRunRequest, context: Context
    ) -> worker_pb2.SuspendRunResponse:
        run = await self._run_of(request.job_name, context)
        self._leave(run)
        run.suspend()
        return worker_pb2.SuspendRunResponse()

    async def _run_of(self, job_name: str, context: Context) -> _Run:
        run = self._runs.get(job_name)
        if run is None or run.painting.done or run not in self._scheduler:
            message = f"{job_name} does not run here"
            await _abort(context, status(grpc.StatusCode.NOT_FOUND, "NO_SUCH_RUN", message))
        return run


async def _abort(context: Context, error: status_pb2.Status) -> NoReturn:
    ending = rpc_status.to_status(error)
    await context.abort(ending.code, ending.details, ending.trailing_metadata)


def _started(painting: MockPainting) -> worker_pb2.RunResponse:
    width, height = painting.size
    started = worker_pb2.Started(
        recipe=recipe_to_proto(painting.recipe),
        width=width,
        height=height,
        bfloat16=painting.recipe.precision == "bfloat16",
        memory_plan=_PLAN,
        evaluation=painting.evaluation,
    )
    return worker_pb2.RunResponse(started=started)


def _claim(begin: worker_pb2.Begin, recipe: Recipe) -> Claim:
    assert recipe.evaluations is not None
    return Claim(
        tenant=begin.tenant,
        weight=begin.tenant_weight,
        priority=begin.priority,
        created=begin.number,
        watched=begin.watched,
        draft=recipe.evaluations <= evaluations_of(recipe.objective, "draft"),
    )


def _refusal(error: RecipeError) -> status_pb2.Status:
    """Returns the status of a recipe or a mask that cannot be painted."""
    beside = error.field.startswith(("regions", "selection"))
    path = f"spec.{error.field}" if beside else f"spec.recipe.{error.field}"
    return invalid_argument([(path, error.remedy)])


def _no_room() -> status_pb2.Status:
    remedy = "does not fit into the mock's memory, as the seed 9002 asks; give another seed"
    return does_not_fit("spec.recipe.longest_side", remedy)


def _failed(error: status_pb2.Status) -> worker_pb2.RunResponse:
    return worker_pb2.RunResponse(finished=worker_pb2.Finished(error=error))
