"""A file with the name of the job that has the device, which can be read after the process was killed."""

from __future__ import annotations

import os
from pathlib import Path

LENGTH = 256
"""Length of the file in bytes: the job's name in UTF-8, padded with NUL; only NUL while no job has a turn."""


class TurnFile:
    """The file, for one writer. Readers always see a complete name."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._written: bytes | None = None
        self.write("")

    def write(self, job_name: str) -> None:
        """Writes the name of the job that has a turn; "" for none."""
        name = job_name.encode()[:LENGTH].ljust(LENGTH, b"\0")
        if name != self._written:
            os.pwrite(self._file, name, 0)
            self._written = name
