"""What can be told of a picture from its structure, without decoding its pixels."""

from __future__ import annotations

import dataclasses
import struct
from typing import BinaryIO

from impasto_server.intake import jpeg, png, tiff, webp
from impasto_server.intake.faults import PictureFault, unreadable
from impasto_server.intake.header import Data, Header, contents

__all__ = ["Description", "PictureFault", "describe", "read_header"]


@dataclasses.dataclass(frozen=True)
class Description:
    """What a file is.

    Attributes:
        format: "png", "jpeg", "webp" or "tiff".
        width, height: in pixels, once the picture is turned upright.
        coded_width, coded_height: as the file has them.
        bits: per channel, 8; or 16 for all that is deeper.
        has_alpha: also if one colour is declared transparent.
    """

    format: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    bits: int
    has_alpha: bool

    @classmethod
    def of(cls, header: Header) -> Description:
        return cls(
            header.format,
            *header.upright_size,
            header.width,
            header.height,
            header.bits,
            header.has_alpha,
        )


def describe(file: BinaryIO, max_pixels: int) -> Description:
    """
    Args:
        max_pixels: width × height at most.

    Raises:
        PictureFault: it is not a picture of a kind that is read, has too many pixels, or is not whole.
    """
    return Description.of(read_header(contents(file), max_pixels))


def read_header(data: Data, max_pixels: int) -> Header:
    """The same, with all that decoders need to know.

    Raises:
        PictureFault: see `describe`.
    """
    if not len(data):
        raise PictureFault("is empty; send the bytes of a PNG, JPEG, WebP or TIFF file")
    beginning = bytes(data[:12])
    try:
        if beginning.startswith(png.SIGNATURE):
            return png.read_header(data, max_pixels)
        if beginning.startswith(jpeg.SIGNATURE):
            return jpeg.read_header(data, max_pixels)
        if webp.is_webp(beginning):
            return webp.read_header(data, max_pixels)
        if beginning.startswith(tiff.SIGNATURES):
            return tiff.read_header(data, max_pixels)
    except (struct.error, IndexError, OverflowError):
        raise unreadable() from None
    raise PictureFault("is not a PNG, JPEG, WebP or TIFF file; convert it to one of them")
