"""What a caller says: the recipe, the images, and which previews to send.

Only what is set here is sent. The ranges and the defaults are the server's, and `FIELDS` tells them; a
`Job.recipe` shows every setting as it is run.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Literal, Union

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
    from PIL.Image import Image

__all__ = [
    "FIELDS",
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

PreviewFormat = Literal["jpeg", "png", "webp"]


@dataclasses.dataclass(frozen=True)
class RawPixels:
    """Uncompressed pixels: 8-bit sRGB with straight alpha, as an image editor has them.

    Attributes:
        width, height: size in pixels.
        rgba: 4 · width · height bytes, rows from the top.
    """

    width: int
    height: int
    rgba: bytes = dataclasses.field(repr=False)


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


ImageSource = Union[str, "os.PathLike[str]", bytes, "Image", RawPixels, StyleName, UploadedImage]
"""A path, a coded image (PNG, JPEG, WebP, TIFF), a Pillow image, raw pixels, or one that the server has."""


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
