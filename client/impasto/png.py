"""PNG files (ISO/IEC 15948): writing them without an imaging library, and preparing them for Pillow."""

from __future__ import annotations

import array
import io
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from impasto.provenance import PNG_SIGNATURE

if TYPE_CHECKING:
    from PIL.Image import Image

    from impasto.recipe import RawPixels

MAX_PROFILE_BYTES = 2**26
"""Largest colour profile that is kept, in bytes."""
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Colour types of grey, grey with alpha, RGB and RGBA, by number of channels."""
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"sRGB", b"gAMA", b"cHRM")
"""The chunks that determine the colour of each pixel, except the profile."""


def encode(pixels: RawPixels) -> bytes:
    """Return raw pixels as an RGBA PNG in sRGB with the same bits per channel, coded fast with little
    compression.

    Raises:
        ValueError: the number of bytes does not match the size, or the bits per channel are neither 8 nor 16;
            the message is a clause that follows the image's name.
    """
    bits = pixels.bits_per_channel
    if bits not in (8, 16):
        raise ValueError(f"has {bits} bits per channel; give 8 or 16")
    needed = bits // 2 * max(0, pixels.width) * max(0, pixels.height)
    if not needed or len(pixels.rgba) != needed:
        raise ValueError(
            f"has {len(pixels.rgba)} bytes for {pixels.width} × {pixels.height} pixels; "
            f"give {bits // 2} for each"
        )
    return write(pixels.width, pixels.height, 4, bits, pixels.rgba)


def write(width: int, height: int, channels: int, bits: int, samples: bytes) -> bytes:
    """Return bare samples as a PNG in sRGB.

    Args:
        width, height: size in pixels.
        channels: 1 for grey, 2 for grey with alpha, 3 for RGB, 4 for RGBA.
        bits: bits of each sample, 8 or 16.
        samples: rows from the top; 16-bit samples have their lower byte first.
    """
    if bits == 16:
        words = array.array("H", samples)
        words.byteswap()  # A PNG has the higher byte first.
        samples = words.tobytes()
    row = width * channels * bits // 8
    deflate = zlib.compressobj(1)
    rows = memoryview(samples)
    packed = bytearray()
    for start in range(0, len(rows), row):
        packed += deflate.compress(b"\0")  # Filter 0: none.
        packed += deflate.compress(rows[start : start + row])
    packed += deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[channels], 0, 0, 0)
    return b"".join(
        [
            PNG_SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"sRGB", b"\0"),
            _chunk(b"IDAT", bytes(packed)),
            _chunk(b"IEND", b""),
        ]
    )


def depth(png: bytes) -> int:
    """Return the bits per channel from the header; 0 if it is not a PNG."""
    return png[24] if png.startswith(PNG_SIGNATURE) and len(png) > 24 else 0


def is_transparent(png: bytes) -> bool:
    """Return whether some pixels of a PNG are not opaque, judged by the higher byte of their alpha. Needs
    Pillow.

    A file that cannot be decoded counts as opaque.
    """
    # Most files have no alpha and need not be decoded.
    if not png.startswith(PNG_SIGNATURE) or len(png) < 26 or png[25] not in (4, 6):
        return False
    try:
        return opened(png).getchannel("A").getextrema() != (255, 255)
    except Exception:
        return False  # Pillow's decoders raise nearly every kind of exception for damaged files.


def pixels_alone(png: bytes) -> tuple[bytes, bytes | None]:
    """Return a PNG reduced to its pixels, and its colour profile.

    Imaging libraries refuse pictures because of other chunks: Pillow because of a long text or profile,
    others because of a comment's wrong checksum.
    """
    kept = [PNG_SIGNATURE]
    profile = None
    for kind, start, end in _chunks(png):
        if kind in _PIXELS:
            kept.append(png[start:end])
        elif kind == b"iCCP" and profile is None:
            profile = _profile(png[start + 8 : end - 4])
    return b"".join(kept), profile


def halves(png: bytes) -> tuple[Image, Image]:
    """Return the higher and the lower bytes of a PNG's samples, each as an 8-bit image. Needs Pillow.

    If the PNG has 8 bits per channel, both are its pixels: 255 then becomes 65,535.

    Raises:
        Exception: it is damaged; Pillow raises many kinds of exceptions.
    """
    from PIL import Image

    whole = opened(png)
    if whole.mode == "I;16":
        samples = whole.tobytes()
        low, high = (Image.frombytes("L", whole.size, samples[i::2]) for i in (0, 1))
        return high, low
    if depth(png) != 16:
        return whole, whole
    if whole.mode in ("LA", "RGBA") and png[25] == 4:
        # Reading it as four 8-bit channels gives the two bytes of grey and of alpha.
        grey, grey_low, alpha, alpha_low = opened(png, "RGBA", "RGBA").split()
        return Image.merge("LA", (grey, alpha)), Image.merge("LA", (grey_low, alpha_low))
    # Pillow keeps the higher byte. Reading the samples as if their lower byte came first makes it keep the
    # lower.
    return whole, opened(png, whole.mode, f"{whole.mode};16L")


def opened(png: bytes, mode: str = "", raw_mode: str = "") -> Image:
    """Return a PNG as a Pillow image. 16-bit RGB is reduced to 8 bits: Pillow has no mode for it.

    Args:
        mode, raw_mode: the modes in which Pillow reads the pixels; empty for its own choice.

    Raises:
        Exception: it is damaged; Pillow raises many kinds of exceptions.
    """
    from PIL import Image

    bare, profile = pixels_alone(png)
    image = Image.open(io.BytesIO(bare), formats=["PNG"])
    if raw_mode:
        image._mode = mode
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
    image.load()
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def _chunks(png: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The type of each chunk, with its start and its end."""
    position = len(PNG_SIGNATURE)
    while position + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        end = position + length + 12
        yield kind, position, end
        position = end


def _profile(body: bytes) -> bytes | None:
    """The profile in an iCCP chunk; None if it cannot be read."""
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(body.partition(b"\0")[2][1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if profile and stream.eof else None


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
