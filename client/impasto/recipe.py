"""What a caller says: the recipe, the images, and which previews to send.

Only what is set here is sent. The ranges and the defaults are the server's; a finished `Job.recipe` shows
every setting as it was run.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Literal, TypedDict, Union

if TYPE_CHECKING:
    from PIL.Image import Image

Objective = Literal["balanced", "gatys", "report"]
Optimizer = Literal["adam", "lbfgs"]
Effort = Literal["draft", "standard", "fine"]
Start = Literal["content", "noise", "image"]
Precision = Literal["auto", "float32", "bfloat16"]
PreviewFormat = Literal["jpeg", "png", "webp"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to paint. None leaves the choice to the server.

    Attributes:
        objective: what is minimised.
        content_weight: more keeps more of the photograph; at least 0.
        style_weight: weight of the style loss, at least 0.
        tv_weight: more gives smoother areas; at least 0.
        optimizer: how the image is moved.
        learning_rate: step length of the optimiser, greater than 0.
        effort: a named amount of work; not together with `evaluations`.
        evaluations: evaluations of the loss over all scales, at least 1.
        longest_side: longer side of the result in pixels.
        start: what the painting starts from.
        seed: seed of everything random, 0 to 2**32 - 1.
        precision: arithmetic of the feature network.
    """

    objective: Objective | None = None
    content_weight: float | None = None
    style_weight: float | None = None
    tv_weight: float | None = None
    optimizer: Optimizer | None = None
    learning_rate: float | None = None
    effort: Effort | None = None
    evaluations: int | None = None
    longest_side: int | None = None
    start: Start | None = None
    seed: int | None = None
    precision: Precision | None = None


class Settings(TypedDict, total=False):
    """The fields of a `Recipe` as keywords."""

    objective: Objective | None
    content_weight: float | None
    style_weight: float | None
    tv_weight: float | None
    optimizer: Optimizer | None
    learning_rate: float | None
    effort: Effort | None
    evaluations: int | None
    longest_side: int | None
    start: Start | None
    seed: int | None
    precision: Precision | None


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


ImageSource = Union[str, "os.PathLike[str]", bytes, "Image", RawPixels]
"""A file's path, a coded image (PNG, JPEG, WebP, TIFF), a Pillow image, or raw pixels."""


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
