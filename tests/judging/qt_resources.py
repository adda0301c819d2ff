"""Reads the resource files of Qt programs (`.rcc`)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_DIRECTORY, _ZLIB, _ZSTD = 2, 1, 4


def qt_resources(file: bytes) -> dict[str, bytes]:
    """Returns the files in a resource file, by path.

    Raises:
        ValueError: it is not a resource file, or a file in it is compressed with Zstandard.
    """
    if file[:4] != b"qres":
        raise ValueError("not a Qt resource file")
    version, tree, data, names = struct.unpack_from(">4I", file, 4)
    entry_length = 22 if version >= 2 else 14

    def walk(index: int, folder: str) -> Iterator[tuple[str, bytes]]:
        entry = tree + index * entry_length
        name_at, flags = struct.unpack_from(">IH", file, entry)
        path = f"{folder}/{_name(file, names + name_at)}" if index else ""
        if flags & _DIRECTORY:
            count, first = struct.unpack_from(">II", file, entry + 6)
            for child in range(first, first + count):
                yield from walk(child, path)
            return
        (start,) = struct.unpack_from(">I", file, entry + 10)
        (length,) = struct.unpack_from(">I", file, data + start)
        content = file[data + start + 4 : data + start + 4 + length]
        if flags & _ZSTD:
            raise ValueError(f"{path} is compressed with Zstandard")
        yield path, zlib.decompress(content[4:]) if flags & _ZLIB else content

    return dict(walk(0, ""))


def _name(file: bytes, at: int) -> str:
    (length,) = struct.unpack_from(">H", file, at)
    return file[at + 6 : at + 6 + 2 * length].decode("utf-16-be")
