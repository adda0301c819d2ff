"""Notes about processes in a folder: which programs use a server, and whether any of them still runs.

A note is a file whose name is the process's id. It contains what tells the process from a later one of that
id: it holds no longer than the process itself, however that ends. The note `stay` holds until it is removed.
The server itself notes in `ending` that it ends because of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from impasto.files import write_whole

STAY = "stay"
"""The name of the note that belongs to no process."""
ENDING = "ending"
"""The name of the note of a server that ends."""


class ProcessNotes:
    """The notes in a folder, which is made with the first of them and which only the user can read.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    def write(self, process: int) -> None:
        """Notes a process, which must be running.

        Raises:
            OSError: the note cannot be written.
        """
        self._write(str(process), told_apart(process) or "")

    def remove(self, process: int) -> None:
        """Removes the note of a process, if there is one."""
        self._path(str(process)).unlink(missing_ok=True)

    @property
    def stays(self) -> bool:
        """Whether the note is there that belongs to no process."""
        return self._path(STAY).exists()

    def stay(self, wanted: bool) -> None:
        """Writes or removes the note that belongs to no process.

        Raises:
            OSError: the note cannot be written.
        """
        if wanted:
            self._write(STAY, "")
        else:
            self._path(STAY).unlink(missing_ok=True)

    def any(self) -> bool:
        """Returns whether a note holds. Removes those that no longer do."""
        return bool(self.processes()) or self.stays

    def end_unless_used(self) -> bool:
        """Notes that this process, the server, ends; returns False if it must not, because a note holds.

        Whoever writes a note, then finds that the server is not `ending`, can rely on it: it looks again.
        """
        if self.any():
            return False
        try:
            self._write(ENDING, f"{os.getpid()} {told_apart(os.getpid())}")
        except OSError:
            # Whoever comes now finds a server that ends; but one that never ended would be worse.
            return True
        if self.any():
            self._path(ENDING).unlink(missing_ok=True)
            return False
        return True

    @property
    def ending(self) -> bool:
        """Whether the server has noted that it ends, and still runs."""
        try:
            process, _, noted = self._path(ENDING).read_text(encoding="utf-8").partition(" ")
        except OSError:
            return False
        return process.isdigit() and told_apart(int(process)) == noted

    def processes(self) -> list[int]:
        """Returns the processes that are noted and run. Removes the notes of the others."""
        found = []
        try:
            names = [path.name for path in self._folder.iterdir() if path.name.isdigit()]
        except FileNotFoundError:
            return []
        for name in names:
            try:
                noted = self._path(name).read_text(encoding="utf-8")
            except FileNotFoundError:
                continue
            if noted and told_apart(int(name)) == noted:
                found.append(int(name))
            else:
                self._path(name).unlink(missing_ok=True)
        return found

    def _write(self, name: str, text: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._path(name), text.encode(), mode=0o600)

    def _path(self, name: str) -> Path:
        return self._folder / name


def told_apart(process: int) -> str | None:
    """Returns what tells a running process from others that have had its id; None if it does not run.

    A process that has ended, and whose parent does not know it yet, does not run.
    """
    if sys.platform == "linux":
        try:
            # The name, in parentheses, may contain anything. After it come the state and, as 20th, the start.
            stat = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if stat[0] in "ZX" else f"started {stat[19]}"
    if sys.platform == "win32":
        return _told_apart_on_windows(process)
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(process)],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    state, _, started = done.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else f"started {' '.join(started.split())}"


def _told_apart_on_windows(process: int) -> str | None:
    # Not os.kill: on Windows it ends the process.
    import ctypes

    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009
    handle = kernel.OpenProcess(0x1000, False, process)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return None
    try:
        times = [ctypes.c_ulonglong() for _ in range(4)]  # created, ended, in the kernel, in the program
        if not kernel.GetProcessTimes(handle, *(ctypes.byref(time) for time in times)):
            return None
        return None if times[1].value else f"started {times[0].value}"
    finally:
        kernel.CloseHandle(handle)
