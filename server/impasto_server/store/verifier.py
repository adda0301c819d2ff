"""Checks that stored files still have the bytes that they were stored with."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict
from pathlib import Path

from impasto_server.store.errors import storage_errors

# Within this time, a file may be changed again and still have the same time of change.
_CLOCK_TICK_SECONDS = 0.1

_REMEMBERED = 100_000
_CHUNK_BYTES = 1 << 20
_log = logging.getLogger(__name__)

_Look = tuple[int, int, int, int]
"""Values that change with a file's content: inode, size, and times of the last changes in nanoseconds."""


class Verifier:
    """Compares files with their digests. Reads a file again only if it has changed. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[_Look, str, bool]] = OrderedDict()

    def holds(self, path: Path, sha256: str) -> bool:
        """Whether a file exists and has this digest. Logs a damaged file, once.

        Raises:
            StoreError: it cannot be read.
        """
        with storage_errors(path):
            try:
                look = _look(path.stat())
            except FileNotFoundError:
                return False
        with self._lock:
            known = self._known.get(path)
        if known is not None and known[:2] == (look, sha256):
            return known[2]
        found = self._hash(path)
        if found is None:
            return False
        good = found == sha256
        if not good:
            _log.error("stored file is damaged path=%s", path)
        if not good or abs(time.time() - look[2] / 1e9) > _CLOCK_TICK_SECONDS:
            with self._lock:
                self._known[path] = look, sha256, good
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return good

    def _hash(self, path: Path) -> str | None:
        """The digest of a file; None if it no longer exists."""
        found = hashlib.sha256()
        with storage_errors(path):
            try:
                with path.open("rb") as file:
                    while data := file.read(_CHUNK_BYTES):
                        found.update(data)
            except FileNotFoundError:
                return None
        return found.hexdigest()


def _look(stat: os.stat_result) -> _Look:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
