"""A request, checked at the edge: before any pixel is decoded, all faults told at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, invalid_argument
from impasto_server.contract.previews import preview_faults, seconds
from impasto_server.contract.recipes import recipe_faults, recipe_from_proto
from impasto_server.engine.recipe import (
    MAX_LONGEST_SIDE,
    MAX_REGIONS,
    MAX_STYLES,
    MIN_SIDE,
    Recipe,
    RecipeError,
    result_size,
)
from impasto_server.gateway.images import ImageFault, upright_size

MAX_TITLE = 200
MAX_REQUEST_ID = 128
MAX_PRIORITY = 100
MAX_LINGER = 600.0


@dataclasses.dataclass(frozen=True)
class CheckedRequest:
    """What a good request asks for.

    Attributes:
        recipe: resolved for the content or the texture; its precision may still be "auto".
        width, height: size of the result, pixels.
    """

    recipe: Recipe
    width: int
    height: int


SizeOf = Callable[[pb.Image], tuple[int, int]]
"""Gives the width and height of an image, pixels, turned upright. Raises `ImageFault`; or `CallError` if it
is named and is not there."""


def check_request(
    request: pb.StylizeRequest | pb.CreateJobRequest, size_of: SizeOf = upright_size
) -> CheckedRequest:
    """Checks a request as a whole.

    Args:
        request: what a caller sent.
        size_of: looks at an image; by default one that is given by its bytes or pixels.

    Raises:
        CallError: INVALID_ARGUMENT with each fault and its field.
    """
    spec = request.spec
    faults = check_title(request.title, "title") + check_priority(request.priority, "priority")
    if len(request.request_id) > MAX_REQUEST_ID:
        remedy = f"has {len(request.request_id)} characters; give at most {MAX_REQUEST_ID}"
        faults.append(("request_id", remedy))
    if isinstance(request, pb.StylizeRequest) and request.HasField("linger"):
        linger = seconds(request.linger)
        if not 0 <= linger <= MAX_LINGER:
            faults.append(("linger", f"is {linger:g} s; give 0 s to {MAX_LINGER:g} s"))

    is_texture = spec.HasField("texture")
    canvas_size = _check_texture(spec, faults) if is_texture else _check_content(spec, faults, size_of)
    faults.extend(_style_faults(spec, size_of))
    recipe = _check_recipe(spec, canvas_size, faults)
    if recipe is not None:
        if recipe.start == "image":
            _check_image(spec.start_image, "spec.start_image", faults, size_of)
        elif spec.HasField("start_image"):
            faults.append(
                ("spec.start_image", "is given but recipe.start is not START_IMAGE; set that or leave it out")
            )
    if is_texture:
        given = {"selection": spec.HasField("selection"), "regions": bool(spec.regions)}
        faults.extend(
            (f"spec.{field}", "needs a content, which a texture does not have; leave it out")
            for field, is_given in given.items()
            if is_given
        )
    else:
        faults.extend(_region_faults(spec, size_of))
        if spec.HasField("selection"):
            _check_image(spec.selection, "spec.selection", faults, size_of)
    faults.extend((f"preview.{fault.field}", fault.remedy) for fault in preview_faults(request.preview))

    if faults or recipe is None or canvas_size is None:
        raise CallError(invalid_argument(faults))
    assert recipe.longest_side is not None
    width, height = result_size(*canvas_size, recipe.longest_side)
    return CheckedRequest(recipe, width, height)


def check_title(title: str, path: str) -> list[tuple[str, str]]:
    """What is wrong with a title."""
    if len(title) <= MAX_TITLE:
        return []
    return [(path, f"has {len(title)} characters; give at most {MAX_TITLE}")]


def check_priority(priority: int, path: str) -> list[tuple[str, str]]:
    """What is wrong with a priority."""
    if -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        return []
    return [(path, f"is {priority}; give {-MAX_PRIORITY} to {MAX_PRIORITY}")]


def _check_image(
    image: pb.Image, path: str, faults: list[tuple[str, str]], size_of: SizeOf
) -> tuple[int, int] | None:
    try:
        return size_of(image)
    except ImageFault as fault:
        faults.append((f"{path}.{fault.field}" if fault.field else path, str(fault)))
        return None


def _check_content(
    spec: pb.JobSpec, faults: list[tuple[str, str]], size_of: SizeOf
) -> tuple[int, int] | None:
    if not spec.HasField("content"):
        faults.append(("spec.content", "is missing; give a photograph, or a texture in place of one"))
        return None
    return _check_image(spec.content, "spec.content", faults, size_of)


def _check_texture(spec: pb.JobSpec, faults: list[tuple[str, str]]) -> tuple[int, int] | None:
    if spec.HasField("content"):
        faults.append(("spec.texture", "is given and content too; give one of them"))
    sides = {"width": spec.texture.width, "height": spec.texture.height}
    wrong = [
        (f"spec.texture.{name}", f"is {side} px; give {MIN_SIDE} to {MAX_LONGEST_SIDE}")
        for name, side in sides.items()
        if not MIN_SIDE <= side <= MAX_LONGEST_SIDE
    ]
    faults.extend(wrong)
    return None if wrong else (spec.texture.width, spec.texture.height)


def _region_faults(spec: pb.JobSpec, size_of: SizeOf) -> list[tuple[str, str]]:
    if len(spec.regions) > MAX_REGIONS:
        return [("spec.regions", f"has {len(spec.regions)} regions; give at most {MAX_REGIONS}")]
    faults: list[tuple[str, str]] = []
    for i, region in enumerate(spec.regions):
        _check_image(region.content_mask, f"spec.regions[{i}].content_mask", faults, size_of)
        if region.HasField("style_mask"):
            _check_image(region.style_mask, f"spec.regions[{i}].style_mask", faults, size_of)
        # Without styles, that is the fault.
        if spec.styles and region.style >= len(spec.styles):
            remedy = f"is {region.style}; give 0 to {len(spec.styles) - 1}, the place of one of the styles"
            faults.append((f"spec.regions[{i}].style", remedy))
    return faults


def _style_faults(spec: pb.JobSpec, size_of: SizeOf) -> list[tuple[str, str]]:
    if not 1 <= len(spec.styles) <= MAX_STYLES:
        return [("spec.styles", f"has {len(spec.styles)} styles; give 1 to {MAX_STYLES}")]
    faults: list[tuple[str, str]] = []
    for i, style in enumerate(spec.styles):
        _check_image(style.image, f"spec.styles[{i}].image", faults, size_of)
        if style.HasField("weight") and not 0 < style.weight < math.inf:
            faults.append((f"spec.styles[{i}].weight", f"is {style.weight:g}; give a number above 0"))
    return faults


def _check_recipe(
    spec: pb.JobSpec, canvas_size: tuple[int, int] | None, faults: list[tuple[str, str]]
) -> Recipe | None:
    """The recipe, resolved if the content's or texture's size is known; None if it has faults."""
    found = recipe_faults(spec.recipe)
    if not found:
        recipe = recipe_from_proto(spec.recipe)
        if canvas_size is None:
            return recipe
        try:
            return recipe.resolve(*canvas_size, texture=spec.HasField("texture"))
        except RecipeError as fault:
            found.append(fault)
    faults.extend((f"spec.recipe.{fault.field}", fault.remedy) for fault in found)
    return None
