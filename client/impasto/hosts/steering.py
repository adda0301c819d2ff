"""Steering from sliders, which change faster than a server should be called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Steering:
    """Changes of a job's settings that are still to be sent.

    Args:
        later: makes a call after some seconds.
        delay: how long a change waits for a newer one, in seconds.
        is_ready: whether changes can be sent now; if not, they wait for `flush`.
        send: sends settings, then calls back with whether they have to be sent again.
    """

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], None],
        delay: float,
        *,
        is_ready: Callable[[], bool],
        send: Callable[[dict[str, Any], Callable[[bool], None]], None],
    ) -> None:
        self._later = later
        self._delay = delay
        self._is_ready = is_ready
        self._send = send
        self._wanted: dict[str, Any] = {}
        self._waiting = False
        self._under_way = False

    def want(self, settings: dict[str, Any]) -> None:
        """Changes settings; a newer value of a setting replaces the older one."""
        self._wanted.update(settings)
        self.flush()

    def flush(self) -> None:
        """Sends the changes if the server is ready."""
        if self._wanted and not self._waiting and not self._under_way:
            self._waiting = True
            self._later(self._delay, self._go)

    def _go(self) -> None:
        self._waiting = False
        if not self._wanted or not self._is_ready():
            return
        settings, self._wanted = self._wanted, {}
        self._under_way = True

        def finished(again: bool) -> None:
            self._under_way = False
            if again:
                self._wanted = {**settings, **self._wanted}
            else:
                self.flush()

        self._send(settings, finished)
