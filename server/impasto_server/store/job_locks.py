"""The files of one job are changed by one thread at a time."""

from __future__ import annotations

import threading

_LOCKS = 64


class JobLocks:
    """A lock for the files of each job. Taken before the database is changed, never after."""

    def __init__(self) -> None:
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def of(self, name: str) -> threading.Lock:
        return self._locks[hash(name) % _LOCKS]
