"""Calls that take time, made off the main thread; what comes of them is told on it."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import TypeVar

from impasto.errors import ImpastoError

T = TypeVar("T")


class Errands:
    """Starts a thread for each errand: they are few, and one that hangs holds up nobody.

    Args:
        post: has a call made on the main thread.
    """

    def __init__(self, post: Callable[[Callable[[], None]], None]) -> None:
        self._post = post
        self._closed = False

    def start(
        self,
        work: Callable[[], T],
        done: Callable[[T], None] = lambda outcome: None,
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        """Does some work in a thread, then tells on the main thread what came of it."""

        def body() -> None:
            try:
                outcome = work()
            except Exception as error:
                told = error
                if not isinstance(error, (ImpastoError, OSError, ValueError)):
                    traceback.print_exc(file=sys.stderr)
                self.hand(lambda: failed(told))
            else:
                self.hand(lambda: done(outcome))

        # Not to be waited for by a host that closes.
        threading.Thread(target=body, name="impasto-errand", daemon=True).start()

    def hand(self, call: Callable[[], None]) -> None:
        """Has a call made on the main thread, unless all is over; from any thread."""
        if not self._closed:
            self._post(lambda: None if self._closed else call())

    def close(self) -> None:
        """From now on nothing is told any more."""
        self._closed = True
