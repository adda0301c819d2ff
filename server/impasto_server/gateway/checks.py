"""A request, checked at the edge: before any pixel is decoded, all faults told at once."""

from __future__ import annotations

import dataclasses
import math

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.engine.recipe import MAX_STYLES, Recipe, RecipeError, result_size
from impasto_server.gateway.images import ImageFault, upright_size
from impasto_server.jobs.errors import CallError, invalid_argument
from impasto_server.jobs.previews import preview_faults
from impasto_server.jobs.recipes import recipe_faults, recipe_from_proto


@dataclasses.dataclass(frozen=True)
class CheckedRequest:
    """What a good request asks for.

    Attributes:
        recipe: resolved for the content; its precision may still be "auto".
        width, height: size of the result, pixels.
    """

    recipe: Recipe
    width: int
    height: int


def check_stylize(request: pb.StylizeRequest) -> CheckedRequest:
    """Checks a request as a whole.

    Raises:
        CallError: INVALID_ARGUMENT with each fault and its field.
    """
    spec = request.spec
    faults: list[tuple[str, str]] = []

    content_size = _check_image(spec.content, "spec.content", faults)
    faults.extend(_style_faults(spec))
    recipe = _check_recipe(spec, content_size, faults)
    if recipe is not None:
        if recipe.start == "image":
            _check_image(spec.start_image, "spec.start_image", faults)
        elif spec.HasField("start_image"):
            faults.append(
                ("spec.start_image", "is given but recipe.start is not START_IMAGE; set that or leave it out")
            )
    faults.extend((f"preview.{fault.field}", fault.remedy) for fault in preview_faults(request.preview))

    if faults or recipe is None or content_size is None:
        raise CallError(invalid_argument(faults))
    assert recipe.longest_side is not None
    width, height = result_size(*content_size, recipe.longest_side)
    return CheckedRequest(recipe, width, height)


def _check_image(image: pb.Image, path: str, faults: list[tuple[str, str]]) -> tuple[int, int] | None:
    try:
        return upright_size(image)
    except ImageFault as fault:
        faults.append((f"{path}.{fault.field}" if fault.field else path, str(fault)))
        return None


def _style_faults(spec: pb.JobSpec) -> list[tuple[str, str]]:
    if not 1 <= len(spec.styles) <= MAX_STYLES:
        return [("spec.styles", f"has {len(spec.styles)} styles; give 1 to {MAX_STYLES}")]
    faults: list[tuple[str, str]] = []
    for i, style in enumerate(spec.styles):
        _check_image(style.image, f"spec.styles[{i}].image", faults)
        if style.HasField("weight") and not 0 < style.weight < math.inf:
            faults.append((f"spec.styles[{i}].weight", f"is {style.weight:g}; give a number above 0"))
    return faults


def _check_recipe(
    spec: pb.JobSpec, content_size: tuple[int, int] | None, faults: list[tuple[str, str]]
) -> Recipe | None:
    """The recipe, resolved if the content's size is known; None if it has faults."""
    found = recipe_faults(spec.recipe)
    if not found:
        recipe = recipe_from_proto(spec.recipe)
        if content_size is None:
            return recipe
        try:
            return recipe.resolve(*content_size)
        except RecipeError as fault:
            found.append(fault)
    faults.extend((f"spec.recipe.{fault.field}", fault.remedy) for fault in found)
    return None
