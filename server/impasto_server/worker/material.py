"""What a painting is made from, out of what was sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import PIL.Image

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.recipes import recipe_from_proto
from impasto_server.engine.recipe import Recipe, RecipeError, result_size
from impasto_server.engine.session import Region, Style
from impasto_server.worker.images import DamagedImage, Mask, Picture, decode, decode_mask
from impasto_server.worker.pictures import resized_alpha


@dataclasses.dataclass(frozen=True)
class Material:
    """What a painting is made from, decoded.

    Attributes:
        recipe: resolved for the content's size.
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


def decoded(spec: pb.JobSpec, images: Mapping[str, pb.Image]) -> Material:
    """
    Args:
        spec: names images by their `sha256`.
        images: those.

    Raises:
        RecipeError: an image's pixels cannot be decoded, or the recipe does not suit the content.
        KeyError: an image is not there.
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
        content = _decoded_image(images[spec.content.sha256], "content")
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
        picture = _decoded_image(images[style.image.sha256], f"styles[{i}].image")
        weight = style.weight if style.HasField("weight") else 1.0
        styles.append(Style(picture.rgb, weight))
        made_from["styles"].append({"sha256": picture.sha256, "weight": weight})

    regions = []
    for i, region in enumerate(spec.regions):
        mask = _decoded_mask(images[region.content_mask.sha256], f"regions[{i}].content_mask", size)
        entry = {"content_mask_sha256": mask.sha256, "style": region.style}
        style_mask = None
        if region.HasField("style_mask"):
            path = f"regions[{i}].style_mask"
            painting = styles[region.style].image
            of_style = _decoded_mask(images[region.style_mask.sha256], path, painting.size)
            style_mask = of_style.levels
            entry["style_mask_sha256"] = of_style.sha256
        regions.append(Region(mask.levels, region.style, style_mask))
        made_from.setdefault("regions", []).append(entry)

    selection = None
    if spec.HasField("selection"):
        selected = _decoded_mask(images[spec.selection.sha256], "selection", size)
        selection = selected.levels
        made_from["selection_sha256"] = selected.sha256

    start_image = None
    if recipe.start == "image":
        start = _decoded_image(images[spec.start_image.sha256], "start_image")
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
