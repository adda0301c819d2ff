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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import grpc
import grpc.aio
import PIL.Image
import torch
from google.rpc import status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2, worker_pb2_grpc
from impasto_server.engine.memory import DoesNotFit
from impasto_server.engine.network import Network
from impasto_server.engine.recipe import Recipe, RecipeError, result_size
from impasto_server.engine.session import Region, Session, Style
from impasto_server.engine.targets import TargetCache
from impasto_server.jobs.errors import does_not_fit, invalid_argument, status
from impasto_server.jobs.previews import PreviewWish, preview_wish
from impasto_server.jobs.recipes import recipe_from_proto
from impasto_server.worker.images import DamagedImage, Mask, Picture, decode, decode_mask
from impasto_server.worker.painter import Painted, Painter, Painting, Snapshot
from impasto_server.worker.pictures import code_preview, code_result, resized_alpha

if TYPE_CHECKING:
    RunContext = grpc.aio.ServicerContext[worker_pb2.RunRequest, worker_pb2.RunResponse]

_log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024

_STOP_REASONS: dict[str, pb.StopReason] = {
    "completed": pb.STOP_REASON_COMPLETED,
    "plateau": pb.STOP_REASON_PLATEAU,
    "converged": pb.STOP_REASON_CONVERGED,
    "not_finite": pb.STOP_REASON_NOT_FINITE,
}
_RECIPE_FIELDS = frozenset(field.name for field in dataclasses.fields(Recipe))


@dataclasses.dataclass(frozen=True)
class Material:
    """What a painting is made from, decoded.

    Attributes:
        content: its alpha is already of the result's size; None for a texture.
        texture: width and height in pixels; None if there is a content.
        made_from: for the result's metadata: the SHA-256 of the images as they were sent, and what they
            were sent for.
    """

    recipe: Recipe
    content: Picture | None
    texture: tuple[int, int] | None
    styles: list[Style]
    regions: list[Region]
    selection: PIL.Image.Image | None
    start_image: PIL.Image.Image | None
    made_from: dict[str, Any]


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
        self._network = network
        self._auto_precision: Literal["float32", "bfloat16"] = auto_precision
        self._other_devices = other_devices
        self._places = asyncio.Semaphore(max_resident)
        self._painter = painter
        self._style_targets = TargetCache()
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
                _log.info(
                    "job off the device job=%s style_targets_computed=%d style_targets_reused=%d",
                    request.job_name,
                    self._style_targets.misses,
                    self._style_targets.hits,
                )
        if painted is not None:
            await self._deliver(painted, material, context)

    def _open_session(self, material: Material, memory_bytes: int) -> Session:
        return Session(
            material.recipe,
            content=material.content.rgb if material.content else None,
            texture=material.texture,
            styles=material.styles,
            regions=material.regions,
            selection=material.selection,
            network=self._network,
            start_image=material.start_image,
            auto_precision=self._auto_precision,
            cache=self._style_targets,
            memory_bytes=memory_bytes,
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
            alpha=material.content.alpha if material.content else None,
            profile=material.content.profile if material.content else None,
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


def _decoded(spec: pb.JobSpec) -> Material:
    """
    Raises:
        RecipeError: an image's pixels cannot be decoded, or the recipe does not suit the content.
    """
    recipe = recipe_from_proto(spec.recipe)
    content, texture = None, None
    made_from: dict[str, Any] = {}
    if spec.HasField("texture"):
        texture = spec.texture.width, spec.texture.height
        recipe = recipe.resolve(*texture, texture=True)
        size = texture
        made_from["texture"] = {"width": texture[0], "height": texture[1]}
    else:
        content = _decoded_image(spec.content, "content")
        recipe = recipe.resolve(*content.rgb.size)
        assert recipe.longest_side is not None
        size = result_size(*content.rgb.size, recipe.longest_side)
        if content.alpha is not None:
            # As small as it will be: a large one would wait in memory until the end.
            content = dataclasses.replace(content, alpha=resized_alpha(content.alpha, size))
        made_from["content_sha256"] = content.sha256

    styles = []
    made_from["styles"] = []
    for i, style in enumerate(spec.styles):
        picture = _decoded_image(style.image, f"styles[{i}].image")
        weight = style.weight if style.HasField("weight") else 1.0
        styles.append(Style(picture.rgb, weight))
        made_from["styles"].append({"sha256": picture.sha256, "weight": weight})

    regions = []
    for i, region in enumerate(spec.regions):
        mask = _decoded_mask(region.content_mask, f"regions[{i}].content_mask", size)
        entry = {"content_mask_sha256": mask.sha256, "style": region.style}
        style_mask = None
        if region.HasField("style_mask"):
            path = f"regions[{i}].style_mask"
            of_style = _decoded_mask(region.style_mask, path, styles[region.style].image.size)
            style_mask = of_style.levels
            entry["style_mask_sha256"] = of_style.sha256
        regions.append(Region(mask.levels, region.style, style_mask))
        made_from.setdefault("regions", []).append(entry)

    selection = None
    if spec.HasField("selection"):
        selected = _decoded_mask(spec.selection, "selection", size)
        selection = selected.levels
        made_from["selection_sha256"] = selected.sha256

    start_image = None
    if recipe.start == "image":
        start = _decoded_image(spec.start_image, "start_image")
        start_image = start.rgb
        made_from["start_image_sha256"] = start.sha256
    return Material(recipe, content, texture, styles, regions, selection, start_image, made_from)


def _decoded_image(image: pb.Image, field: str) -> Picture:
    try:
        return decode(image)
    except DamagedImage as error:
        raise RecipeError(field, str(error)) from error


def _decoded_mask(image: pb.Image, field: str, size: tuple[int, int]) -> Mask:
    """A mask, no larger than the (width, height) it is for: there may be many, and they wait in memory."""
    try:
        mask = decode_mask(image)
    except DamagedImage as error:
        raise RecipeError(field, str(error)) from error
    if mask.levels.width > size[0] and mask.levels.height > size[1]:
        levels = mask.levels.resize(size, PIL.Image.Resampling.BOX)
        mask = dataclasses.replace(mask, levels=levels)
    return mask


def _failed(error: status_pb2.Status) -> worker_pb2.RunResponse:
    return worker_pb2.RunResponse(finished=worker_pb2.Finished(error=error))


def _refusal(error: Exception) -> status_pb2.Status:
    """What the caller is told of an error that ended a painting."""
    if isinstance(error, RecipeError):
        top = re.split(r"[.\[]", error.field)[0]
        field = f"spec.recipe.{error.field}" if top in _RECIPE_FIELDS else f"spec.{error.field}"
        if isinstance(error.__cause__, DoesNotFit):
            return does_not_fit(field, error.remedy)
        return invalid_argument([(field, error.remedy)])
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
