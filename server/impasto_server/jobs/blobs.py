"""Files that are whole or not there at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp"
"""Ending of the names of files that are not whole yet."""


class WholeFile:
    """A file that gets its name once it is whole and on the disk: `commit` it, or `abort`."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            OSError: no file can be made there.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=TEMPORARY)
        self._temporary = Path(name)
        self._file: BinaryIO | None = os.fdopen(number, "wb")
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)
        self.size_bytes += len(data)

    def commit(self) -> None:
        """
        Raises:
            OSError: it cannot be written; nothing is left of it, and what had its name still has.
        """
        assert self._file is not None
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._path)
            sync_folder(self._path.parent)
        except BaseException:
            self.abort()
            raise
        self._file = None

    def abort(self) -> None:
        """Leaves nothing behind. Harmless after `commit`, or again."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)
            self._file = None


def write_whole(path: Path, data: bytes) -> None:
    """
    Raises:
        OSError: it cannot be written; what was there still is.
    """
    file = WholeFile(path)
    try:
        file.write(data)
        file.commit()
    except BaseException:
        file.abort()
        raise


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder outlive a power cut."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def leftovers(folder: Path) -> Iterator[Path]:
    """Files that a process which died had not made whole."""
    yield from folder.rglob(f"*{TEMPORARY}")
