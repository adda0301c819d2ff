"""The only part of EXIF that matters here: the orientation."""

from __future__ import annotations

import struct

_ORIENTATION, _SHORT = 0x0112, 3
_MOST_ENTRIES = 4096


def orientation(block: bytes) -> int:
    """The orientation, 1 to 8, of an EXIF block with or without its "Exif" signature.

    A broken block gives 1: it is no reason to refuse a good picture.
    """
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 1
    try:
        position: int = struct.unpack_from(f"{order}I", block, 4)[0]
        entries: int = struct.unpack_from(f"{order}H", block, position)[0]
        for entry in range(min(entries, _MOST_ENTRIES)):
            tag, kind, count, value = struct.unpack_from(f"{order}HHIH", block, position + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and count == 1 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
