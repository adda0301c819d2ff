"""What a file's header says of its picture, in the same terms for each format."""

from __future__ import annotations

import dataclasses
import mmap
from typing import BinaryIO, Literal

Data = bytes | mmap.mmap | memoryview
Model = Literal["grey", "rgb", "cmyk", "lab", "ycbcr"]

SWAPS_SIDES = (5, 6, 7, 8)
"""EXIF orientations whose upright picture is as wide as the coded one is high."""


@dataclasses.dataclass(frozen=True)
class Span:
    """Bytes of a file: from `start` up to `end`."""

    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class PngColour:
    """How a PNG without a profile codes its colours.

    Attributes:
        transfer: "srgb", "bt709", or the exponent that turns a sample (0–1) into light.
        primaries: x and y of white, red, green and blue; None for those of sRGB.
    """

    transfer: str | float
    primaries: tuple[float, ...] | None


@dataclasses.dataclass(frozen=True)
class TiffPicture:
    """How a TIFF codes its picture.

    Attributes:
        page: which of the file's pictures, from 0.
        photometric: the tag's value (TIFF 6.0, section 3 and further).
        sample: "unsigned" or "float".
        sample_bits: of each sample as coded.
        samples: per pixel, extra ones included.
        alpha_at: which of the samples is alpha; None if none is.
        as_rgb: True if libvips reads it right only where it is told that it is RGB.
        multiplied: True if colours are multiplied by alpha.
        patches: what libvips is to read in place of what is there: where it lies in the file, and its bytes.
    """

    page: int
    photometric: int
    sample: Literal["unsigned", "float"]
    sample_bits: int
    samples: int
    alpha_at: int | None
    as_rgb: bool
    multiplied: bool
    patches: tuple[tuple[int, bytes], ...]


@dataclasses.dataclass(frozen=True)
class Header:
    """What is known of a picture before its pixels are decoded.

    Attributes:
        format: "png", "jpeg", "webp" or "tiff".
        width, height: as coded, in pixels.
        orientation: as in EXIF, 1 to 8.
        bits: 8, or 16 for all that is deeper.
        model: what the samples are.
        has_alpha: also if one colour is declared transparent.
        profile: where the parts of an ICC profile lie, in their order.
        colour: of a PNG, where it is not sRGB.
        spare: bytes of a PNG's chunks that its pixels do not need.
        interlaced: True for a PNG whose rows come in seven turns.
        tiff: of a TIFF.
    """

    format: Literal["png", "jpeg", "webp", "tiff"]
    width: int
    height: int
    orientation: int
    bits: Literal[8, 16]
    model: Model
    has_alpha: bool
    profile: tuple[Span, ...] = ()
    colour: PngColour | None = None
    spare: int = 0
    interlaced: bool = False
    tiff: TiffPicture | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels once the picture is turned upright."""
        return self.turned((self.width, self.height))

    def turned(self, size: tuple[int, int]) -> tuple[int, int]:
        """A coded size as an upright one, or the other way round."""
        return (size[1], size[0]) if self.orientation in SWAPS_SIDES else size


def contents(file: BinaryIO) -> Data:
    """A file's bytes: mapped, so that a large file costs no memory; or read, where it is in memory anyway."""
    try:
        descriptor = file.fileno()
    except OSError:
        file.seek(0)
        return file.read()
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError:
        return b""  # An empty file cannot be mapped.
