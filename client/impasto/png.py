"""Raw pixels as a PNG, for where there is no imaging library."""

from __future__ import annotations

import struct
import zlib

from impasto.provenance import PNG_SIGNATURE
from impasto.recipe import RawPixels


def encode(pixels: RawPixels) -> bytes:
    """The pixels as an 8-bit RGBA PNG in sRGB (ISO/IEC 15948): quickly made, hardly compressed.

    Raises:
        ValueError: there are not 4 · width · height bytes.
    """
    row = 4 * pixels.width
    if row <= 0 or pixels.height <= 0 or len(pixels.rgba) != row * pixels.height:
        raise ValueError(
            f"has {len(pixels.rgba)} bytes for {pixels.width} × {pixels.height} pixels; give 4 for each"
        )
    deflate = zlib.compressobj(1)
    rows = memoryview(pixels.rgba)
    packed = bytearray()
    for start in range(0, len(rows), row):
        packed += deflate.compress(b"\0")  # Filter 0: none.
        packed += deflate.compress(rows[start : start + row])
    packed += deflate.flush()
    header = struct.pack(">IIBBBBB", pixels.width, pixels.height, 8, 6, 0, 0, 0)
    return b"".join(
        [
            PNG_SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"sRGB", b"\0"),
            _chunk(b"IDAT", bytes(packed)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
