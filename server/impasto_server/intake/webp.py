"""The structure of a WebP file (RFC 9649)."""

from __future__ import annotations

import struct

from impasto_server.intake.exif import orientation
from impasto_server.intake.faults import PictureFault, check_pixels, truncated
from impasto_server.intake.header import Data, Header, Span

_MOST_CHUNKS = 2**16
_ALPHA_FLAG = 0x10


def is_webp(beginning: bytes) -> bool:
    return beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP"


def read_header(data: Data, most_pixels: int) -> Header:
    """Reads the header of a WebP.

    Raises:
        PictureFault: the file is truncated, not a WebP that can be read, or too large.
    """
    end: int = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise truncated()
    position, pictures, count = 12, 0, 0
    canvas: tuple[int, int] | None = None
    has_alpha = False
    exif: Span | None = None
    profile: Span | None = None
    while position + 8 <= end:
        count += 1
        if count > _MOST_CHUNKS:
            raise PictureFault(f"is a WebP with more than {_MOST_CHUNKS:,} chunks; save it again and resend")
        kind, length = struct.unpack_from("<4sI", data, position)
        span = Span(position + 8, position + 8 + length)
        if span.end > end:
            raise truncated()
        if kind in (b"VP8X", b"VP8 ", b"VP8L"):
            width, height, alpha = _picture(data, kind, span)
            check_pixels(width, height, most_pixels)
            if canvas is None:
                canvas, has_alpha = (width, height), alpha
        elif kind == b"EXIF":
            exif = exif or span
        elif kind == b"ICCP":
            profile = profile or span
        pictures += kind in (b"VP8 ", b"VP8L", b"ANMF")
        position = span.end + length % 2
    if not pictures or canvas is None:
        raise truncated()
    return Header(
        format="webp",
        width=canvas[0],
        height=canvas[1],
        orientation=orientation(bytes(data[exif.start : exif.end])) if exif else 1,
        bits=8,
        model="rgb",
        has_alpha=has_alpha,
        profile=(profile,) if profile else (),
    )


def _picture(data: Data, kind: bytes, span: Span) -> tuple[int, int, bool]:
    """Width, height and whether there is alpha, according to a chunk."""
    start = span.start
    if span.end - start < (5 if kind == b"VP8L" else 10):
        raise truncated()
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[start + 4 : start + 7], "little")
        height = 1 + int.from_bytes(data[start + 7 : start + 10], "little")
        return width, height, bool(data[start] & _ALPHA_FLAG)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, start + 1)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1)
    width, height = struct.unpack_from("<HH", data, start + 6)
    return width & 0x3FFF, height & 0x3FFF, False
