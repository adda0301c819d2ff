"""Facts about a TIFF's first picture, read without Pillow, which cannot open most 16-bit TIFFs."""

from __future__ import annotations

import struct

SIGNATURES = (b"II*\0", b"MM\0*")
_BITS_PER_SAMPLE, _IMAGE_DESCRIPTION = 258, 270
_ASCII, _SHORT = 2, 3


def description(tiff: bytes, longest: int) -> str | None:
    """Return the image description; None if there is none, or if it is not complete and in UTF-8.

    Args:
        longest: longest description in bytes; a longer one is ignored.
    """
    data = _values(tiff, _IMAGE_DESCRIPTION, _ASCII, 1, longest)
    try:
        return None if data is None else data.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError:
        return None


def depth(tiff: bytes) -> int:
    """Return the bits per channel of the first channel; 0 if unknown."""
    data = _values(tiff, _BITS_PER_SAMPLE, _SHORT, 2, 1024)
    return int.from_bytes(data[:2], "little" if tiff.startswith(b"II") else "big") if data else 0


def _values(tiff: bytes, wanted: int, kind: int, size: int, longest: int) -> bytes | None:
    """A tag's values as bytes of the file; None if they have another type, are too long, or are incomplete.

    Args:
        wanted: the tag.
        kind: the type of the values.
        size: size of one value in bytes.
        longest: largest size of all values in bytes.
    """
    if not tiff.startswith(SIGNATURES):
        return None
    order = "<" if tiff.startswith(b"II") else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, found, values = struct.unpack_from(f"{order}HHI", tiff, entry)
            if tag != wanted:
                continue
            length = size * values
            if found != kind or not 0 < length <= longest:
                return None
            # Values of at most four bytes are in the entry itself.
            at = entry + 8 if length <= 4 else struct.unpack_from(f"{order}I", tiff, entry + 8)[0]
            data = tiff[at : at + length]
            return data if len(data) == length else None
    except struct.error:
        return None  # The file is incomplete.
    return None
