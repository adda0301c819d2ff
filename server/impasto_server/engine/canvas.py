"""What is painted on: the content or its selected part, or the empty ground of a texture."""

from __future__ import annotations

import dataclasses
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from impasto_server.engine.pixels import Deep, Picture, in_8_bits, picture_size, resampled
from impasto_server.engine.recipe import MIN_SIDE, RecipeError, result_size

SELECTION_MARGIN = 32
"""Pixels of the result worked on beyond a selection's box: strokes do not end where it does."""


P = TypeVar("P", bound=Picture)


@dataclasses.dataclass(frozen=True)
class Canvas:
    """The part of a picture that is painted.

    Attributes:
        content: that part of the content, of any resolution; None for a texture.
        size: (width, height) in pixels of that part in the result.
        full_size: of the whole result.
        corner: (left, top) of that part in the whole result, in pixels.
        selection: what of the whole result is painted, mode L, of its size; None for all.
        whole: the whole content in the result's size, mode RGB, where there is a selection.
    """

    content: Picture | None
    size: tuple[int, int]
    full_size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    selection: Image.Image | None = None
    whole: Image.Image | None = None

    def framed(self, part: Image.Image, max_side: int | None) -> Image.Image:
        """The whole picture with its painted part (mode RGB), blended in at the selection's edges.

        Args:
            part: of any resolution.
            max_side: longer side at most, in pixels.
        """
        if self.selection is None or self.whole is None:
            return part
        if part.size != self.size:
            part = part.resize(self.size, Image.Resampling.BICUBIC)
        painted = self.whole.copy()
        painted.paste(part, self.corner)
        picture = Image.composite(painted, self.whole, self.selection)
        if max_side is not None:
            picture.thumbnail((max_side, max_side), Image.Resampling.BOX)
        return picture

    def laid_in(self, part: npt.NDArray[np.uint8] | Deep) -> npt.NDArray[np.uint8] | Deep:
        """The samples of the whole picture with those of its painted part (H, W, 3) laid over it, the whole
        part, whatever of it is selected."""
        if self.whole is None:
            return part
        white = 257 if part.dtype == np.uint16 else 1
        samples = np.array(self.whole).astype(part.dtype) * part.dtype.type(white)
        left, top = self.corner
        samples[top : top + part.shape[0], left : left + part.shape[1]] = part
        return cast("npt.NDArray[np.uint8] | Deep", samples)

    def cut(self, image: P) -> P:
        """What lies over the painted part of an image that lies over the whole content."""
        if self.size == self.full_size:
            return image
        across, down = (side / full for side, full in zip(picture_size(image), self.full_size, strict=True))
        left, top = self.corner
        right, bottom = left + self.size[0], top + self.size[1]
        box = (left * across, top * down, right * across, bottom * down)
        return resampled(image, self.size, box)  # type: ignore[return-value]


def texture_canvas(size: tuple[int, int]) -> Canvas:
    """An empty ground of (width, height) pixels."""
    return Canvas(None, size, size)


def content_canvas(content: Picture, longest_side: int, selection: Image.Image | None) -> Canvas:
    """The content, or the part of it that a selection asks for.

    Args:
        content: the photograph.
        longest_side: of the whole result, in pixels.
        selection: mode L, of any size; white is painted.

    Raises:
        RecipeError: nothing is selected.
    """
    full_size = result_size(*picture_size(content), longest_side)
    if selection is None:
        return Canvas(content, full_size, full_size)
    mask = selection.resize(full_size, Image.Resampling.BOX)
    selected = mask.getbbox()
    if selected is None:
        raise RecipeError("selection", "is black everywhere; paint white what is to be painted")
    left, right = _widened(selected[0], selected[2], full_size[0])
    top, bottom = _widened(selected[1], selected[3], full_size[1])
    whole = in_8_bits(resampled(content, full_size))
    canvas = Canvas(content, (right - left, bottom - top), full_size, (left, top), mask, whole)
    return dataclasses.replace(canvas, content=canvas.cut(content))


def _widened(low: int, high: int, length: int) -> tuple[int, int]:
    """A span with the margin around it, and long enough for a network to see."""
    missing = max(0, 4 * MIN_SIDE - (high - low + 2 * SELECTION_MARGIN)) // 2 + 1
    return max(0, low - SELECTION_MARGIN - missing), min(length, high + SELECTION_MARGIN + missing)
