"""Thumbnails from somebody else, which are small in bytes but may be enormous in pixels."""

from __future__ import annotations

import struct

MOST_SIDE = 1024
"""Longest side of a thumbnail in pixels. A host would take gigabytes to decode what a few bytes announce."""
_PNG = b"\x89PNG\r\n\x1a\n"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def checked(data: bytes, most_bytes: int, *, png: bool = True) -> bytes:
    """Return a thumbnail, if it is a small JPEG or PNG; else nothing.

    Args:
        most_bytes: largest size in bytes.
        png: whether it may be a PNG.
    """
    if len(data) > most_bytes:
        return b""
    if data.startswith(_PNG):
        width, height = _png_size(data) if png else (0, 0)
    else:
        width, height = _jpeg_size(data)
    return data if 1 <= width <= MOST_SIDE and 1 <= height <= MOST_SIDE else b""


def _png_size(data: bytes) -> tuple[int, int]:
    if len(data) < 24 or data[12:16] != b"IHDR":
        return 0, 0
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """The size in the first frame's header, which is the one that decoders use; zeros if there is none."""
    if not data.startswith(b"\xff\xd8\xff"):
        return 0, 0
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xFF:
            at += 1
        elif kind in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        elif kind == 0x01 or 0xD0 <= kind <= 0xDA:
            # Nothing that may stand before the frame.
            return 0, 0
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return 0, 0
