"""Whether a worker that starts still gets on, by the file that it writes meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

START_SECONDS = 60.0
"""So long a worker that starts may give no sign of life; it gives one every second. Far longer, for importing
torch may keep Python's lock for some seconds, on a busy machine and from a slow disk for more."""
_LOOK_SECONDS = 1.0
_BYTES = 128


class StartWatch:
    """Looks at one worker's signs of life. `impasto_server.worker.heartbeat` writes them."""

    def __init__(self, path: Path, patience: float) -> None:
        """
        Args:
            path: of the file that the worker writes.
            patience: seconds without a sign of life after which it hangs; more than one.
        """
        self.path = path
        self._patience = patience

    def prepare(self) -> None:
        """Makes the file, with nothing in it.

        Raises:
            OSError: it cannot be written.
        """
        # As long as it will be, so that a disk that fills up later does not matter.
        self.path.write_bytes(bytes(_BYTES))

    @property
    def step(self) -> str:
        """What the worker says that it is at, in words."""
        _, _, step = self._read().rstrip(b"\0").decode(errors="replace").partition(" ")
        return step or "its first lines"

    async def until_hung(self) -> str:
        """Waits until the worker hangs.

        Returns:
            What is wrong, in words.
        """
        pause = min(_LOOK_SECONDS, self._patience / 8)
        # Counted by looks: that this process was stopped itself is not held against the worker.
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
