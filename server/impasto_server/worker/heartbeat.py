"""The heartbeat of a starting process: a file that says what the process is doing, and that it is alive."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from pathlib import Path

LENGTH = 128
"""Length of the file in bytes: a growing number, a space and the current step in words, in UTF-8, padded with
NUL."""
STEP_SECONDS = 600.0
"""Time in seconds after which a step counts as hung. Steps usually take seconds, minutes on a slow disk."""
_BEAT_SECONDS = 1.0


class Heartbeat:
    """Writes the file once a second, until `stop`.

    A file can be read before torch is imported, when the process cannot answer calls yet. The heartbeat stops
    when the process is stopped, when something holds Python's lock, and when a step takes too long.
    """

    def __init__(self, path: Path, step: str) -> None:
        """
        Args:
            path: path of the file.
            step: the current step, in words.
        """
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._numbers = itertools.count(1)
        self._stopped = threading.Event()
        self._step, self._until = "", 0.0
        self.enter(step)
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def enter(self, step: str, *, at_most: float = STEP_SECONDS) -> None:
        """Begins a step.

        Args:
            step: the step, in words.
            at_most: time in seconds after which it counts as hung.
        """
        self._step, self._until = step, time.monotonic() + at_most
        self._write()

    def stop(self) -> None:
        """Ends the heartbeat: the process has started and answers calls."""
        self._stopped.set()

    def _beat(self) -> None:
        while not self._stopped.wait(_BEAT_SECONDS):
            if time.monotonic() < self._until:
                self._write()

    def _write(self) -> None:
        text = f"{next(self._numbers)} {self._step}".encode()[:LENGTH].ljust(LENGTH, b"\0")
        # The disk may be full for a moment; then the next write counts.
        with contextlib.suppress(OSError):
            os.pwrite(self._file, text, 0)
