"""Unusual files that no library writes: PNGs made chunk by chunk, TIFFs tag by tag."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes, *, crc: int | None = None) -> bytes:
    """A chunk of a PNG; its CRC is right unless another one is given."""
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(
    samples: np.ndarray[Any, Any],
    color_type: int,
    *,
    before: bytes = b"",
    after: bytes = b"",
    depth: int | None = None,
    width: int | None = None,
) -> bytes:
    """A PNG of samples (height, width) or (height, width, channels), uint8 or uint16.

    Args:
        before, after: chunks before and after the pixels.
        depth, width: bits per sample and pixels per row, if several pixels share a byte.
    """
    depth = depth or 8 * samples.itemsize
    rows = samples.astype(f">u{samples.itemsize}").reshape(len(samples), -1)
    header = struct.pack(">IIBBBBB", width or samples.shape[1], len(samples), depth, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = chunk(b"IHDR", header) + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND", b"")
    return PNG_SIGNATURE + chunks


Entry = tuple[int, int, Sequence[int]]
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def tiff_directory(entries: Sequence[Entry], at: int, following: int = 0, order: str = "<") -> bytes:
    """A directory of tags (number, type, values) for an offset in the file."""
    out, extra = struct.pack(order + "H", len(entries)), b""
    tail = at + 2 + 12 * len(entries) + 4
    for tag, kind, values in sorted(entries):
        data = struct.pack(order + _TYPES[kind] * len(values), *values)
        if len(data) > 4:
            offset = tail + len(extra)
            extra += data + bytes(len(data) % 2)
            data = struct.pack(order + "I", offset)
        out += struct.pack(order + "HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    return out + struct.pack(order + "I", following) + extra


def tiff(
    samples: np.ndarray[Any, Any],
    photometric: int,
    *,
    bits: int | None = None,
    format: int = 1,
    separate: bool = False,
    order: str = "<",
    width: int | None = None,
    extra: Sequence[int] | None = None,
    more: Sequence[Entry] = (),
) -> bytes:
    """An uncompressed TIFF of samples (height, width) or (height, width, channels), one strip per plane.

    Args:
        bits, width: bits per sample and pixels per row, if several pixels share a byte.
        format: the tag SampleFormat: 1 unsigned, 2 signed, 3 floating point.
        separate: whether each channel has its own plane.
        extra: the tag ExtraSamples.
        more: tags that are added, or replace those that follow from the other arguments.
    """
    samples = samples.reshape(*samples.shape[:2], -1)
    channels = samples.shape[2]
    bits = bits or 8 * samples.itemsize
    ordered = samples.astype(samples.dtype.newbyteorder(order))
    planes = [ordered[..., i].tobytes() for i in range(channels)] if separate else [ordered.tobytes()]
    offsets = [8 + sum(map(len, planes[:i])) for i in range(len(planes))]
    entries: dict[int, Entry] = {
        entry[0]: entry
        for entry in (
            (256, 4, [width or samples.shape[1]]),
            (257, 4, [len(samples)]),
            (258, 3, [bits] * channels),
            (259, 3, [1]),
            (262, 3, [photometric]),
            (273, 4, offsets),
            (277, 3, [channels]),
            (278, 4, [len(samples)]),
            (279, 4, [len(plane) for plane in planes]),
            (284, 3, [2 if separate else 1]),
            (339, 3, [format] * channels),
            *(((338, 3, extra),) if extra is not None else ()),
            *more,
        )
    }
    at = 8 + sum(map(len, planes))
    signature = b"II*\0" if order == "<" else b"MM\0*"
    directory = tiff_directory(list(entries.values()), at, order=order)
    return signature + struct.pack(order + "I", at) + b"".join(planes) + directory
