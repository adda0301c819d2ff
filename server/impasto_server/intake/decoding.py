"""Decodes pictures as the painting needs them: upright, in sRGB, at a given size."""

from __future__ import annotations

import dataclasses
from typing import BinaryIO, Literal

import numpy as np

from impasto_server.intake.colors import Coding, in_depth
from impasto_server.intake.header import Header
from impasto_server.intake.loading import COLOURS
from impasto_server.intake.resizing import box_resized
from impasto_server.intake.samples import Raw, coded_levels, coded_samples, source, upright
from impasto_server.intake.strips import Samples

_LUMA = (19595, 38470, 7471)
"""The weights of R, G and B in the Y of BT.601, in units of 1/65,536."""


@dataclasses.dataclass(frozen=True)
class Pixels:
    """A decoded picture.

    Attributes:
        samples: (height, width, 3), or (height, width, 1) for a mask, uint8 or uint16, C-contiguous.
        alpha: (height, width), of the same type; None if there is none.
    """

    samples: Samples
    alpha: Samples | None


def decode_picture(
    picture: BinaryIO | Raw,
    *,
    size: tuple[int, int] | None = None,
    max_side: int | None = None,
    bits: Literal[8, 16],
    fill_hidden: bool = True,
) -> Pixels:
    """Decodes a picture to sRGB.

    It is converted by its embedded profile, relative colorimetric with black-point compensation; a PNG
    without a profile by its chunks cICP, sRGB, gAMA and cHRM. A profile that is broken or made for another
    kind of samples is ignored.

    Args:
        size: (width, height) of the upright picture in pixels, larger or smaller than its own. With its own
            size, the picture is not resampled.
        max_side: maximum length of the longer side in pixels, where `size` is None.
        bits: bits of each sample, 8 or 16.
        fill_hidden: see `coded_samples`.

    Raises:
        PictureFault: it cannot be decoded.
    """
    opened = source(picture)
    header = opened.header
    target = header.turned(size or fitting(header.upright_size, max_side))
    coded = coded_samples(opened, target, fill_hidden=fill_hidden)
    rgb = Coding(opened.data, header).to_srgb(coded.colours, bits)
    alpha = None if coded.alpha is None else in_depth(coded.alpha, bits)
    return Pixels(
        upright(rgb, header.orientation),
        None if alpha is None else upright(alpha, header.orientation),
    )


def decode_mask(picture: BinaryIO | Raw, *, max_size: tuple[int, int] | None = None) -> Pixels:
    """Decodes a picture as a mask: the luminance (Y of BT.601) of its coded samples, over black, 8 bits.

    Its profile is ignored: a mask's levels are numbers, not colours.

    Args:
        max_size: (width, height) in pixels, upright. A mask that is larger in both directions is averaged
            down to this size.

    Raises:
        PictureFault: it cannot be decoded.
    """
    opened = source(picture)
    header = opened.header
    target = header.width, header.height
    if max_size is not None:
        across, down = header.turned(max_size)
        if header.width > across and header.height > down:
            target = across, down
    levels = coded_levels(opened, target, lambda samples: _levels(samples, header))
    return Pixels(upright(levels, header.orientation)[..., None], None)


def fitted_mask(picture: BinaryIO | Raw, size: tuple[int, int]) -> Samples:
    """A mask's levels at exactly (width, height) pixels; averaged down, or repeated if the mask is smaller.

    Raises:
        PictureFault: it cannot be decoded.
    """
    return box_resized(decode_mask(picture, max_size=size).samples[..., 0], *size)


def _levels(samples: Samples, header: Header) -> Samples:
    """The levels of a mask, (rows, width), uint8, from its samples (rows, width, channels), alpha last."""
    samples = in_depth(samples, 8)
    count = COLOURS[header.model]
    colours = samples[..., :count]
    if header.model == "cmyk":
        light = 255 - colours.astype(np.uint16)
        colours = (light[..., :3] * light[..., 3:] + 127) // 255
    if colours.shape[2] == 1 or header.model == "lab":
        levels = colours[..., 0]
    else:
        # Integer arithmetic gives the same levels as other programs.
        red, green, blue = (colours[..., i] * np.uint32(weight) for i, weight in enumerate(_LUMA))
        levels = ((red + green + blue + 2**15) >> 16).astype(np.uint8)
    if samples.shape[2] > count:
        levels = ((levels.astype(np.uint16) * samples[..., count] + 127) // 255).astype(np.uint8)
    return levels


def fitting(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """A size in pixels, reduced if necessary so that its longer side is at most `max_side`."""
    if max_side is None or max(size) <= max_side:
        return size
    factor = max_side / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
