"""What a file's header says about its picture, in the same terms for each format."""

from __future__ import annotations

import dataclasses
import mmap
from typing import BinaryIO, Literal

Data = bytes | mmap.mmap | memoryview
Model = Literal["grey", "rgb", "cmyk", "lab", "ycbcr"]

SWAPS_SIDES = (5, 6, 7, 8)
"""EXIF orientations that swap the width and the height."""


@dataclasses.dataclass(frozen=True)
class Span:
    """Bytes of a file, from `start` up to and not including `end`."""

    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class PngColour:
    """How a PNG without a profile codes its colours.

    Attributes:
        transfer: "srgb", "bt709", or the exponent that converts a sample (0–1) to linear light.
        primaries: x and y of white, red, green and blue; None: those of sRGB.
    """

    transfer: str | float
    primaries: tuple[float, ...] | None


@dataclasses.dataclass(frozen=True)
class TiffPicture:
    """How a TIFF codes its picture.

    Attributes:
        page: number of the picture in the file, from 0.
        photometric: the tag PhotometricInterpretation (TIFF 6.0, section 3 and others).
        sample: "unsigned" or "float".
        sample_bits: bits of each sample as coded.
        samples: number of samples per pixel, extra ones included.
        alpha_at: index of the sample that is alpha; None if none is.
        as_rgb: True if libvips must be told that the picture is RGB to read it correctly.
        multiplied: True if the colours are multiplied by alpha.
        patches: bytes that libvips must read in place of those in the file, each with its offset.
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
    """What is known about a picture before its pixels are decoded.

    Attributes:
        format: "png", "jpeg", "webp" or "tiff".
        width, height: size in pixels as coded.
        orientation: EXIF orientation, 1 to 8.
        bits: bits per channel: 8, or 16 for any greater depth.
        model: colour model of the samples.
        has_alpha: True also if one colour is declared transparent.
        profile: where the parts of the ICC profile are in the file, in order.
        colour: colour coding of a PNG without a profile; None if it is sRGB.
        spare: bytes in the chunks of a PNG that its pixels do not need.
        interlaced: True for a PNG with Adam7 interlacing.
        tiff: how a TIFF codes its picture; None for other formats.
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
        """Converts a size as coded to the upright size, or the upright size to the one as coded."""
        return (size[1], size[0]) if self.orientation in SWAPS_SIDES else size


def contents(file: BinaryIO) -> Data:
    """A file's bytes: mapped, so that a large file takes no memory; read if the file is in memory anyway."""
    try:
        descriptor = file.fileno()
    except OSError:
        file.seek(0)
        return file.read()
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError:
        return b""  # An empty file cannot be mapped.
