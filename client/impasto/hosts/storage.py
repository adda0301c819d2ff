"""Storage of a host: settings, the token, own styles, unfinished jobs."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from impasto.files import on_disk, write_whole
from impasto.hosts.lock import FileLock


class Storage(Protocol):
    """Bytes by key. Keys are words of letters, digits, "-", "_" and "." with "/" between them."""

    def read(self, key: str) -> bytes | None:
        """Returns what was written last; None if there is nothing, or it cannot be read."""

    def write(self, key: str, data: bytes) -> None:
        """Stores data. What is there and cannot be read is kept beside it.

        Raises:
            OSError: it cannot be stored.
        """

    def remove(self, key: str) -> None:
        """Removes what is stored, if anything is and it can be removed."""

    def locked(self) -> AbstractContextManager[None]:
        """Keeps other processes from changing what is stored, between a reading and a writing.

        It never fails, and waits only for a moment: where there is no such lock, it does nothing.
        """


class FolderStorage:
    """Files in a folder that only the user can read: there may be a token in them.

    Args:
        folder: the folder. It is made at the first change, with mode 0700; its files have mode 0600.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(on_disk(folder))
        self._lock = FileLock(self._folder / "lock")
        self._unreadable: set[str] = set()

    def read(self, key: str) -> bytes | None:
        try:
            data = self._path(key).read_bytes()
        except OSError as error:
            if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                self._unreadable.discard(key)
            else:
                self._unreadable.add(key)
            return None
        self._unreadable.discard(key)
        return data

    def write(self, key: str, data: bytes) -> None:
        path = self._path(key)
        for folder in (self._folder, path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if key in self._unreadable:
            os.replace(path, self._path(aside(key)))
            self._unreadable.discard(key)
        write_whole(path, data, mode=0o600)

    def remove(self, key: str) -> None:
        with contextlib.suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock.held():
            yield

    def _path(self, key: str) -> Path:
        return self._folder.joinpath(*key.split("/"))


class Lasting:
    """A storage whose writing never fails: what cannot be written is remembered until the host ends.

    A full disk, or one that can no longer be written, must not stop a painting, nor bring back in the same
    session what was changed.

    Args:
        storage: where it is stored if possible.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        # By key: what is stored instead, and what is to be; None for nothing.
        self._waiting: dict[str, tuple[bytes | None, bytes | None]] = {}

    def read(self, key: str) -> bytes | None:
        stored = self._storage.read(key)
        if key in self._waiting:
            before, wanted = self._waiting[key]
            if stored == before:
                return wanted
            # Another process could write.
            del self._waiting[key]
        return stored

    def write(self, key: str, data: bytes) -> None:
        try:
            self._storage.write(key, data)
        except OSError:
            self._waiting[key] = self._storage.read(key), data
            return
        self._waiting.pop(key, None)
        self._catch_up()

    def remove(self, key: str) -> None:
        with contextlib.suppress(OSError):
            self._storage.remove(key)
        self._waiting.pop(key, None)
        stored = self._storage.read(key)
        if stored is not None:
            self._waiting[key] = stored, None

    def locked(self) -> AbstractContextManager[None]:
        return self._storage.locked()

    def _catch_up(self) -> None:
        """Stores what could not be stored earlier."""
        for key, (before, wanted) in list(self._waiting.items()):
            try:
                if self._storage.read(key) == before:
                    if wanted is not None:
                        self._storage.write(key, wanted)
                    else:
                        self._storage.remove(key)
                        if self._storage.read(key) is not None:
                            continue
            except OSError:
                return
            del self._waiting[key]


def aside(key: str) -> str:
    """Return the key under which something is kept that cannot be read: "presets.damaged.json"."""
    path, dot, kind = key.rpartition(".")
    return f"{path}.damaged.{kind}" if dot else f"{key}.damaged"


def read_json(storage: Storage, key: str, default: Any) -> Any:
    """Return what is stored as JSON; the default if there is nothing of the default's type.

    Something else that is there is kept under the key `aside` as well: the next change replaces it.
    """
    data = storage.read(key)
    if data is None:
        return default
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, type(default)):
        return value
    if data and storage.read(aside(key)) != data:
        with contextlib.suppress(OSError):
            storage.write(aside(key), data)
    return default


def write_json(storage: Storage, key: str, value: Any) -> None:
    """Store a value as JSON. Ignores errors: a full disk must not stop the painting."""
    try:
        storage.write(key, json.dumps(value).encode())
    except OSError:
        return
