"""The calls of `impasto.worker.v1.WorkerService`."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import importlib.metadata
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import grpc
import grpc.aio
import torch
from google.rpc import status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2, worker_pb2_grpc
from impasto_server.engine.network import Network
from impasto_server.engine.recipe import Recipe, RecipeError, result_size
from impasto_server.engine.session import Session, Style
from impasto_server.jobs.errors import invalid_argument, status
from impasto_server.jobs.previews import PreviewWish, preview_wish
from impasto_server.jobs.recipes import recipe_from_proto
from impasto_server.worker.images import DamagedImage, Picture, decode
from impasto_server.worker.painter import Painted, Painter, Painting, Snapshot
from impasto_server.worker.pictures import code_preview, code_result, resized_alpha

if TYPE_CHECKING:
    RunContext = grpc.aio.ServicerContext[worker_pb2.RunRequest, worker_pb2.RunResponse]

_log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024

_STOP_REASONS: dict[str, pb.StopReason] = {
    "completed": pb.STOP_REASON_COMPLETED,
    "converged": pb.STOP_REASON_CONVERGED,
    "not_finite": pb.STOP_REASON_NOT_FINITE,
}
_RECIPE_FIELDS = frozenset(field.name for field in dataclasses.fields(Recipe))


@dataclasses.dataclass(frozen=True)
class Material:
    """What a painting is made from, decoded.

    Attributes:
        content: its alpha is already of the result's size.
        digests: for the result's metadata: SHA-256 of the images as they were sent.
    """

    recipe: Recipe
    content: Picture
    styles: list[Style]
    start_image: Picture | None
    digests: dict[str, Any]


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
            device: name and description.
            network: on the device.
            auto_precision: what precision "auto" means here.
            other_devices: what `GetWorkerInfo` is to say.
            max_resident: jobs that hold memory on the device at a time; the others wait.
        """
        self._device = device
        self._network = network
        self._auto_precision: Literal["float32", "bfloat16"] = auto_precision
        self._other_devices = other_devices
        self._places = asyncio.Semaphore(max_resident)
        self._painter = painter
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
            architecture=self._network.architecture,
            weights=self._network.weights_name,
            origin=self._network.origin,
            sha256=self._network.sha256,
        )
        return worker_pb2.GetWorkerInfoResponse(
            device=device, network=network, process_id=os.getpid(), other_devices=self._other_devices
        )

    # A coroutine that writes, not an async generator, whose clean-up a cancelled call might not reach.
    async def Run(  # type: ignore[override]
        self,
        request: worker_pb2.RunRequest,
        context: RunContext,
    ) -> None:
        async with self._places:
            try:
                material = await self._in_images_thread(_decoded, request.spec)
            except RecipeError as error:
                await context.write(_failed(_refusal(error)))
                return
            wish = preview_wish(request.preview)
            painting = Painting(functools.partial(self._open_session, material), wish)
            _log.info("job admitted job=%s", request.job_name)
            self._painter.admit(painting)
            try:
                painted = await self._relay(painting, wish, request.job_name, context)
            finally:
                await asyncio.to_thread(self._painter.drop, painting)
                _log.info("job off the device job=%s", request.job_name)
        if painted is not None:
            await self._deliver(painted, material, context)

    def _open_session(self, material: Material) -> Session:
        return Session(
            material.recipe,
            content=material.content.rgb,
            styles=material.styles,
            network=self._network,
            start_image=material.start_image.rgb if material.start_image else None,
            auto_precision=self._auto_precision,
        )

    async def _relay(
        self,
        painting: Painting,
        wish: PreviewWish,
        job_name: str,
        context: RunContext,
    ) -> Painted | None:
        """Sends what happens until the painting ends; None if it failed."""
        async for event in painting.events:
            if isinstance(event, worker_pb2.RunResponse):
                await context.write(event)
            elif isinstance(event, Snapshot):
                begin = time.monotonic()
                data, width, height = await self._in_images_thread(code_preview, event.picture, wish)
                painting.preview_coded(time.monotonic() - begin)
                preview = pb.Preview(
                    data=data,
                    format=wish.format,
                    width=width,
                    height=height,
                    evaluation=event.evaluation,
                    scale=event.scale,
                )
                await context.write(worker_pb2.RunResponse(preview=preview))
            elif isinstance(event, Painted):
                return event
            else:
                _log.error("job failed job=%s error=%r", job_name, str(event.error))
                await context.write(_failed(_refusal(event.error)))
                return None
        raise AssertionError("a painting's events end with Painted or Broken")

    async def _deliver(
        self,
        painted: Painted,
        material: Material,
        context: RunContext,
    ) -> None:
        """Codes the result and sends it."""
        data = await self._in_images_thread(
            code_result,
            painted.picture,
            alpha=material.content.alpha,
            profile=material.content.profile,
            metadata=self._metadata(painted, material),
        )
        finished = worker_pb2.Finished(
            stop_reason=_STOP_REASONS[painted.stop_reason], stop_message=painted.stop_message
        )
        await context.write(worker_pb2.RunResponse(finished=finished))
        for chunk in _chunks(data, *painted.picture.size):
            await context.write(worker_pb2.RunResponse(result=chunk))

    def _metadata(self, painted: Painted, material: Material) -> dict[str, Any]:
        return {
            "impasto": importlib.metadata.version("impasto"),
            "torch": torch.__version__,
            "device": self._device.description,
            "network": {
                "architecture": self._network.architecture,
                "weights": self._network.weights_name,
                "origin": self._network.origin,
                "sha256": self._network.sha256,
            },
            "recipe": dataclasses.asdict(painted.recipe),
            **material.digests,
            "stop_reason": painted.stop_reason,
            "stop_message": painted.stop_message,
            "evaluations": painted.evaluations,
        }

    async def _in_images_thread(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        work = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._images, work)


def _decoded(spec: pb.JobSpec) -> Material:
    """
    Raises:
        RecipeError: an image's pixels cannot be decoded, or the recipe does not suit the content.
    """
    recipe = recipe_from_proto(spec.recipe)
    content = _decoded_image(spec.content, "content")
    recipe = recipe.resolve(*content.rgb.size)
    assert recipe.longest_side is not None
    if content.alpha is not None:
        # As small as it will be: a large one would wait in memory until the end.
        size = result_size(*content.rgb.size, recipe.longest_side)
        content = dataclasses.replace(content, alpha=resized_alpha(content.alpha, size))
    pictures = [_decoded_image(style.image, f"styles[{i}].image") for i, style in enumerate(spec.styles)]
    styles = [
        Style(picture.rgb, style.weight if style.HasField("weight") else 1.0)
        for style, picture in zip(spec.styles, pictures, strict=True)
    ]
    start_image = _decoded_image(spec.start_image, "start_image") if recipe.start == "image" else None
    digests: dict[str, Any] = {
        "content_sha256": content.sha256,
        "styles": [
            {"sha256": picture.sha256, "weight": style.weight}
            for picture, style in zip(pictures, styles, strict=True)
        ],
    }
    if start_image is not None:
        digests["start_image_sha256"] = start_image.sha256
    return Material(recipe, content, styles, start_image, digests)


def _decoded_image(image: pb.Image, field: str) -> Picture:
    try:
        return decode(image)
    except DamagedImage as error:
        raise RecipeError(field, str(error)) from error


def _failed(error: status_pb2.Status) -> worker_pb2.RunResponse:
    return worker_pb2.RunResponse(finished=worker_pb2.Finished(error=error))


def _refusal(error: Exception) -> status_pb2.Status:
    """What the caller is told of an error that ended a painting."""
    if isinstance(error, RecipeError):
        path = "spec.recipe" if error.field in _RECIPE_FIELDS else "spec"
        return invalid_argument([(f"{path}.{error.field}", error.remedy)])
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
