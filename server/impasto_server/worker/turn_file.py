"""Whose turn it is, on a file: what a process that was killed by its work leaves to be read."""

from __future__ import annotations

import os
from pathlib import Path

LENGTH = 256
"""Bytes of the file: the job's name in UTF-8, filled up with NUL; NUL alone while nobody has a turn."""


class TurnFile:
    """The file, for one writer. Readers see a whole name, whenever they look."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._written: bytes | None = None
        self.write("")

    def write(self, job_name: str) -> None:
        """Says whose turn it is; "" for nobody's."""
        name = job_name.encode()[:LENGTH].ljust(LENGTH, b"\0")
        if name != self._written:
            os.pwrite(self._file, name, 0)
            self._written = name
