"""The canvas of a painting: the content, its selected part, or the empty ground of a texture."""

from __future__ import annotations

import dataclasses
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from impasto_server.engine.pixels import Deep, Picture, in_8_bits, picture_size, resampled
from impasto_server.engine.recipe import MIN_SIDE, RecipeError, result_size

SELECTION_MARGIN = 32
"""Pixels of the result painted beyond a selection's bounding box, so that strokes can cross its edge."""

BLACK = "is black everywhere; mark the area to paint in white"
"""What is wrong with a selection that selects nothing."""

P = TypeVar("P", bound=Picture)

Box = tuple[int, int, int, int]
"""Left, top, right and bottom of a part of an image, in pixels."""


@dataclasses.dataclass(frozen=True)
class Canvas:
    """The part of a picture that is painted.

    Attributes:
        content: that part of the content, at any resolution; None for a texture.
        size: (width, height) of that part in the result, in pixels.
        full_size: (width, height) of the whole result, in pixels.
        corner: (left, top) of that part in the whole result, in pixels.
        selection: mask of the area to paint, mode L, of the result's size; None for all of it.
        whole: the whole content at the result's size, mode RGB; None without a selection.
    """

    content: Picture | None
    size: tuple[int, int]
    full_size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    selection: Image.Image | None = None
    whole: Image.Image | None = None

    def framed(self, part: Image.Image, max_side: int | None) -> Image.Image:
        """Returns the whole picture (mode RGB), with the painted part blended in at the selection's edges.

        Args:
            part: the painted part, at any resolution.
            max_side: maximum longer side in pixels; None for no limit. Only a picture with a selection is
                made smaller.
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
        """Returns the samples of the whole picture, (H, W, 3), with those of its painted part in their place.

        The edges of the selection are not blended: the part covers its whole bounding box.
        """
        if self.whole is None:
            return part
        white = 257 if part.dtype == np.uint16 else 1
        samples = np.array(self.whole).astype(part.dtype) * part.dtype.type(white)
        left, top = self.corner
        samples[top : top + part.shape[0], left : left + part.shape[1]] = part
        return cast("npt.NDArray[np.uint8] | Deep", samples)

    def cut(self, image: P) -> P:
        """Returns the part of an image that covers the painted part; the image covers the whole content."""
        if self.size == self.full_size:
            return image
        across, down = (side / full for side, full in zip(picture_size(image), self.full_size, strict=True))
        left, top = self.corner
        right, bottom = left + self.size[0], top + self.size[1]
        box = (left * across, top * down, right * across, bottom * down)
        return resampled(image, self.size, box)  # type: ignore[return-value]


def texture_canvas(size: tuple[int, int]) -> Canvas:
    """Returns an empty canvas of (width, height) pixels."""
    return Canvas(None, size, size)


def content_canvas(content: Picture, longest_side: int, selection: Image.Image | None) -> Canvas:
    """Returns a canvas of the content, or of the part of it that a selection marks.

    Args:
        content: the photograph.
        longest_side: longer side of the whole result, in pixels.
        selection: mode L, of any size; white marks the area to paint. None for all.

    Raises:
        RecipeError: nothing is selected.
    """
    full_size = result_size(*picture_size(content), longest_side)
    if selection is None:
        return Canvas(content, full_size, full_size)
    mask = selection.resize(full_size, Image.Resampling.BOX)
    selected = mask.getbbox()
    if selected is None:
        raise RecipeError("selection", BLACK)
    left, top, right, bottom = painted_box(selected, full_size)
    whole = in_8_bits(resampled(content, full_size))
    canvas = Canvas(content, (right - left, bottom - top), full_size, (left, top), mask, whole)
    return dataclasses.replace(canvas, content=canvas.cut(content))


def painted_box(selected: Box, full_size: tuple[int, int]) -> Box:
    """Returns the box of the part that is painted.

    Args:
        selected: the box around the selection.
        full_size: (width, height) of the whole result, in pixels.
    """
    left, right = _widened(selected[0], selected[2], full_size[0])
    top, bottom = _widened(selected[1], selected[3], full_size[1])
    return left, top, right, bottom


def resized_box(box: Box, size: tuple[int, int], full_size: tuple[int, int]) -> Box:
    """Returns the box around what is not black after a mask is resized as a selection is.

    Args:
        box: the box around what is white in the mask.
        size, full_size: (width, height) of the mask before and after, in pixels.
    """
    spans = []
    for low, high, length, full_length in zip(box[:2], box[2:], size, full_size, strict=True):
        # One row of pixels is enough, because both directions are resized separately.
        row = Image.new("L", (length, 1))
        row.paste(255, (low, 0, high, 1))
        found = row.resize((full_length, 1), Image.Resampling.BOX).getbbox()
        assert found is not None
        spans.append((found[0], found[2]))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def _widened(low: int, high: int, length: int) -> tuple[int, int]:
    """Returns a span within 0 and `length` with `SELECTION_MARGIN` around it, long enough for the network."""
    missing = max(0, 4 * MIN_SIDE - (high - low + 2 * SELECTION_MARGIN)) // 2 + 1
    return max(0, low - SELECTION_MARGIN - missing), min(length, high + SELECTION_MARGIN + missing)
