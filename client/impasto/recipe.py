"""A caller's input: the recipe, the images, and which previews to send.

Only fields that are set are sent. The server has the ranges and the defaults; `FIELDS` has a copy of them.
`Job.recipe` has every setting with which a job runs.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Union

from impasto.errors import InvalidRequest
from impasto.recipe_fields import LayerWeights, RecipeField
from impasto.recipe_table import (
    FIELDS,
    LAYER_FIELDS,
    STEERABLE,
    Color,
    Effort,
    Objective,
    Optimizer,
    Precision,
    Recipe,
    Settings,
    Start,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = [
    "FIELDS",
    "FIELD_ON_WIRE",
    "LAYER_FIELDS",
    "STEERABLE",
    "Color",
    "Effort",
    "ImageSource",
    "LayerWeights",
    "Objective",
    "Optimizer",
    "Precision",
    "PreviewFormat",
    "Previews",
    "RawPixels",
    "Recipe",
    "RecipeField",
    "Region",
    "Settings",
    "Start",
    "Style",
    "StyleName",
    "StyleSource",
    "UploadedImage",
]


FIELD_ON_WIRE = {field.wire_name: field for field in FIELDS.values()}
"""The fields by their names in the contract."""


def completed(recipe: Recipe | Objective | None, settings: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some settings replaced.

    Args:
        recipe: a recipe, or one named after its objective; None for a recipe without any setting.
        settings: the fields to replace.

    Raises:
        InvalidRequest: it is neither a recipe nor the name of an objective.
        TypeError: a setting is unknown.
    """
    if recipe is None:
        return Recipe(**settings)
    if isinstance(recipe, Recipe):
        return dataclasses.replace(recipe, **settings)
    objectives = FIELDS["objective"].words
    if isinstance(recipe, str) and recipe in objectives:
        return Recipe(**{"objective": recipe, **settings})
    remedy = f"give an impasto.Recipe or the name of one: {', '.join(objectives)}"
    if isinstance(recipe, Mapping):
        remedy = "give its entries as keywords: **recipe"
    elif isinstance(recipe, str):
        fitting = [
            field.name for field in FIELDS.values() if recipe in field.words and field.kind == "choice"
        ]
        remedy = f"give {fitting[0]}={recipe!r}" if fitting else remedy
    raise InvalidRequest(
        f"recipe cannot be {recipe!r}; {remedy}", fields=[("spec.recipe", f"cannot be {recipe!r}; {remedy}")]
    )


PreviewFormat = Literal["jpeg", "png", "webp"]


@dataclasses.dataclass(frozen=True)
class RawPixels:
    """Uncompressed pixels in sRGB with straight alpha, as image editors have them.

    Attributes:
        width, height: size in pixels.
        rgba: 4 samples for each pixel, in rows from the top; 16-bit samples have their lower byte first.
        bits_per_channel: bits of each sample, 8 or 16.
    """

    width: int
    height: int
    rgba: bytes = dataclasses.field(repr=False)
    bits_per_channel: int = 8


@dataclasses.dataclass(frozen=True)
class StyleName:
    """A style that the server offers by name; `Client.styles` lists them.

    Attributes:
        name: its name, for example "styles/starry-night".
    """

    name: str


@dataclasses.dataclass(frozen=True)
class UploadedImage:
    """An image that is on the server already, from `Client.upload` or an earlier job.

    Attributes:
        sha256: SHA-256 of the image's file, as 64 lower-case hexadecimal digits.
    """

    sha256: str


ImageSource = Union[
    str, "os.PathLike[str]", bytes, "Image", "NDArray[Any]", RawPixels, StyleName, UploadedImage
]
"""A path, a coded image (PNG, JPEG, WebP, TIFF), a Pillow image, a NumPy array, raw pixels, or an image that
is on the server.

An array has the shape height × width (grey) or height × width × 1, 3 or 4 (grey, RGB, RGBA), in sRGB with
straight alpha. Its type is uint8, uint16, bool, or a float type with values from 0 to 1, which is sent with
16 bits. A Pillow image of mode "I" has 8 bits if its largest value is at most 255, else 16 bits. The range of
one of mode "F" is 0 to 1, 0 to 255 or 0 to 65,535: the first that contains its largest value.
"""


@dataclasses.dataclass(frozen=True)
class Style:
    """A painting to learn the style from.

    Attributes:
        image: the painting.
        weight: its weight relative to the other styles' weights, more than 0; None for 1.
    """

    image: ImageSource
    weight: float | None = None


StyleSource = Union[Style, "tuple[ImageSource, float]", ImageSource]
"""A style: an image, with or without a weight."""


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of the content that takes its style from one painting, or from a part of that painting.

    White marks the area that a mask selects; grey makes a soft edge. A mask is resized to its image.

    Attributes:
        content_mask: mask of the area in the content.
        style: index of the style, from 0. Several regions may use the same style.
        style_mask: mask of the area in that painting; None for all of it.
    """

    content_mask: ImageSource
    style: int = 0
    style_mask: ImageSource | None = None


@dataclasses.dataclass(frozen=True)
class Previews:
    """Which previews to send. The server chooses whatever is None.

    Attributes:
        format: format of the previews.
        max_side: maximum of the longer side, in pixels.
        max_bytes: maximum size, in bytes.
        min_interval: shortest time between two previews, in seconds.
    """

    format: PreviewFormat | None = None
    max_side: int | None = None
    max_bytes: int | None = None
    min_interval: float | None = None
