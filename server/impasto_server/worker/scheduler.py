"""Whose turn it is on the device."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class FairTurns(Generic[K]):
    """Shares the device by time: who has had least of it goes next, and of several the newest.

    A newcomer starts level with the one who has had least, so it neither waits for the others to run up
    their time nor has a whole past to catch up on.
    """

    def __init__(self) -> None:
        self._seconds: dict[K, float] = {}

    def __len__(self) -> int:
        return len(self._seconds)

    def __iter__(self) -> Iterator[K]:
        return iter(self._seconds)

    def __contains__(self, key: object) -> bool:
        return key in self._seconds

    def add(self, key: K) -> None:
        self._seconds[key] = min(self._seconds.values(), default=0.0)

    def remove(self, key: K) -> None:
        del self._seconds[key]

    def charge(self, key: K, seconds: float) -> None:
        """Notes that a turn took so much of the device's time."""
        self._seconds[key] += seconds

    def next(self) -> K:
        """Whose turn it is. There must be someone."""
        return min(reversed(self._seconds), key=self._seconds.__getitem__)
