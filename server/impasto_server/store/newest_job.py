"""The number of the newest job that was acknowledged, kept beside the database that has the job."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from impasto_server.store.blobs import NewFile, write_all

_DIGITS = 20
_log = logging.getLogger(__name__)


class NewestJob:
    """A file with a number that only grows. A database without that job has lost it. For any thread.

    The file is not flushed for each job: a power failure may leave it behind the database, but never ahead.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file; writes nothing."""
        self._path = path
        self._lock = threading.Lock()
        try:
            self.number = int(path.read_text())
        except (OSError, ValueError):
            self.number = 0

    def begin(self, number: int, temporary: Path) -> None:
        """Sets the number to that of the database, durably.

        Raises:
            StoreError: it cannot be written.
        """
        with NewFile(temporary) as file:
            file.write(_text(number))
            file.flush()
            file.publish(self._path)
        self.number = number

    def note(self, number: int) -> None:
        """Writes the number of a stored job. If that fails, the loss of the job would not be noticed."""
        with self._lock:
            if number <= self.number:
                return
            self.number = number
            try:
                # In place, which needs no space on a full disk.
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
                try:
                    write_all(descriptor, _text(number))
                finally:
                    os.close(descriptor)
            except OSError as error:
                _log.warning(
                    "number of the newest job not written path=%s reason=%s", self._path, error.strerror
                )


def _text(number: int) -> bytes:
    return f"{number:0{_DIGITS}d}".encode()
