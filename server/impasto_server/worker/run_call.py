"""A call of Run, which paints one job from its pictures to its result."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import importlib.metadata
import json
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc.aio
import numpy as np
import torch
from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import does_not_fit
from impasto_server.contract.previews import preview_wish
from impasto_server.engine.devices import is_device_lost
from impasto_server.engine.recipe import Recipe, RecipeError, evaluations_of
from impasto_server.shares import Shares
from impasto_server.v1 import worker_pb2
from impasto_server.worker.commission import Commission, Equipment
from impasto_server.worker.device_loss import end_without_device
from impasto_server.worker.failures import failure_of, refusal_of
from impasto_server.worker.handover import BadHandover, pictures_bytes, receive_rest
from impasto_server.worker.material import material_of
from impasto_server.worker.painter import Painter
from impasto_server.worker.painting import Painting, PreviewFrame, Result, Suspended
from impasto_server.worker.previews import code_preview
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


@dataclasses.dataclass(frozen=True)
class Workshop:
    """What all calls of a worker share.

    Attributes:
        painter: gives the jobs their turns.
        device: name and description of the device, and the memory that jobs may use.
        equipment: the network and caches.
        places: one place for each job that may be on the device at a time; the other jobs wait.
        pictures: memory in bytes for the pictures of jobs; a job receives its pictures only when there is
            enough.
        images: threads that encode previews, which would block the event loop.
    """

    painter: Painter
    device: pb.Device
    equipment: Equipment
    places: asyncio.Semaphore
    pictures: Shares
    images: ThreadPoolExecutor

    async def in_images_thread(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        work = functools.partial(function, *args, **kwargs)
        try:
            return await asyncio.get_running_loop().run_in_executor(self.images, work)
        except RuntimeError as error:
            # A checkpoint or a picture may still be on its way from the device.
            if is_device_lost(error):
                end_without_device(self.device.name, error)
            raise


class _Writer:
    """Writes the responses of one call; several tasks can use it at once."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._turn = asyncio.Lock()

    async def write(self, response: worker_pb2.RunResponse) -> None:
        async with self._turn:
            await self._context.write(response)


class RunCall:
    """A call of Run that has not ended.

    Attributes:
        job_name: name of the job.
        painting: the job's painting; None until its pictures have arrived.
        prepared: set when there is a painting, or when the call has ended without one.
        ended: set when the call has ended.
    """

    def __init__(self, begin: worker_pb2.Begin, context: RunContext, workshop: Workshop) -> None:
        """
        Args:
            begin: the first request.
            context: the call, to write the responses.
            workshop: what all calls share.
        """
        self.job_name = begin.job_name
        self.painting: Painting | None = None
        self.prepared = asyncio.Event()
        self.ended = asyncio.Event()
        self._begin = begin
        self._writer = _Writer(context)
        self._workshop = workshop
        self._task: asyncio.Task[None] | None = None
        # Whether it was suspended before there was a painting.
        self._gave_way = False

    async def run(self, requests: AsyncIterator[worker_pb2.RunRequest]) -> None:
        """Does all the work of the call.

        Args:
            requests: the requests after the first.

        Raises:
            BadHandover: a part of the requests is missing, or is out of place.
        """
        self._task = asyncio.ensure_future(self._paint(requests))
        try:
            await self._task
        except asyncio.CancelledError:
            if not self._gave_way:
                raise
            await self._writer.write(worker_pb2.RunResponse(suspended=worker_pb2.Suspended()))
        finally:
            self.prepared.set()
            self.ended.set()

    def suspend(self) -> None:
        """Ends the call with a checkpoint, so that the job can continue later."""
        if self.painting is not None:
            self._workshop.painter.suspend(self.painting)
        elif self._task is not None and not self._gave_way:
            self._gave_way = True
            self._task.cancel()

    async def _paint(self, requests: AsyncIterator[worker_pb2.RunRequest]) -> None:
        """Paints the job from its pictures to its result."""
        begin, workshop = self._begin, self._workshop
        async with workshop.places, contextlib.AsyncExitStack() as stack:
            needed = pictures_bytes(begin.pictures)
            if needed > workshop.device.memory_bytes:
                await self._writer.write(_failed(too_large(needed, workshop.device.memory_bytes)))
                return
            await stack.enter_async_context(workshop.pictures.held(begin.tenant, needed))
            handover = await receive_rest(requests, begin)
            try:
                material = material_of(begin.spec, handover.pictures, begin.result_bits)
            except KeyError as error:
                raise BadHandover(f"the picture {error} is missing") from error
            except RecipeError as error:
                await self._writer.write(_failed(refusal_of(error)))
                return
            painting = self.painting = Painting(
                begin.job_name,
                Commission(begin.job_name, material, handover.checkpoint, workshop.equipment),
                _claim(begin, material.recipe),
                preview_wish(begin.preview),
                checkpoint_interval=_seconds(begin.checkpoint_interval),
            )
            # Frees the checkpoint, which is large, as soon as the commission drops it too.
            del handover
            _log.info("job admitted job=%s", begin.job_name)
            workshop.painter.admit(painting)
            self.prepared.set()
            try:
                result = await self._relay(painting)
            finally:
                await asyncio.to_thread(workshop.painter.drop, painting)
                _log.info(
                    "job off the device job=%s style_targets_computed=%d style_targets_reused=%d",
                    begin.job_name,
                    workshop.equipment.style_targets.misses,
                    workshop.equipment.style_targets.hits,
                )
        if result is not None:
            await self._deliver(result)

    async def _relay(self, painting: Painting) -> Result | None:
        """Sends the painting's events until it ends; returns the result, or None if it was not finished."""
        unwanted = asyncio.Event()
        saving = asyncio.ensure_future(self._send_checkpoints(painting, unwanted))
        try:
            async for event in painting.events:
                if isinstance(event, worker_pb2.RunResponse):
                    await self._writer.write(event)
                elif isinstance(event, PreviewFrame):
                    await self._writer.write(await self._preview(painting, event))
                elif isinstance(event, Suspended):
                    await saving
                    await self._writer.write(worker_pb2.RunResponse(suspended=worker_pb2.Suspended()))
                    return None
                else:
                    unwanted.set()
                    await saving
                    if isinstance(event, Result):
                        return event
                    _log.error("job failed job=%s error=%r", painting.job_name, str(event.error))
                    await self._writer.write(_failed(failure_of(event.error)))
                    return None
        finally:
            saving.cancel()
        raise AssertionError("a painting's events end with Result, Suspended or Broken")

    async def _preview(self, painting: Painting, frame: PreviewFrame) -> worker_pb2.RunResponse:
        begin = time.monotonic()
        wish = painting.wish
        data, width, height = await self._workshop.in_images_thread(code_preview, frame.picture, wish)
        painting.preview_coded(time.monotonic() - begin)
        preview = pb.Preview(
            data=data,
            format=wish.format,
            width=width,
            height=height,
            evaluation=frame.evaluation,
            scale=frame.scale,
        )
        return worker_pb2.RunResponse(preview=preview)

    async def _send_checkpoints(self, painting: Painting, unwanted: asyncio.Event) -> None:
        """Sends each checkpoint until the painting ends or `unwanted` is set."""
        async for saved in painting.checkpoints:
            begin = time.monotonic()
            # Making the header takes time, because it contains a checksum of all the bytes.
            size = await self._workshop.in_images_thread(getattr, saved.checkpoint, "size_bytes")
            offset = 0
            for data in saved.checkpoint.pieces(CHECKPOINT_CHUNK_BYTES):
                if unwanted.is_set():
                    return
                chunk = worker_pb2.CheckpointChunk(
                    evaluation=saved.evaluation, size_bytes=size, offset=offset, data=data
                )
                await self._writer.write(worker_pb2.RunResponse(checkpoint=chunk))
                offset += len(data)
            painting.checkpoint_sent(time.monotonic() - begin)

    async def _deliver(self, result: Result) -> None:
        """Sends the result."""
        height, width = result.samples.shape[:2]
        finished = worker_pb2.Finished(
            stop_reason=_STOP_REASONS[result.stop_reason],
            stop_message=result.stop_message,
            result=worker_pb2.ResultInfo(
                width=width,
                height=height,
                bits=8 * result.samples.dtype.itemsize,
                metadata=json.dumps(self._metadata(result)),
            ),
        )
        await self._writer.write(worker_pb2.RunResponse(finished=finished))
        samples = result.samples.astype(result.samples.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
        for offset in range(0, len(samples), CHUNK_BYTES):
            data = samples[offset : offset + CHUNK_BYTES].tobytes()
            chunk = worker_pb2.ResultChunk(offset=offset, data=data)
            await self._writer.write(worker_pb2.RunResponse(result=chunk))

    def _metadata(self, result: Result) -> dict[str, Any]:
        return {
            "impasto": importlib.metadata.version("impasto"),
            "torch": torch.__version__,
            "device": self._workshop.device.description,
            "network": {
                "architecture": self._workshop.equipment.network.architecture,
                "weights": self._workshop.equipment.network.weights_name,
                "origin": self._workshop.equipment.network.origin,
                "sha256": self._workshop.equipment.network.sha256,
            },
            "recipe": dataclasses.asdict(result.recipe),
            "memory_plan": {
                "method": result.memory_plan.method,
                "tile_side": result.memory_plan.tile_side,
            },
            "stop_reason": result.stop_reason,
            "stop_message": result.stop_message,
            "evaluations": result.evaluations,
        }


def _claim(begin: worker_pb2.Begin, recipe: Recipe) -> Claim:
    draft = evaluations_of(recipe.objective, "draft")
    return Claim(
        tenant=begin.tenant,
        weight=begin.tenant_weight,
        priority=begin.priority,
        created=begin.number,
        watched=begin.watched,
        # By the number, because the gateway may have replaced the effort by it.
        draft=recipe.evaluations is not None and recipe.evaluations <= draft,
    )


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _failed(error: status_pb2.Status) -> worker_pb2.RunResponse:
    return worker_pb2.RunResponse(finished=worker_pb2.Finished(error=error))


def too_large(needed_bytes: int, memory_bytes: int) -> status_pb2.Status:
    """Returns the status of a job whose pictures need more memory than the device has, in bytes."""
    remedy = (
        f"gives pictures of {needed_bytes >> 20} MiB, but the device has {memory_bytes >> 20} MiB for jobs; "
        "give a smaller one"
    )
    return does_not_fit("spec.recipe.longest_side", remedy)
