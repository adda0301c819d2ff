"""What a caller says: the recipe, the images, and which previews to send.

Only what is set here is sent. The ranges and the defaults are the server's, and `FIELDS` tells them; a
`Job.recipe` shows every setting as it is run.
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
    """Uncompressed pixels: sRGB with straight alpha, as an image editor has them.

    Attributes:
        width, height: size in pixels.
        rgba: 4 samples for each pixel, rows from the top; with 16 bits per channel the lower byte first.
        bits_per_channel: of each sample, 8 or 16.
    """

    width: int
    height: int
    rgba: bytes = dataclasses.field(repr=False)
    bits_per_channel: int = 8


@dataclasses.dataclass(frozen=True)
class StyleName:
    """A style that the server offers by name, as `Client.styles` lists them.

    Attributes:
        name: "styles/starry-night".
    """

    name: str


@dataclasses.dataclass(frozen=True)
class UploadedImage:
    """An image that the server has already, from `Client.upload` or an earlier job.

    Attributes:
        sha256: of the image's file, 64 lower-case hexadecimal digits.
    """

    sha256: str


ImageSource = Union[
    str, "os.PathLike[str]", bytes, "Image", "NDArray[Any]", RawPixels, StyleName, UploadedImage
]
"""A path, a coded image (PNG, JPEG, WebP, TIFF), a Pillow image, an array of NumPy's, raw pixels, or one that
the server has.

An array has the shape height × width (grey) or height × width × 1, 3 or 4 (grey, RGB, RGBA), in sRGB with
straight alpha: uint8, uint16, bool, or floats from 0 to 1, which are sent with 16 bits. A Pillow image of
mode "I" counts as 8 bits if its largest value is at most 255, else as 16; one of mode "F" goes from 0 to 1,
to 255 or to 65,535, the first of these that its largest value fits.
"""


@dataclasses.dataclass(frozen=True)
class Style:
    """A painting to learn the style from.

    Attributes:
        image: the painting.
        weight: its share beside the other styles' shares, greater than 0.
    """

    image: ImageSource
    weight: float | None = None


StyleSource = Union[Style, "tuple[ImageSource, float]", ImageSource]
"""A style: with a weight, or just its image."""


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of the content that takes its style from one painting, or from a part of it.

    Masks are white inside, black outside, grey at soft edges; they are resized to their image.

    Attributes:
        content_mask: where in the content.
        style: which of the styles, from 0; several regions may share one.
        style_mask: where in that painting; None for all of it.
    """

    content_mask: ImageSource
    style: int = 0
    style_mask: ImageSource | None = None


@dataclasses.dataclass(frozen=True)
class Previews:
    """Which previews to send. None leaves the choice to the server.

    Attributes:
        format: how they are coded.
        max_side: longer side at most, in pixels.
        max_bytes: size at most, in bytes.
        min_interval: shortest time between two, in seconds.
    """

    format: PreviewFormat | None = None
    max_side: int | None = None
    max_bytes: int | None = None
    min_interval: float | None = None
