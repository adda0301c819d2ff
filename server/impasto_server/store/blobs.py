"""Files that exist whole or not at all, and images addressed by their content."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

from impasto_server.store.errors import StoreError, storage_errors

_PIECE_BYTES = 256 << 10
_log = logging.getLogger(__name__)


class NewFile:
    """A file that is written under a temporary name and gets its final name once it is whole.

    As a context manager, it is discarded at the end unless it was published. An error while writing discards
    it at once.
    """

    def __init__(
        self, temporary: Path, writing: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Creates the temporary file.

        Args:
            temporary: the folder for temporary files, on the file system of the file's final place.
            writing: entered for each piece that is written; may refuse it with a `StoreError`.

        Raises:
            StoreError: the file cannot be created.
        """
        self._writing = writing
        with writing(), storage_errors(temporary):
            self._descriptor, name = tempfile.mkstemp(suffix=".tmp", dir=temporary)
        self._path = Path(name)
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """Appends data.

        Raises:
            StoreError: it cannot be written; `DiskFull` if there is no room.
        """
        if self._descriptor < 0:
            raise StoreError("the file was closed after an error or a flush; write it again from the start")
        try:
            for piece in pieces(data):
                with self._writing(), storage_errors(self._path):
                    write_all(self._descriptor, piece)
        except StoreError:
            self.discard()
            raise
        self.size_bytes += len(data)

    def copy(self, source: BinaryIO) -> None:
        """Appends the whole of another file.

        Raises:
            StoreError: it cannot be written; `DiskFull` if there is no room.
        """
        source.seek(0)
        while piece := source.read(_PIECE_BYTES):
            self.write(piece)

    def flush(self) -> None:
        """Flushes the file to the disk; nothing can be written afterwards.

        Raises:
            StoreError: it cannot be flushed.
        """
        if self._descriptor < 0:
            raise StoreError("the file was closed after an error or a flush; write it again from the start")
        try:
            with storage_errors(self._path):
                os.fsync(self._descriptor)
        except StoreError:
            self.discard()
            raise
        self._close()

    def publish(self, path: Path) -> None:
        """Moves the flushed file to its final place, durably, in place of any file there.

        Raises:
            StoreError: it cannot be moved.
        """
        assert self._descriptor < 0, "flush the file first"
        with storage_errors(path):
            os.replace(self._path, path)
            sync_folder(path.parent)

    def discard(self) -> None:
        """Removes the temporary file, or leaves it for the next opening. Does nothing after `publish`."""
        self._close()
        remove_file(self._path)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            # Everything that must be durable was flushed before.
            with contextlib.suppress(OSError):
                os.close(descriptor)


class Blobs:
    """A folder of files named after the SHA-256 of their content, 64 hexadecimal digits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """The path of a digest's file, which may not exist. The digest must be a valid one."""
        return self._folder / sha256

    def has(self, sha256: str) -> bool:
        """Whether the file of a digest exists.

        Raises:
            StoreError: the disk cannot be read.
        """
        return file_size(self.path(sha256)) is not None


def digest(data: bytes) -> str:
    """SHA-256 of data, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_digest(file: BinaryIO) -> str:
    """SHA-256 of a file from its current position, 64 lower-case hexadecimal digits."""
    found = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        found.update(piece)
    return found.hexdigest()


def make_folder(path: Path) -> None:
    """Creates a folder that only this user can read, durably, if it does not exist.

    Raises:
        StoreError: it cannot be created.
    """
    with storage_errors(path):
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flushes the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def pieces(data: bytes) -> Iterator[memoryview]:
    """The data in pieces that are small enough to write quickly."""
    view = memoryview(data)
    for offset in range(0, len(view), _PIECE_BYTES):
        yield view[offset : offset + _PIECE_BYTES]


def file_size(path: Path) -> int | None:
    """Length of a file in bytes; None if there is no file.

    Raises:
        StoreError: the disk cannot be read.
    """
    with storage_errors(path):
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None


def remove_file(path: Path) -> None:
    """Removes a file that no row names, if it exists. If that fails, the next opening removes it."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("file not removed path=%s reason=%s", path, error.strerror)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
