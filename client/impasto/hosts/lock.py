"""A lock that several processes share, so that none overwrites what another one has just stored."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PATIENCE = 1.0
"""Longest wait for the lock, in seconds: the host's main thread waits for it."""
MEMORY = 60.0
"""Time in seconds for which the lock is not waited for again after a wait in vain."""
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class FileLock:
    """A lock as a file, which ends with the process that holds it. For one thread at a time; nests.

    It is a help, not a condition: where it cannot be had, because a process that holds it hangs or the
    folder cannot be written, the work is done without it.

    Args:
        path: the file, in a folder that exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.RLock()
        self._depth = 0
        self._descriptor: int | None = None
        self._tired_until = 0.0

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Holds the lock if it can be had in time, and tells whether it is held."""
        if not self._threads.acquire(timeout=PATIENCE):
            yield False
            return
        try:
            if not self._depth:
                self._descriptor = self._acquire()
            self._depth += 1
            try:
                yield self._descriptor is not None
            finally:
                self._depth -= 1
                if not self._depth and self._descriptor is not None:
                    # This releases it.
                    os.close(self._descriptor)
                    self._descriptor = None
        finally:
            self._threads.release()

    def _acquire(self) -> int | None:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return None
        now = time.monotonic()
        deadline = now if now < self._tired_until else now + PATIENCE
        while True:
            try:
                _take(descriptor)
            except OSError as error:
                if error.errno in _HELD and time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
                if error.errno in _HELD:
                    self._tired_until = time.monotonic() + MEMORY
                os.close(descriptor)
                return None
            self._tired_until = 0.0
            return descriptor


def _take(descriptor: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
