"""Checks a request before any pixel is decoded, and reports all its faults together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, invalid_argument
from impasto_server.contract.pictures import PictureFault
from impasto_server.contract.previews import preview_faults, seconds
from impasto_server.contract.recipes import recipe_faults, recipe_from_proto
from impasto_server.contract.texts import controls
from impasto_server.engine.recipe import (
    MAX_LONGEST_SIDE,
    MAX_REGIONS,
    MAX_STYLES,
    MIN_SIDE,
    Recipe,
    RecipeError,
    result_size,
)

MAX_TITLE = 200
MAX_REQUEST_ID = 128
MAX_PRIORITY = 100
MAX_LINGER = 600.0

NO_SOURCE = "is missing; give the bytes of a file (encoded), pixels (raw), a stored image (sha256) or a style"
"""The fault of an image without a source."""


@dataclasses.dataclass(frozen=True)
class CheckedRequest:
    """The recipe and result size of a valid request.

    Attributes:
        recipe: resolved for the content or the texture; its precision can still be "auto".
        width, height: size of the result in pixels.
    """

    recipe: Recipe
    width: int
    height: int


Size = tuple[int, int]
"""Width and height in pixels."""

Images = Mapping[str, Size | PictureFault]
"""For each image of a specification, by its path: its size after the EXIF orientation, or its fault."""


Request = pb.StylizeRequest | pb.CreateJobRequest | pb.EstimateJobRequest
"""A request with a specification."""


def check_request(request: Request, images: Images) -> CheckedRequest:
    """Checks a whole request.

    Args:
        request: from a caller.
        images: sizes or faults of its images.

    Raises:
        CallError: INVALID_ARGUMENT with each fault and its field.
    """
    spec = request.spec
    faults: list[tuple[str, str]] = []
    if not isinstance(request, pb.EstimateJobRequest):
        faults += check_title(request.title, "title") + check_priority(request.priority, "priority")
        faults += _check_text(request.request_id, "request_id", MAX_REQUEST_ID)
    if isinstance(request, pb.StylizeRequest) and request.HasField("linger"):
        linger = seconds(request.linger)
        if not 0 <= linger <= MAX_LINGER:
            faults.append(("linger", f"is {linger:g} s; give 0 s to {MAX_LINGER:g} s"))

    is_texture = spec.HasField("texture")
    canvas_size = _check_texture(spec, faults) if is_texture else _check_content(spec, faults, images)
    faults.extend(_style_faults(spec, images))
    recipe = _check_recipe(spec, canvas_size, faults)
    if recipe is not None:
        if recipe.start == "image":
            _check_image("start_image", faults, images)
        elif spec.HasField("start_image"):
            faults.append(
                (
                    "spec.start_image",
                    "is given but recipe.start is not START_IMAGE; set recipe.start, or leave the image out",
                )
            )
    if is_texture:
        given = {"selection": spec.HasField("selection"), "regions": bool(spec.regions)}
        faults.extend(
            (f"spec.{field}", "needs a content image, which a texture does not have; leave it out")
            for field, is_given in given.items()
            if is_given
        )
    else:
        faults.extend(_region_faults(spec, images))
        if spec.HasField("selection"):
            _check_image("selection", faults, images)
    if spec.result_format not in (pb.IMAGE_FORMAT_UNSPECIFIED, pb.IMAGE_FORMAT_PNG, pb.IMAGE_FORMAT_PNG_16):
        remedy = "is not a format of stored results; give PNG or PNG_16. DownloadImage converts to others"
        faults.append(("spec.result_format", remedy))
    if not isinstance(request, pb.EstimateJobRequest):
        faults.extend((f"preview.{fault.field}", fault.remedy) for fault in preview_faults(request.preview))

    if faults or recipe is None or canvas_size is None:
        raise CallError(invalid_argument(faults))
    assert recipe.longest_side is not None
    width, height = result_size(*canvas_size, recipe.longest_side)
    return CheckedRequest(recipe, width, height)


def check_title(title: str, path: str) -> list[tuple[str, str]]:
    """Returns the faults of a title."""
    return _check_text(title, path, MAX_TITLE)


def _check_text(text: str, path: str, most: int) -> list[tuple[str, str]]:
    """Returns the faults of a text that other people see in their terminals, lists and logs."""
    if len(text) > most:
        return [(path, f"has {len(text)} characters; give at most {most}")]
    found = controls(text)
    if not found:
        return []
    return [(path, f"contains the control character {found[0]}; remove control characters and line breaks")]


def check_priority(priority: int, path: str) -> list[tuple[str, str]]:
    """Returns the faults of a priority."""
    if -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        return []
    return [(path, f"is {priority}; give {-MAX_PRIORITY} to {MAX_PRIORITY}")]


def _check_image(path: str, faults: list[tuple[str, str]], images: Images) -> Size | None:
    """Returns the size of the image at a path of the specification; None if it has a fault."""
    found = images.get(path) or PictureFault(NO_SOURCE)
    if isinstance(found, PictureFault):
        faults.append((f"spec.{path}.{found.field}" if found.field else f"spec.{path}", str(found)))
        return None
    return found


def _check_content(spec: pb.JobSpec, faults: list[tuple[str, str]], images: Images) -> tuple[int, int] | None:
    if not spec.HasField("content"):
        faults.append(("spec.content", "is missing; give a photograph, or set spec.texture"))
        return None
    return _check_image("content", faults, images)


def _check_texture(spec: pb.JobSpec, faults: list[tuple[str, str]]) -> tuple[int, int] | None:
    if spec.HasField("content"):
        faults.append(("spec.texture", "is given together with spec.content; give one of them"))
    sides = {"width": spec.texture.width, "height": spec.texture.height}
    wrong = [
        (f"spec.texture.{name}", f"is {side} px; give {MIN_SIDE} to {MAX_LONGEST_SIDE}")
        for name, side in sides.items()
        if not MIN_SIDE <= side <= MAX_LONGEST_SIDE
    ]
    faults.extend(wrong)
    return None if wrong else (spec.texture.width, spec.texture.height)


def _region_faults(spec: pb.JobSpec, images: Images) -> list[tuple[str, str]]:
    if len(spec.regions) > MAX_REGIONS:
        return [("spec.regions", f"has {len(spec.regions)} regions; give at most {MAX_REGIONS}")]
    faults: list[tuple[str, str]] = []
    for i, region in enumerate(spec.regions):
        _check_image(f"regions[{i}].content_mask", faults, images)
        if region.HasField("style_mask"):
            _check_image(f"regions[{i}].style_mask", faults, images)
        # If there are no styles at all, `_style_faults` reports that.
        if spec.styles and region.style >= len(spec.styles):
            last = len(spec.styles) - 1
            choice = f"0 to {last}, the index of a style" if last else "0, the index of the only style"
            faults.append((f"spec.regions[{i}].style", f"is {region.style}; give {choice}"))
    return faults


def _style_faults(spec: pb.JobSpec, images: Images) -> list[tuple[str, str]]:
    if not 1 <= len(spec.styles) <= MAX_STYLES:
        return [("spec.styles", f"has {len(spec.styles)} styles; give 1 to {MAX_STYLES}")]
    faults: list[tuple[str, str]] = []
    for i, style in enumerate(spec.styles):
        _check_image(f"styles[{i}].image", faults, images)
        if style.HasField("weight") and not 0 < style.weight < math.inf:
            faults.append((f"spec.styles[{i}].weight", f"is {style.weight:g}; give a number above 0"))
    return faults


def _check_recipe(
    spec: pb.JobSpec, canvas_size: tuple[int, int] | None, faults: list[tuple[str, str]]
) -> Recipe | None:
    """Returns the recipe, resolved if the size of the content or texture is known; None if it has faults."""
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
