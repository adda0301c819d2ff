"""Describes a picture from its structure, without decoding its pixels."""

from __future__ import annotations

import dataclasses
import struct
from typing import BinaryIO

from impasto_server.intake import jpeg, png, tiff, webp
from impasto_server.intake.faults import PictureFault, unreadable, unsupported
from impasto_server.intake.header import Data, Header, contents

__all__ = ["Description", "PictureFault", "describe", "read_header"]

_OTHER_FORMATS = (
    (0, b"8BPS", "a Photoshop (PSD)"),
    (0, b"%PDF", "a PDF"),
    (0, b"BM", "a BMP"),
    (0, b"FUJIFILMCCD", "a camera raw"),
    (0, b"GIF8", "a GIF"),
    (0, b"IIRO", "a camera raw"),
    (0, b"IIRS", "a camera raw"),
    (0, b"IIU\0", "a camera raw"),
    (0, b"MMOR", "a camera raw"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"v/1\x01", "an OpenEXR"),
    (4, b"ftypavi", "an AVIF"),
    (4, b"ftypcrx", "a camera raw (CR3)"),
    (4, b"ftyphe", "a HEIC"),
    (4, b"ftypmif1", "a HEIF"),
    (4, b"ftypmsf1", "a HEIF"),
)
"""Formats that callers are told by name: offset of the signature, signature, name with its article."""


@dataclasses.dataclass(frozen=True)
class Description:
    """The format and size of a picture.

    Attributes:
        format: "png", "jpeg", "webp" or "tiff".
        width, height: size in pixels, once the picture is turned upright.
        coded_width, coded_height: size in pixels as coded in the file.
        bits: bits per channel: 8, or 16 for any greater depth.
        has_alpha: True also if one colour is declared transparent.
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
    """Describes a picture.

    Args:
        max_pixels: maximum width × height.

    Raises:
        PictureFault: the file is not a supported picture, has too many pixels, or is truncated.
    """
    return Description.of(read_header(contents(file), max_pixels))


def read_header(data: Data, max_pixels: int) -> Header:
    """Reads all that decoders need to know about a picture.

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
    for offset, signature, name in _OTHER_FORMATS:
        if beginning.startswith(signature, offset):
            raise unsupported(name)
    raise PictureFault("is not a PNG, JPEG, WebP or TIFF file; export it as one of them")
