"""Uploads that are not whole yet: one file for each, which may be gone on with after any break."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from impasto_server.store.blobs import digest, make_folder, write_all
from impasto_server.store.errors import storage_errors

_LOCKS = 64


class Part:
    """What has come of an upload. It is not flushed: its digest tells in the end whether it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def size_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, data: bytes) -> None:
        """Appends all of the data, or nothing.

        Raises:
            StoreError: it cannot be written; `DiskFull` if there is no room.
        """
        make_folder(self._path.parent)
        with storage_errors(self._path):
            before = self.size_bytes
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                write_all(descriptor, data)
            except OSError:
                os.ftruncate(descriptor, before)
                if not before:
                    self.forget()
                raise
            finally:
                os.close(descriptor)

    def read(self) -> bytes:
        with storage_errors(self._path):
            return self._path.read_bytes()

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


class Uploads:
    """A folder of parts, those of one tenant in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    @contextmanager
    def part(self, tenant: str, sha256: str, size_bytes: int) -> Iterator[Part]:
        """The part of an upload, for this thread alone. Other sizes are other uploads."""
        path = self._tenant_folder(tenant) / f"{digest(f'{sha256} {size_bytes}'.encode())}.part"
        with self._lock(path):
            yield Part(path)

    def stored_bytes(self, tenant: str) -> int:
        return sum(_size(path) for path in self._tenant_folder(tenant).glob("*.part"))

    def all_stored_bytes(self) -> int:
        return sum(_size(path) for path in self._folder.glob("*/*.part"))

    def forget_older(self, time: float) -> None:
        """Forgets uploads that nothing came for since a time, seconds since the epoch."""
        for path in self._folder.glob("*/*.part"):
            with self._lock(path):
                if path.exists() and path.stat().st_mtime < time:
                    path.unlink()

    def _tenant_folder(self, tenant: str) -> Path:
        return self._folder / digest(tenant.encode())

    def _lock(self, path: Path) -> threading.Lock:
        return self._locks[hash(path) % _LOCKS]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
