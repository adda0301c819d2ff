"""Storage of a host: settings, the token, own styles, unfinished jobs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol

from impasto.files import write_whole


class Storage(Protocol):
    """Bytes by key. Keys are words of letters, digits, "-", "_" and "." with "/" between them."""

    def read(self, key: str) -> bytes | None:
        """Returns what was written last; None if there is nothing, or it cannot be read."""

    def write(self, key: str, data: bytes) -> None:
        """Stores data.

        Raises:
            OSError: it cannot be stored.
        """

    def remove(self, key: str) -> None:
        """Removes what is stored, if anything is."""


class FolderStorage:
    """Files in a folder that only the user can read: there may be a token in them.

    Args:
        folder: the folder. It is made at the first write, with mode 0700; its files have mode 0600.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    def read(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except OSError:
            return None

    def write(self, key: str, data: bytes) -> None:
        path = self._path(key)
        for folder in (self._folder, path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, data, mode=0o600)

    def remove(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder.joinpath(*key.split("/"))


def read_json(storage: Storage, key: str, default: Any) -> Any:
    """Return what is stored as JSON; the default if there is nothing of the default's type."""
    try:
        value = json.loads(storage.read(key) or b"")
    except ValueError:
        return default
    return value if isinstance(value, type(default)) else default


def write_json(storage: Storage, key: str, value: Any) -> None:
    """Store a value as JSON. Ignores errors: a full disk must not stop the painting."""
    try:
        storage.write(key, json.dumps(value).encode())
    except OSError:
        return
