"""The calls of `impasto.worker.v1.WorkerService`."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import importlib.metadata
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import grpc
import grpc.aio
import torch
from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2, worker_pb2_grpc
from impasto_server.contract.errors import does_not_fit, invalid_argument, status
from impasto_server.contract.previews import preview_wish
from impasto_server.contract.recipes import recipe_from_proto, recipe_to_proto
from impasto_server.engine.memory import DoesNotFit
from impasto_server.engine.network import Network
from impasto_server.engine.recipe import Recipe, RecipeError, evaluations_of
from impasto_server.engine.targets import TargetCache
from impasto_server.worker.commission import Commission, Device
from impasto_server.worker.handover import BadHandover, receive_begin, receive_rest
from impasto_server.worker.material import Material, decoded
from impasto_server.worker.painter import NotHere, Painter
from impasto_server.worker.painting import Painted, Painting, Snapshot, Suspended
from impasto_server.worker.pictures import code_preview, code_result
from impasto_server.worker.scheduler import Claim

if TYPE_CHECKING:
    RunContext = grpc.aio.ServicerContext[worker_pb2.RunRequest, worker_pb2.RunResponse]

_log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024
CHECKPOINT_CHUNK_BYTES = 1 << 20

_STOP_REASONS: dict[str, pb.StopReason] = {
    "completed": pb.STOP_REASON_COMPLETED,
    "plateau": pb.STOP_REASON_PLATEAU,
    "converged": pb.STOP_REASON_CONVERGED,
    "not_finite": pb.STOP_REASON_NOT_FINITE,
}
_RECIPE_FIELDS = frozenset(field.name for field in dataclasses.fields(Recipe))


class _Writer:
    """The responses of one call: several tasks may write, one after the other."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._turn = asyncio.Lock()

    async def write(self, response: worker_pb2.RunResponse) -> None:
        async with self._turn:
            await self._context.write(response)


class _Run:
    """A call of Run that has not ended.

    Attributes:
        begin: its first request.
        painted: all its work.
        painting: None until the images are decoded.
        prepared: set once there is a painting, or never will be.
        gave_way: whether it was suspended before there was one.
        ended: set at the end.
    """

    def __init__(self, begin: worker_pb2.Begin) -> None:
        self.begin = begin
        self.painted: asyncio.Task[None] | None = None
        self.painting: Painting | None = None
        self.prepared = asyncio.Event()
        self.gave_way = False
        self.ended = asyncio.Event()


class WorkerService(worker_pb2_grpc.WorkerServiceServicer):
    """Paints on one device."""

    def __init__(
        self,
        painter: Painter,
        *,
        device: pb.Device,
        network: Network,
        auto_precision: Literal["float32", "bfloat16"],
        other_devices: list[str],
        max_resident: int,
    ) -> None:
        """
        Args:
            painter: who gives the turns.
            device: name, description, and the memory that jobs may use.
            network: on the device.
            auto_precision: what precision "auto" means here.
            other_devices: what `GetWorkerInfo` is to say.
            max_resident: jobs that hold memory on the device at a time; the others wait.
        """
        self._device = device
        self._painted_with = Device(network, auto_precision, TargetCache())
        self._other_devices = other_devices
        self._places = asyncio.Semaphore(max_resident)
        self._painter = painter
        self._runs: dict[str, _Run] = {}
        # Decoding and coding would keep the event loop from its calls.
        self._images = ThreadPoolExecutor(2, thread_name_prefix="images")

    async def GetWorkerInfo(
        self,
        request: worker_pb2.GetWorkerInfoRequest,
        context: grpc.aio.ServicerContext[worker_pb2.GetWorkerInfoRequest, worker_pb2.GetWorkerInfoResponse],
    ) -> worker_pb2.GetWorkerInfoResponse:
        device = pb.Device(resident_jobs=self._painter.resident)
        device.MergeFrom(self._device)
        network = pb.FeatureNetwork(
            architecture=self._painted_with.network.architecture,
            weights=self._painted_with.network.weights_name,
            origin=self._painted_with.network.origin,
            sha256=self._painted_with.network.sha256,
        )
        return worker_pb2.GetWorkerInfoResponse(
            device=device, network=network, process_id=os.getpid(), other_devices=self._other_devices
        )

    # A coroutine that writes, not an async generator, whose clean-up a cancelled call might not reach.
    async def Run(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[worker_pb2.RunRequest],
        context: RunContext,
    ) -> None:
        try:
            run = _Run(await receive_begin(request_iterator))
            name = run.begin.job_name
            # The gateway may have given up the one before already.
            while name in self._runs:
                await self._runs[name].ended.wait()
            self._runs[name] = run
            writer = _Writer(context)
            run.painted = asyncio.ensure_future(self._paint(run, request_iterator, writer))
            try:
                await run.painted
            except asyncio.CancelledError:
                if not run.gave_way:
                    raise
                await writer.write(worker_pb2.RunResponse(suspended=worker_pb2.Suspended()))
            finally:
                del self._runs[name]
                run.prepared.set()
                run.ended.set()
        except BadHandover as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def UpdateRun(
        self,
        request: worker_pb2.UpdateRunRequest,
        context: grpc.aio.ServicerContext[worker_pb2.UpdateRunRequest, worker_pb2.UpdateRunResponse],
    ) -> worker_pb2.UpdateRunResponse:
        run = await self._run_of(request.job_name, context)
        await run.prepared.wait()
        try:
            if run.painting is None:
                raise NotHere
            update = self._painter.update(
                run.painting,
                recipe=recipe_from_proto(request.recipe) if request.HasField("recipe") else None,
                wish=preview_wish(request.preview) if request.HasField("preview") else None,
                watched=request.watched if request.HasField("watched") else None,
                priority=request.priority if request.HasField("priority") else None,
            )
            recipe = await asyncio.wrap_future(update)
        except NotHere:
            await _abort_not_here(request.job_name, context)
        except RecipeError as error:
            await _abort(context, invalid_argument([(_path(error), error.remedy)]))
        except Exception as error:
            await _abort(context, _refusal(error))
        return worker_pb2.UpdateRunResponse(recipe=recipe_to_proto(recipe))

    async def SuspendRun(
        self,
        request: worker_pb2.SuspendRunRequest,
        context: grpc.aio.ServicerContext[worker_pb2.SuspendRunRequest, worker_pb2.SuspendRunResponse],
    ) -> worker_pb2.SuspendRunResponse:
        run = await self._run_of(request.job_name, context)
        if run.painting is not None:
            self._painter.suspend(run.painting)
        elif run.painted is not None and not run.gave_way:
            run.gave_way = True
            run.painted.cancel()
        return worker_pb2.SuspendRunResponse()

    async def _run_of(self, job_name: str, context: grpc.aio.ServicerContext[Any, Any]) -> _Run:
        if job_name not in self._runs:
            await _abort_not_here(job_name, context)
        return self._runs[job_name]

    async def _paint(
        self, run: _Run, requests: AsyncIterator[worker_pb2.RunRequest], writer: _Writer
    ) -> None:
        """A job from its images to its result."""
        begin = run.begin
        handover = await receive_rest(requests, begin)
        async with self._places:
            try:
                material = await self._in_images_thread(decoded, begin.spec, handover.images)
            except KeyError as error:
                raise BadHandover(f"the image {error} is missing") from error
            except RecipeError as error:
                await writer.write(_failed(_refusal(error)))
                return
            painting = run.painting = Painting(
                begin.job_name,
                Commission(begin.job_name, material, handover.checkpoint, self._painted_with),
                _claim(begin, material.recipe),
                preview_wish(begin.preview),
                checkpoint_interval=_seconds(begin.checkpoint_interval),
            )
            # Decoded they are in the material, which is all that has to wait in memory.
            del handover
            _log.info("job admitted job=%s", begin.job_name)
            self._painter.admit(painting)
            run.prepared.set()
            try:
                painted = await self._relay(painting, writer)
            finally:
                await asyncio.to_thread(self._painter.drop, painting)
                _log.info(
                    "job off the device job=%s style_targets_computed=%d style_targets_reused=%d",
                    begin.job_name,
                    self._painted_with.style_targets.misses,
                    self._painted_with.style_targets.hits,
                )
        if painted is not None:
            await self._deliver(painted, material, writer)

    async def _relay(self, painting: Painting, writer: _Writer) -> Painted | None:
        """Sends what happens until the painting ends; None if it was not finished."""
        unwanted = asyncio.Event()
        saving = asyncio.ensure_future(self._send_checkpoints(painting, writer, unwanted))
        try:
            async for event in painting.events:
                if isinstance(event, worker_pb2.RunResponse):
                    await writer.write(event)
                elif isinstance(event, Snapshot):
                    await writer.write(await self._preview(painting, event))
                elif isinstance(event, Suspended):
                    await saving
                    await writer.write(worker_pb2.RunResponse(suspended=worker_pb2.Suspended()))
                    return None
                else:
                    unwanted.set()
                    await saving
                    if isinstance(event, Painted):
                        return event
                    _log.error("job failed job=%s error=%r", painting.job_name, str(event.error))
                    await writer.write(_failed(_refusal(event.error)))
                    return None
        finally:
            saving.cancel()
        raise AssertionError("a painting's events end with Painted, Suspended or Broken")

    async def _preview(self, painting: Painting, snapshot: Snapshot) -> worker_pb2.RunResponse:
        begin = time.monotonic()
        wish = painting.wish
        data, width, height = await self._in_images_thread(code_preview, snapshot.picture, wish)
        painting.preview_coded(time.monotonic() - begin)
        preview = pb.Preview(
            data=data,
            format=wish.format,
            width=width,
            height=height,
            evaluation=snapshot.evaluation,
            scale=snapshot.scale,
        )
        return worker_pb2.RunResponse(preview=preview)

    async def _send_checkpoints(self, painting: Painting, writer: _Writer, unwanted: asyncio.Event) -> None:
        """Sends each checkpoint, until there are no more or they are unwanted."""
        async for saved in painting.checkpoints:
            begin = time.monotonic()
            # Its header, which sums up all the bytes.
            size = await self._in_images_thread(lambda checkpoint: checkpoint.size_bytes, saved.checkpoint)
            offset = 0
            for data in saved.checkpoint.pieces(CHECKPOINT_CHUNK_BYTES):
                if unwanted.is_set():
                    return
                chunk = worker_pb2.CheckpointChunk(
                    evaluation=saved.evaluation, size_bytes=size, offset=offset, data=data
                )
                await writer.write(worker_pb2.RunResponse(checkpoint=chunk))
                offset += len(data)
            painting.checkpoint_sent(time.monotonic() - begin)

    async def _deliver(self, painted: Painted, material: Material, writer: _Writer) -> None:
        """Codes the result and sends it."""
        data = await self._in_images_thread(
            code_result,
            painted.picture,
            alpha=material.content.alpha if material.content else None,
            profile=material.content.profile if material.content else None,
            metadata=self._metadata(painted, material),
        )
        finished = worker_pb2.Finished(
            stop_reason=_STOP_REASONS[painted.stop_reason], stop_message=painted.stop_message
        )
        await writer.write(worker_pb2.RunResponse(finished=finished))
        for chunk in _chunks(data, *painted.picture.size):
            await writer.write(worker_pb2.RunResponse(result=chunk))

    def _metadata(self, painted: Painted, material: Material) -> dict[str, Any]:
        return {
            "impasto": importlib.metadata.version("impasto"),
            "torch": torch.__version__,
            "device": self._device.description,
            "network": {
                "architecture": self._painted_with.network.architecture,
                "weights": self._painted_with.network.weights_name,
                "origin": self._painted_with.network.origin,
                "sha256": self._painted_with.network.sha256,
            },
            "recipe": dataclasses.asdict(painted.recipe),
            **material.made_from,
            "memory_plan": {
                "method": painted.memory_plan.method,
                "tile_side": painted.memory_plan.tile_side,
            },
            "stop_reason": painted.stop_reason,
            "stop_message": painted.stop_message,
            "evaluations": painted.evaluations,
        }

    async def _in_images_thread(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        work = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._images, work)


def _claim(begin: worker_pb2.Begin, recipe: Recipe) -> Claim:
    draft = evaluations_of(recipe.objective, "draft")
    return Claim(
        tenant=begin.tenant,
        weight=begin.tenant_weight,
        priority=begin.priority,
        created=begin.create_time_ns,
        watched=begin.watched,
        # The gateway may have put a number in the effort's place.
        draft=recipe.evaluations is not None and recipe.evaluations <= draft,
    )


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _failed(error: status_pb2.Status) -> worker_pb2.RunResponse:
    return worker_pb2.RunResponse(finished=worker_pb2.Finished(error=error))


def _refusal(error: Exception) -> status_pb2.Status:
    """What the caller is told of an error that ended a painting."""
    if isinstance(error, RecipeError):
        if isinstance(error.__cause__, DoesNotFit):
            return does_not_fit(_path(error), error.remedy)
        return invalid_argument([(_path(error), error.remedy)])
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "memory" in str(error):
        return status(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "OUT_OF_MEMORY",
            "the device's memory does not suffice for this job; give a smaller longest_side, or try again "
            "when fewer jobs run",
        )
    return status(
        grpc.StatusCode.INTERNAL, "PAINTING_FAILED", "the painting failed; the server's log says more"
    )


def _path(error: RecipeError) -> str:
    """The field at fault as callers name it."""
    top = re.split(r"[.\[]", error.field)[0]
    return f"spec.recipe.{error.field}" if top in _RECIPE_FIELDS else f"spec.{error.field}"


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: status_pb2.Status) -> NoReturn:
    ending = rpc_status.to_status(error)
    await context.abort(ending.code, ending.details, ending.trailing_metadata)


async def _abort_not_here(job_name: str, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
    await _abort(context, status(grpc.StatusCode.NOT_FOUND, "NO_SUCH_RUN", f"{job_name} does not run here"))


def _chunks(data: bytes, width: int, height: int) -> Iterator[pb.ImageChunk]:
    info = pb.ImageInfo(
        format=pb.IMAGE_FORMAT_PNG,
        width=width,
        height=height,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    for offset in range(0, len(data), CHUNK_BYTES):
        yield pb.ImageChunk(
            info=info if offset == 0 else None, offset=offset, data=data[offset : offset + CHUNK_BYTES]
        )
