"""Signs of life of a process that starts: what it is at, on a file, and that it still is."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from pathlib import Path

LENGTH = 128
"""Bytes of the file: a number that grows, a blank and in words what the process is at, in UTF-8, filled up
with NUL."""
STEP_SECONDS = 600.0
"""A step that takes longer hangs; any takes seconds as a rule, on a slow disk minutes."""
_BEAT_SECONDS = 1.0


class Heartbeat:
    """Writes the file once a second, until `stop`. Reading it needs no answer, which would need torch.

    It stands still when the process is stopped, when something keeps Python's lock, and when one step takes
    too long.
    """

    def __init__(self, path: Path, step: str) -> None:
        """
        Args:
            path: of the file.
            step: what the process is at.
        """
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._numbers = itertools.count(1)
        self._stopped = threading.Event()
        self._step, self._until = "", 0.0
        self.enter(step)
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def enter(self, step: str, *, at_most: float = STEP_SECONDS) -> None:
        """Says what the process is at from now on.

        Args:
            step: in words.
            at_most: seconds after which it counts as hung.
        """
        self._step, self._until = step, time.monotonic() + at_most
        self._write()

    def stop(self) -> None:
        """Ends it: the process has started, and answers calls."""
        self._stopped.set()

    def _beat(self) -> None:
        while not self._stopped.wait(_BEAT_SECONDS):
            if time.monotonic() < self._until:
                self._write()

    def _write(self) -> None:
        text = f"{next(self._numbers)} {self._step}".encode()[:LENGTH].ljust(LENGTH, b"\0")
        # A disk may be full for a moment: then the next one counts.
        with contextlib.suppress(OSError):
            os.pwrite(self._file, text, 0)
