"""Space reserved on the disk, so that jobs can still be cancelled and deleted when the disk is full."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from impasto_server.store.blobs import write_all
from impasto_server.store.errors import DiskFull, disk_full

RESERVE_BYTES = 2 << 20

_SLICE_BYTES = 512 << 10

T = TypeVar("T")


class Reserve:
    """A file that is given up slice by slice, for changes that free space.

    No other change is made until the file is whole again: otherwise frequent writes, above all checkpoints,
    would take the space that was given up.
    """

    def __init__(self, path: Path) -> None:
        """Uses the existing file, if any; `restore` makes it whole."""
        self._path = path
        self._lock = threading.Lock()
        self._size = 0
        with contextlib.suppress(OSError):
            self._size = min(path.stat().st_size, RESERVE_BYTES)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keeps the reserve unchanged while a piece of a file is written.

        Raises:
            DiskFull: the reserve is not whole, and cannot be restored.
        """
        with self._lock:
            self._require()
            yield

    def require(self) -> None:
        """Makes sure that the reserve is whole.

        Raises:
            DiskFull: the reserve is not whole, and cannot be restored.
        """
        if self._size < RESERVE_BYTES:
            with self._lock:
                self._require()

    def restore(self) -> bool:
        """Makes the reserve whole if there is space. Returns whether it is whole."""
        if self._size >= RESERVE_BYTES:
            return True
        with self._lock:
            return self._size >= RESERVE_BYTES or self._fill()

    def freeing(self, change: Callable[[], T], recycle: Callable[[], None] | None = None) -> T:
        """Makes a change that frees space or a device, with the space of the reserve if the disk is full.

        Args:
            change: may be called several times; must do nothing if it raises `DiskFull`.
            recycle: called first; may make space without using the reserve.

        Raises:
            DiskFull: there is no space even so.
        """
        try:
            return change()
        except DiskFull:
            if recycle is not None:
                recycle()
        while True:
            try:
                return change()
            except DiskFull:
                if not self._give_up_slice():
                    raise

    def _require(self) -> None:
        if self._size < RESERVE_BYTES and not self._fill():
            raise disk_full(self._path.parent)

    def _give_up_slice(self) -> bool:
        with self._lock:
            if self._size <= 0:
                return False
            size = max(0, self._size - _SLICE_BYTES)
            try:
                os.truncate(self._path, size)
            except FileNotFoundError:
                pass
            except OSError:
                return False
            self._size = size
            return True

    def _fill(self) -> bool:
        missing = RESERVE_BYTES - self._size
        try:
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < missing:
                return False
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            return False
        try:
            os.ftruncate(descriptor, self._size)
            # Random bytes, so that no file system can compress them.
            write_all(descriptor, os.urandom(missing))
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._size)
            return False
        finally:
            os.close(descriptor)
        self._size = RESERVE_BYTES
        return True
