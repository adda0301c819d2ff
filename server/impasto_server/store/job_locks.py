"""Locks, so that only one thread at a time changes the files of a job."""

from __future__ import annotations

import threading

_LOCKS = 64


class JobLocks:
    """A lock for the files of each job. Take it before a transaction, never within one."""

    def __init__(self) -> None:
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def of(self, name: str) -> threading.Lock:
        return self._locks[hash(name) % _LOCKS]
