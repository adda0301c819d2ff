"""Makes the material of a painting, its recipe and scene, from what the gateway sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import cast

import numpy as np
import PIL.Image

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.recipes import recipe_from_proto
from impasto_server.engine.pixels import Picture, picture_size
from impasto_server.engine.recipe import Recipe
from impasto_server.engine.scene import Region, Scene, Style
from impasto_server.worker.handover import Raster


@dataclasses.dataclass(frozen=True)
class Material:
    """The material of a painting.

    Attributes:
        recipe: recipe, resolved for the content's size.
        scene: the pictures, with the content at the result's size.
        result_bits: bits per channel of the result, 8 or 16.
    """

    recipe: Recipe
    scene: Scene
    result_bits: int


def material_of(spec: pb.JobSpec, pictures: Mapping[str, Raster], result_bits: int) -> Material:
    """Makes the material of a painting.

    Args:
        spec: the job's spec.
        pictures: decoded pictures, by the path of their field in the spec.
        result_bits: bits per channel of the result, 8 or 16.

    Raises:
        RecipeError: the recipe does not suit the content.
        KeyError: a picture is missing.
    """
    recipe = recipe_from_proto(spec.recipe)
    content, texture = None, None
    if spec.HasField("texture"):
        texture = spec.texture.width, spec.texture.height
        recipe = recipe.resolve(*texture, texture=True)
    else:
        content = _picture(pictures["content"])
        recipe = recipe.resolve(*picture_size(content))
    styles = []
    for index, style in enumerate(spec.styles):
        raster = pictures[f"styles[{index}].image"]
        weight = style.weight if style.HasField("weight") else 1.0
        styles.append(Style(cast(PIL.Image.Image, _picture(raster)), weight, raster.source_size))
    regions = []
    for index, region in enumerate(spec.regions):
        mask = _mask(pictures[f"regions[{index}].content_mask"])
        style_mask = None
        if region.HasField("style_mask"):
            style_mask = _mask(pictures[f"regions[{index}].style_mask"])
        regions.append(Region(mask, region.style, style_mask))
    selection = _mask(pictures["selection"]) if spec.HasField("selection") else None
    start_image = _picture(pictures["start_image"]) if recipe.start == "image" else None
    scene = Scene(
        content=content,
        styles=styles,
        texture=texture,
        regions=regions,
        selection=selection,
        start_image=start_image,
    )
    return Material(recipe, scene, result_bits)


def _picture(raster: Raster) -> Picture:
    if raster.samples.dtype == np.uint16:
        return cast(Picture, raster.samples)
    return PIL.Image.fromarray(raster.samples, "RGB")


def _mask(raster: Raster) -> PIL.Image.Image:
    return PIL.Image.fromarray(raster.samples, "L")
