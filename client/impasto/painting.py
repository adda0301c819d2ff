"""A painting in progress."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from types import TracebackType

from impasto.api import Begun
from impasto.base_painting import BasePainting
from impasto.calls import Calls
from impasto.driver import Done, Driver, Interrupted
from impasto.errors import ImpastoError
from impasto.job import Event
from impasto.picture import Picture
from impasto.transport import Transport


class Painting(BasePainting):
    """A painting in progress: iterate over it to watch it, call `result` to wait for the finished picture.

    Iterating gives `JobChanged`, `Progress` and `Preview` events. It raises an `ImpastoError` if the job
    fails or is cancelled, or if contact to the server is lost for longer than the client's `patience`; if a
    connection breaks or the server restarts, it only waits. A job from `Client.stylize` without
    `keep_running` is owned by
    its caller: leaving the `with` block before the end, or an exception while waiting (such as Ctrl-C),
    cancels it. Any other job goes on.
    """

    def __init__(self, calls: Calls, transport: Transport, begun: Begun) -> None:
        super().__init__(calls, begun)
        self._transport = transport
        self._driver = Driver(transport)
        self._cancelling = threading.Lock()
        self._first = self._next_event()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event, self._first = self._first, None
        event = event or self._next_event()
        if event is None:
            raise StopIteration
        return event

    def result(self) -> Picture:
        for _ in self:
            pass
        assert self._picture is not None
        return self._picture

    def cancel(self) -> None:
        self._give_up(self._cancelled())
        # A closed client can no longer tell the server; another transport may raise its own ValueError.
        with self._cancelling, contextlib.suppress(ValueError, OSError):
            if self._is_to_be_cancelled():
                Driver(self._transport).run(self._calls.abandon(self._watched))

    def leave(self) -> None:
        self._give_up(self._left())

    def close(self) -> None:
        if self._owned:
            self.cancel()
        else:
            self.leave()

    def __enter__(self) -> Painting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _give_up(self, why: ImpastoError) -> None:
        self._given_up = self._given_up or why
        self._driver.interrupt()

    def _next_event(self) -> Event | None:
        """The next event; None after the last."""
        if self._ended():
            return None
        try:
            event: Event | Done[Picture] = self._driver.advance(self._following)
        except Interrupted:
            raise self._interrupted() from None
        except ImpastoError as error:
            if self._needs_closing(error):
                self.close()
            else:
                self._driver.leave()
            raise
        except BaseException:
            self.close()
            raise
        if not isinstance(event, Done):
            return event
        self._picture = event.result
        self._driver.leave()
        return None
