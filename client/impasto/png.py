"""PNG files (ISO/IEC 15948): written where there is no imaging library, and made fit for one to read."""

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
"""Size of a colour profile that is kept at most, in bytes."""
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Grey, grey with alpha, RGB and RGBA, by the number of their channels."""
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"sRGB", b"gAMA", b"cHRM")
"""The chunks that say what colour each pixel has, but for the profile, which is read here."""


def encode(pixels: RawPixels) -> bytes:
    """The pixels as an RGBA PNG in sRGB, with as many bits per channel: quickly made, hardly compressed.

    Raises:
        ValueError: there are more or fewer bytes than the size says, or the bits per channel are not 8 or 16;
            a clause that goes on from the image's name.
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
    """A PNG in sRGB of bare samples.

    Args:
        channels: 1 for grey, 2 for grey with alpha, 3 for RGB, 4 for RGBA.
        bits: of each sample, 8 or 16.
        samples: rows from the top; with 16 bits the lower byte first.
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
    """Bits per channel, as the header says; 0 if it is no PNG."""
    return png[24] if png.startswith(PNG_SIGNATURE) and len(png) > 24 else 0


def is_transparent(png: bytes) -> bool:
    """Whether some of a PNG's pixels are not opaque, as far as its alpha's higher byte shows; needs Pillow.

    What cannot be decoded counts as opaque.
    """
    # Most have no channel for it, and need not be decoded.
    if not png.startswith(PNG_SIGNATURE) or len(png) < 26 or png[25] not in (4, 6):
        return False
    try:
        return opened(png).getchannel("A").getextrema() != (255, 255)
    except Exception:
        return False  # Pillow's decoders raise nearly every kind of exception for damaged files.


def pixels_alone(png: bytes) -> tuple[bytes, bytes | None]:
    """A PNG with no more than what its pixels are, and its colour profile.

    Imaging libraries refuse a picture for what else is in it: Pillow for a text or a profile that it finds
    too long, others for a wrong check sum of a comment.
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
    """The higher and the lower bytes of a PNG's samples, each as an image of 8 bits; needs Pillow.

    Of a PNG with 8 bits per channel both are its pixels: 255 is then 65,535, as it should be.

    Raises:
        Exception: of nearly every kind, where it is damaged.
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
        # Read as four channels of 8 bits, grey and alpha are two bytes each.
        grey, grey_low, alpha, alpha_low = opened(png, "RGBA", "RGBA").split()
        return Image.merge("LA", (grey, alpha)), Image.merge("LA", (grey_low, alpha_low))
    # Read as if the lower byte came first, the sample's higher one is the one that Pillow leaves out.
    return whole, opened(png, whole.mode, f"{whole.mode};16L")


def opened(png: bytes, mode: str = "", raw_mode: str = "") -> Image:
    """A PNG as a Pillow image; an image of 16-bit RGB has 8 bits there, for which Pillow has no mode.

    Args:
        mode, raw_mode: how Pillow is to read the pixels; its own choice if empty.

    Raises:
        Exception: of nearly every kind, where it is damaged.
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
    """The kind of each chunk, with where it begins and ends."""
    position = len(PNG_SIGNATURE)
    while position + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        end = position + length + 12
        yield kind, position, end
        position = end


def _profile(body: bytes) -> bytes | None:
    """The profile in a chunk iCCP; None if it cannot be read."""
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(body.partition(b"\0")[2][1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if profile and stream.eof else None


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
