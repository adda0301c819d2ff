"""How long to go on trying, and how long to wait in between."""

from __future__ import annotations

import random
import time

from impasto.errors import ImpastoError

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0


class Patience:
    """Says when to try again after contact was lost, and when to give up.

    The delays double from `FIRST_DELAY` to `LONGEST_DELAY` and are scattered, so that the many callers of a
    server that restarts do not all come back at once. A delay that the server asks for is kept to.

    Args:
        limit: seconds without contact after which it is over.

    Attributes:
        attempts: how often it was tried since something new came.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._lost: float | None = None
        self.attempts = 0

    def lost(self) -> None:
        """The time without contact begins now, if it has not."""
        if self._lost is None:
            self._lost = time.monotonic()

    def heard(self, *, news: bool) -> None:
        """The server was heard; `news`: it said something that was not known."""
        self._lost = None
        if news:
            self.attempts = 0

    def left(self) -> float:
        """Seconds until it is over if nothing is heard, more than 0."""
        gone = 0.0 if self._lost is None else time.monotonic() - self._lost
        return max(0.001, self._limit - gone)

    def delay(self, error: ImpastoError) -> float:
        """Seconds to wait before the next attempt, after one that ended with `error`.

        Raises:
            ImpastoError: `error`; it is over.
        """
        self.lost()
        scattered = min(FIRST_DELAY * 2.0 ** min(self.attempts, 10), LONGEST_DELAY) * random.uniform(0.5, 1.0)
        delay = scattered if error.retry_after is None else error.retry_after + scattered
        if delay >= self.left():
            raise error
        self.attempts += 1
        return delay
