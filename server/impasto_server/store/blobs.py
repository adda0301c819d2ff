"""Files that are there whole or not at all, and images addressed by their content."""

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
    """A file being written under a temporary name; it appears at its place once it is whole.

    Used as a context manager it is discarded at the end unless it was published. After an error of
    writing it is discarded already.
    """

    def __init__(
        self, temporary: Path, writing: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Begins a file in the folder for temporary ones, on the file system of its later place.

        Args:
            temporary: the folder.
            writing: entered for each piece that is written; may refuse it by a `StoreError`.

        Raises:
            StoreError: it cannot be made.
        """
        self._writing = writing
        with writing(), storage_errors(temporary):
            self._descriptor, name = tempfile.mkstemp(suffix=".tmp", dir=temporary)
        self._path = Path(name)
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """Appends.

        Raises:
            StoreError: it cannot be written; `DiskFull` if there is no room.
        """
        if self._descriptor < 0:
            raise StoreError("the file is not being written any more; begin it anew")
        try:
            for piece in pieces(data):
                with self._writing(), storage_errors(self._path):
                    write_all(self._descriptor, piece)
        except StoreError:
            self.discard()
            raise
        self.size_bytes += len(data)

    def copy(self, source: BinaryIO) -> None:
        """Appends all of another file, from its beginning.

        Raises:
            StoreError: it cannot be written; `DiskFull` if there is no room.
        """
        source.seek(0)
        while piece := source.read(_PIECE_BYTES):
            self.write(piece)

    def flush(self) -> None:
        """Makes what was written durable; nothing can be written any more.

        Raises:
            StoreError: it cannot be made so.
        """
        if self._descriptor < 0:
            raise StoreError("the file is not being written any more; begin it anew")
        try:
            with storage_errors(self._path):
                os.fsync(self._descriptor)
        except StoreError:
            self.discard()
            raise
        self._close()

    def publish(self, path: Path) -> None:
        """Puts the flushed file in its place, durably; replaces what is there.

        Raises:
            StoreError: it cannot be put there.
        """
        assert self._descriptor < 0, "to be flushed first"
        with storage_errors(path):
            os.replace(self._path, path)
            sync_folder(path.parent)

    def discard(self) -> None:
        """Forgets it; harmless once it is published. What cannot be removed, the next opening removes."""
        self._close()
        remove_file(self._path)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            # What was to be durable is flushed by now.
            with contextlib.suppress(OSError):
                os.close(descriptor)


class Blobs:
    """A folder of files named after the SHA-256 of their content, 64 hexadecimal digits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Where the file of a digest is, if it is there. Only for digests that are known to be ones."""
        return self._folder / sha256

    def has(self, sha256: str) -> bool:
        """Whether there is the file of a digest.

        Raises:
            StoreError: it cannot be looked for.
        """
        return file_size(self.path(sha256)) is not None


def digest(data: bytes) -> str:
    """SHA-256, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_digest(file: BinaryIO) -> str:
    """SHA-256 of a file from where it stands, 64 lower-case hexadecimal digits."""
    found = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        found.update(piece)
    return found.hexdigest()


def make_folder(path: Path) -> None:
    """Makes a folder for this user alone, durably, if it is not there.

    Raises:
        StoreError: it cannot be made.
    """
    with storage_errors(path):
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def pieces(data: bytes) -> Iterator[memoryview]:
    """The data in pieces that are written in no time."""
    view = memoryview(data)
    for offset in range(0, len(view), _PIECE_BYTES):
        yield view[offset : offset + _PIECE_BYTES]


def file_size(path: Path) -> int | None:
    """Length of a file in bytes; None if there is none.

    Raises:
        StoreError: it cannot be looked for.
    """
    with storage_errors(path):
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None


def remove_file(path: Path) -> None:
    """Removes a file that no row names, if it is there. What cannot be removed, the next opening removes."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("file not removed path=%s reason=%s", path, error.strerror)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
