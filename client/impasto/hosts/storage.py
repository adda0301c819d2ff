"""Where a host keeps what has to be there the next time: settings, the token, own styles, jobs under way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol

from impasto.files import write_whole


class Storage(Protocol):
    """Bytes by key. Keys are words of letters, digits, "-", "_" and "." with "/" between them."""

    def read(self, key: str) -> bytes | None:
        """What was written last; None if nothing was, or it cannot be read."""

    def write(self, key: str, data: bytes) -> None:
        """Keeps data.

        Raises:
            OSError: it cannot be kept.
        """

    def remove(self, key: str) -> None:
        """Forgets what is kept. Harmless if nothing is."""


class FolderStorage:
    """Files in a folder that only the user can read, as there may be a token in them.

    Args:
        folder: made when first written to, with mode 0700; its files with 0600.
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
    """What is kept as JSON; the default if there is nothing, or nothing of the default's type."""
    try:
        value = json.loads(storage.read(key) or b"")
    except ValueError:
        return default
    return value if isinstance(value, type(default)) else default


def write_json(storage: Storage, key: str, value: Any) -> None:
    """Keeps a value as JSON. A disk that is full must not stop the painting: what cannot be kept is not."""
    try:
        storage.write(key, json.dumps(value).encode())
    except OSError:
        return
