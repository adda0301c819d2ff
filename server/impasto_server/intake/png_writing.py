"""Writes PNGs with text, profile and colour coding, and reads these back."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyvips

from impasto_server.intake.header import Data
from impasto_server.intake.png import SIGNATURE, chunks
from impasto_server.intake.strips import Samples

METADATA_KEY = "impasto"

ColourChunks = tuple[tuple[bytes, bytes], ...]
"""The type and the data of each chunk."""

_MOST_TEXT_BYTES = 2**20
_EFFORT = 6
"""Level of deflate, 0 to 9. Higher levels take several times as long and save only a few per cent."""


def write_png(
    out: BinaryIO,
    samples: Samples,
    *,
    text: str | None = None,
    profile: bytes | None = None,
    colour_chunks: ColourChunks = (),
) -> None:
    """Writes a PNG.

    Args:
        samples: (height, width, 3 or 4), uint8 or uint16.
        text: text of the entry `METADATA_KEY`.
        profile: ICC profile of the samples.
        colour_chunks: chunks that declare the colour coding, if there is no profile.
    """
    coded = vips_image(samples, None).pngsave_buffer(compression=_EFFORT, filter="all", keep="none")
    view = memoryview(coded)
    out.write(SIGNATURE)
    for kind, span in chunks(coded):
        if kind in (b"IHDR", b"IDAT", b"IEND"):
            out.write(view[span.start - 8 : span.end + 4])
        if kind == b"IHDR":
            for extra in _extra_chunks(text, profile, colour_chunks):
                out.write(_chunk(*extra))


def colour_chunks(data: Data) -> ColourChunks:
    """The chunks of a PNG, other than the profile, that declare its colour coding."""
    return tuple(
        (kind, bytes(data[span.start : span.end]))
        for kind, span in chunks(data)
        if kind in (b"cICP", b"gAMA", b"cHRM")
    )


def metadata_text(data: Data) -> str | None:
    """The text entry `METADATA_KEY` of a PNG; None if it has none, or one too long to be ours."""
    key = METADATA_KEY.encode()
    for kind, span in chunks(data):
        if kind not in (b"tEXt", b"iTXt") or span.end - span.start > _MOST_TEXT_BYTES:
            continue
        found, _, value = bytes(data[span.start : span.end]).partition(b"\0")
        if found != key:
            continue
        if kind == b"tEXt":
            return value.decode("latin-1")
        if value[:1] == b"\0":
            return value[2:].split(b"\0", 2)[-1].decode("utf-8", "replace")
    return None


def _extra_chunks(
    text: str | None, profile: bytes | None, colour: ColourChunks
) -> Iterator[tuple[bytes, bytes]]:
    if profile is not None:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)
    yield from colour
    if text is None:
        return
    key = METADATA_KEY.encode() + b"\0"
    try:
        yield b"tEXt", key + text.encode("latin-1")
    except UnicodeEncodeError:
        yield b"iTXt", key + b"\0\0\0\0" + text.encode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def vips_image(samples: Samples, profile: bytes | None) -> pyvips.Image:
    """A libvips image of R, G, B and perhaps A, tagged with the ICC profile if there is one."""
    height, width, bands = samples.shape
    deep = samples.dtype == np.uint16
    flat = np.ascontiguousarray(samples).data
    image = pyvips.Image.new_from_memory(flat, width, height, bands, "ushort" if deep else "uchar")
    image = image.copy(interpretation="rgb16" if deep else "srgb")
    if profile is not None:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return image
