"""Delays between attempts to reach a server, and the limit after which to give up."""

from __future__ import annotations

import random
import time

from impasto.errors import ImpastoError

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0


class Patience:
    """Says when to try again after contact was lost, and when to give up.

    The delays double from `FIRST_DELAY` to `LONGEST_DELAY` seconds. They are randomised, so that the callers
    of a server that restarts do not all return at once. A delay that the server asks for is added.

    Args:
        limit: seconds without contact after which to give up.

    Attributes:
        attempts: number of attempts since the last news.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._lost: float | None = None
        self.attempts = 0

    def lost(self) -> None:
        """Starts the time without contact, unless it has started."""
        if self._lost is None:
            self._lost = time.monotonic()

    def heard(self, *, news: bool) -> None:
        """Ends the time without contact; `news` says whether the server sent something new."""
        self._lost = None
        if news:
            self.attempts = 0

    def left(self) -> float:
        """Returns the seconds until the limit, more than 0."""
        gone = 0.0 if self._lost is None else time.monotonic() - self._lost
        return max(0.001, self._limit - gone)

    def delay(self, error: ImpastoError) -> float:
        """Returns the seconds to wait before the next attempt.

        Args:
            error: the error of the last attempt.

        Raises:
            ImpastoError: `error`, if the limit is reached.
        """
        self.lost()
        scattered = min(FIRST_DELAY * 2.0 ** min(self.attempts, 10), LONGEST_DELAY) * random.uniform(0.5, 1.0)
        delay = scattered if error.retry_after is None else error.retry_after + scattered
        if delay >= self.left():
            raise error
        self.attempts += 1
        return delay
