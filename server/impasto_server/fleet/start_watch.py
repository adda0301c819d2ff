"""Detects a worker that hangs while it starts, by a file that it writes regularly."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

START_SECONDS = 60.0
"""Maximum time without a sign of life while a worker starts. It gives one every second, but importing torch
can hold Python's lock for seconds, and longer on a busy machine with a slow disk."""
_LOOK_SECONDS = 1.0
_BYTES = 128


class StartWatch:
    """Checks the signs of life of one worker, which `impasto_server.worker.heartbeat` writes."""

    def __init__(self, path: Path, patience: float) -> None:
        """
        Args:
            path: the file that the worker writes.
            patience: seconds without a sign of life after which the worker counts as hung; more than 1.
        """
        self.path = path
        self._patience = patience

    def prepare(self) -> None:
        """Makes the empty file.

        Raises:
            OSError: the file cannot be written.
        """
        # The file has its full length from the start, so that it can be written even if the disk fills up.
        self.path.write_bytes(bytes(_BYTES))

    @property
    def step(self) -> str:
        """The step of the start that the worker reports, in words."""
        _, _, step = self._read().rstrip(b"\0").decode(errors="replace").partition(" ")
        return step or "its first lines"

    async def until_hung(self) -> str:
        """Waits until the worker counts as hung.

        Returns:
            A description of the fault.
        """
        pause = min(_LOOK_SECONDS, self._patience / 8)
        # Counted in pauses, not by the clock: the worker is not blamed if this process itself was stopped.
        silence, last = 0.0, self._read()
        while silence < self._patience:
            await asyncio.sleep(pause)
            silence += pause
            if (seen := self._read()) != last:
                silence, last = 0.0, seen
        return f"no sign of life for {self._patience:g} s while it started, at {self.step}"

    def _read(self) -> bytes:
        with contextlib.suppress(OSError):
            return self.path.read_bytes()
        return b""
