"""Says what a job would take on the worker's device, without its pictures and without the device."""

from __future__ import annotations

import dataclasses
import math

from impasto_server.contract.recipes import recipe_from_proto, recipe_to_proto
from impasto_server.engine.canvas import BLACK, painted_box, resized_box
from impasto_server.engine.forecast import Sizes, scale_plans, works
from impasto_server.engine.memory import DoesNotFit, MemoryPlan
from impasto_server.engine.recipe import RecipeError, result_size
from impasto_server.engine.scales import plan_scales
from impasto_server.v1 import worker_pb2
from impasto_server.worker.commission import Equipment
from impasto_server.worker.handover import BadHandover
from impasto_server.worker.painting import plan_to_proto

Size = tuple[int, int]


def estimate(
    request: worker_pb2.EstimateRunRequest, equipment: Equipment, *, free_bytes: int, memory_bytes: int
) -> worker_pb2.EstimateRunResponse:
    """Estimates a job as `Commission.open` would open it.

    Args:
        request: the job, with descriptions of its pictures.
        equipment: the worker's network, and what is known about its speed.
        free_bytes: memory of the device that a session could use now.
        memory_bytes: memory of the whole device, for which a job waits if it needs more than is free.

    Raises:
        RecipeError: the job cannot be painted. If its cause is `DoesNotFit`, the device is too small.
        BadHandover: a picture is missing.
    """
    spec = request.spec
    pictures = {field: picture for picture in request.pictures for field in picture.fields}
    missing = {"content"} - set(pictures) if not spec.HasField("texture") else set()
    missing |= {f"styles[{index}].image" for index in range(len(spec.styles))} - set(pictures)
    if missing:
        raise BadHandover(f"the picture {min(missing)} is missing")
    if spec.HasField("texture"):
        size = spec.texture.width, spec.texture.height
    else:
        size = pictures["content"].width, pictures["content"].height
    recipe = recipe_from_proto(spec.recipe).resolve(*size, texture=spec.HasField("texture"))
    if recipe.precision == "auto":
        recipe = dataclasses.replace(recipe, precision=equipment.auto_precision)
    if not spec.HasField("texture"):
        assert recipe.longest_side is not None
        size = result_size(*size, recipe.longest_side)
    part = _part(request, pictures, size)
    scales = plan_scales(recipe, part)
    held_bytes = _held_bytes(request)

    def plans(available: int) -> list[MemoryPlan]:
        return [
            scale_plans(
                recipe,
                scale,
                architecture=equipment.network.architecture,
                bfloat16=recipe.precision == "bfloat16",
                snapshots=equipment.network.device.type == "cpu",
                held_bytes=held_bytes,
                memory_bytes=available,
                footprint=equipment.footprint,
            )[0]
            for scale in scales
        ]

    try:
        found = plans(free_bytes)
    except RecipeError as error:
        if not isinstance(error.__cause__, DoesNotFit):
            raise
        found = plans(memory_bytes)
    sources = [pictures[f"styles[{index}].image"] for index in range(len(spec.styles))]
    styles = [(source.source_width, source.source_height) for source in sources]
    if spec.regions:
        styles = [styles[region.style] for region in spec.regions]
    work = works(
        recipe,
        scales,
        [plan.tile_side for plan in found],
        Sizes(part, size, styles),
        equipment.network.architecture,
    )
    response = worker_pb2.EstimateRunResponse(
        recipe=recipe_to_proto(recipe), memory_plan=plan_to_proto(found[-1])
    )
    seconds = equipment.paces.seconds(work)
    if math.isfinite(seconds):
        response.device_time.FromNanoseconds(round(seconds * 1e9))
    return response


def _part(
    request: worker_pb2.EstimateRunRequest, pictures: dict[str, worker_pb2.Picture], size: Size
) -> Size:
    """Returns the (width, height) of the part that is painted."""
    if not request.HasField("selected"):
        return size
    box, mask = request.selected, pictures["selection"]
    if box.right <= box.left or box.bottom <= box.top:
        raise RecipeError("selection", BLACK)
    selected = resized_box((box.left, box.top, box.right, box.bottom), (mask.width, mask.height), size)
    left, top, right, bottom = painted_box(selected, size)
    return right - left, bottom - top


def _held_bytes(request: worker_pb2.EstimateRunRequest) -> int:
    """Returns `Scene.held_bytes` of the scene that `material_of` would make."""
    held = 0
    for picture in request.pictures:
        size = picture.width * picture.height * picture.channels * picture.bits // 8
        # Each use of a picture with 8 bits makes an image of its own.
        held += size if picture.bits == 16 else size * len(picture.fields)
    return held
