"""What a caller says: the recipe, the images, and which previews to send.

Only what is set here is sent. The ranges and the defaults are the server's; a finished `Job.recipe` shows
every setting as it was run.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Literal, TypedDict, Union

from impasto.errors import InvalidRequest

if TYPE_CHECKING:
    from PIL.Image import Image

Objective = Literal["balanced", "gatys", "report", "wasserstein"]
Optimizer = Literal["adam", "lbfgs"]
Effort = Literal["draft", "standard", "fine"]
Start = Literal["content", "noise", "image"]
Precision = Literal["auto", "float32", "bfloat16"]
Color = Literal["style", "luminance", "matched"]
PreviewFormat = Literal["jpeg", "png", "webp"]

LayerWeights = Union["Mapping[str, float]", "Iterable[tuple[str, float]]"]
"""Layers of the feature network and their shares: `{"relu3_1": 1.0, "relu4_1": 0.5}`, or pairs."""


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
        style_scale: size of the styles' strokes beside the content; at 2 they are twice as large.
        color: whose colours the result has: the styles' ("style"), or the content's, by painting only its
            lightness ("luminance") or by matching the styles' colours to it first ("matched").
        content_layers, style_layers: layers compared, with their shares; kept as pairs.
        averaging: how much of the average of the images so far each new one leaves, with Adam; 0 to 0.9999.
        stop_on_plateau: whether a scale is left early once its loss hardly falls any more.

    Raises:
        InvalidRequest: the layers are neither a mapping nor pairs.
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
    style_scale: float | None = None
    color: Color | None = None
    content_layers: LayerWeights | None = None
    style_layers: LayerWeights | None = None
    averaging: float | None = None
    stop_on_plateau: bool | None = None

    def __post_init__(self) -> None:
        for field in LAYER_FIELDS:
            # A mapping could be changed afterwards, and would keep the recipe from being hashed.
            object.__setattr__(self, field, _pairs(field, getattr(self, field)))


LAYER_FIELDS = ("content_layers", "style_layers")


def _pairs(field: str, layers: LayerWeights | None) -> tuple[tuple[str, float], ...] | None:
    if layers is None:
        return None
    remedy = f"cannot be {layers!r}; give layers with their weights, as {{'relu4_2': 1.0}}"
    fault = InvalidRequest(f"{field} {remedy}", fields=[(f"spec.recipe.{field}", remedy)])
    try:
        pairs = [
            (name, weight) for name, weight in (layers.items() if isinstance(layers, Mapping) else layers)
        ]
    except (TypeError, ValueError):
        raise fault from None
    if not all(isinstance(name, str) and isinstance(weight, Real) for name, weight in pairs):
        raise fault
    return tuple((name, float(weight)) for name, weight in pairs)


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
    style_scale: float | None
    color: Color | None
    content_layers: LayerWeights | None
    style_layers: LayerWeights | None
    averaging: float | None
    stop_on_plateau: bool | None


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
