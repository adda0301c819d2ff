"""Detects damage to the database's write-ahead log: SQLite silently drops all commits after it.

The format is that of https://sqlite.org/fileformat2.html#walformat.
"""

from __future__ import annotations

import dataclasses
import struct
import sys
from array import array
from pathlib import Path
from typing import BinaryIO

from impasto_server.store.errors import storage_errors

_HEADER = struct.Struct(">IIII8sII")
"""Magic number, version, page size, number of the log, salts, checksum."""

_FRAME = struct.Struct(">II8sII")
"""Page, size of the database if the frame is a commit, salts, checksum."""

_MAGIC = 0x377F0682
_VERSION = 3007000

_Checksum = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class LogDamage:
    """The part of a log that cannot be read.

    Attributes:
        frame: number of the first damaged frame, from 0.
        commits: number of commits from there on, as far as they can still be recognized.
    """

    frame: int
    commits: int


def log_damage(log: Path) -> LogDamage | None:
    """Looks for commits that SQLite will not read. Returns None if there are none. Writes nothing.

    A power failure that tears the end of a log before it is durable looks like damage. A truncated log looks
    like a shorter one, and is not noticed here.

    Raises:
        StoreError: the log cannot be read.
    """
    with storage_errors(log):
        try:
            file = log.open("rb")
        except FileNotFoundError:
            return None
        with file:
            return _look_for_damage(file)


def _look_for_damage(file: BinaryIO) -> LogDamage | None:
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    magic, version, page_bytes, _, salts, *stored = _HEADER.unpack(head)
    little_endian = magic == _MAGIC
    total = _checksum((0, 0), head[:24], little_endian)
    is_good = magic | 1 == _MAGIC | 1 and version == _VERSION and total == tuple(stored)
    if not 512 <= page_bytes <= 65536 or page_bytes & (page_bytes - 1):
        is_good, page_bytes = False, 4096
    first_bad = None if is_good else 0
    commits = number = 0
    # An incomplete frame at the end was just being written, or did not fit on a full disk.
    while len(frame := file.read(_FRAME.size + page_bytes)) == _FRAME.size + page_bytes:
        page, database_pages, frame_salts, *stored = _FRAME.unpack_from(frame)
        # Frames with other salts are left over from before the log was restarted.
        is_of_log = page != 0 and (frame_salts == salts or not is_good)
        if first_bad is None:
            total = _checksum(total, frame[:8], little_endian)
            total = _checksum(total, memoryview(frame)[_FRAME.size :], little_endian)
            if not is_of_log or total != tuple(stored):
                first_bad = number
        if first_bad is not None and is_of_log and database_pages:
            commits += 1
        number += 1
    return LogDamage(first_bad, commits) if first_bad is not None and commits else None


def _checksum(before: _Checksum, data: bytes | memoryview, little_endian: bool) -> _Checksum:
    """Continues SQLite's checksum `before` with data, whose length must be a multiple of 8."""
    words = array("I")
    words.frombytes(data)
    if little_endian != (sys.byteorder == "little"):
        words.byteswap()
    first, second = before
    for index in range(0, len(words), 2):
        first = (first + words[index] + second) & 0xFFFFFFFF
        second = (second + words[index + 1] + first) & 0xFFFFFFFF
    return first, second
