"""Work that takes time, done in threads; its outcome is delivered on the main thread."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import TypeVar

from impasto.errors import ImpastoError, InvalidRequest

T = TypeVar("T")


class Errands:
    """Starts a thread for each errand: there are few of them, and one that hangs does not delay the others.

    Args:
        post: makes a call on the main thread.
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
        """Does some work in a thread, then calls `done` or `failed` on the main thread."""

        def body() -> None:
            try:
                outcome = work()
            except Exception as error:
                told = error
                if not isinstance(error, (ImpastoError, OSError, ValueError)):
                    traceback.print_exc(file=sys.stderr)
                elif isinstance(error, InvalidRequest):
                    # Its words are the contract's, which an artist is not shown.
                    print(f"impasto: {error}", file=sys.stderr)
                self.hand(lambda: failed(told))
            else:
                self.hand(lambda: done(outcome))

        # A daemon thread does not keep a closing host alive.
        threading.Thread(target=body, name="impasto-errand", daemon=True).start()

    def hand(self, call: Callable[[], None]) -> None:
        """Makes a call on the main thread, unless this was closed. May be used from any thread."""
        if not self._closed:
            self._post(lambda: None if self._closed else call())

    def close(self) -> None:
        """Makes no more calls."""
        self._closed = True
