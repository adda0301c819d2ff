"""A painting in the making."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from types import TracebackType

from impasto.calls import Calls, Following
from impasto.driver import Driver, Interrupted
from impasto.errors import ImpastoError, JobCancelled, Unavailable
from impasto.job import Event, Job, Progress
from impasto.picture import Picture
from impasto.transport import Transport
from impasto.watching import Watched


class Painting:
    """A painting in the making: iterate over it to watch, ask for the `result` when it is to be done.

    Iterating gives `JobChanged`, `Progress` and `Preview` events as they come and raises an `ImpastoError` if
    the job fails, is cancelled, or the server is out of reach for too long; a connection that breaks, or a
    server that is started anew, only makes it wait. From `Client.stylize`, without `keep_running`, the job is
    the caller's own: leaving the `with` block before the end cancels it, and an exception while waiting,
    Ctrl-C above all, does too. Otherwise that only stops watching.
    """

    def __init__(
        self, calls: Calls, transport: Transport, watched: Watched, following: Following, *, owned: bool
    ) -> None:
        self._calls = calls
        self._transport = transport
        self._watched = watched
        self._following = following
        self._driver = Driver(transport)
        self._owned = owned
        self._picture: Picture | None = None
        self._error: ImpastoError | None = None
        self._cancelling = threading.Lock()
        self._abandoned = False
        self._given_up: ImpastoError | None = None
        self._first: Event | None = self._next_event(first=True)

    @property
    def job(self) -> Job:
        """The job as the server last told."""
        assert self._watched.job is not None
        return self._watched.job

    @property
    def progress(self) -> Progress | None:
        """The newest numbers; None before the first."""
        return self._watched.progress

    @property
    def skipped_previews(self) -> int:
        """Previews that newer ones replaced on the way, so far."""
        return self._watched.skipped_previews

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event, self._first = self._first, None
        event = event or self._next_event()
        if event is None:
            raise StopIteration
        return event

    def result(self) -> Picture:
        """Waits for the picture. Events not yet taken are passed over.

        Raises:
            JobCancelled: the job was cancelled.
            ImpastoError: the job failed, or the server was out of reach for too long.
        """
        for _ in self:
            pass
        assert self._picture is not None
        return self._picture

    def cancel(self) -> None:
        """Cancels the job, from any thread. Harmless when it has ended.

        Returns once the server knows, or after a few seconds without an answer; a job of `stylize` that
        nobody watches is then cancelled by the server itself.
        """
        self._give_up(JobCancelled("the job was cancelled"))
        # Whoever closed the transport has to say himself that its jobs are to end.
        with self._cancelling, contextlib.suppress(ValueError, OSError):
            # What could not be told within the time for it cannot be told a second time either.
            if self._picture is None and not self._abandoned and not isinstance(self._error, Unavailable):
                self._abandoned = True
                Driver(self._transport).run(self._calls.abandon(self._watched))

    def leave(self) -> None:
        """Stops watching, from any thread; the job goes on.

        One of `stylize`, without `keep_running`, goes on for half a minute if nobody else watches it.
        """
        self._give_up(ImpastoError("the job is not watched any more", code="CANCELLED"))

    def __enter__(self) -> Painting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """As leaving the `with` block: cancels the job if it is the caller's own, else stops watching."""
        if self._owned:
            self.cancel()
        else:
            self.leave()

    def _give_up(self, why: ImpastoError) -> None:
        if self._given_up is None:
            self._given_up = why
        self._driver.interrupt()

    def _next_event(self, *, first: bool = False) -> Event | None:
        """The next event; None after the last."""
        if self._error is not None:
            raise self._error
        if self._picture is not None:
            return None
        try:
            return self._driver.advance(self._following, first=first)
        except StopIteration as done:
            picture: Picture = done.value
            self._picture = picture
            self._driver.leave()
            return None
        except Interrupted:
            assert self._given_up is not None
            self._error = self._given_up
            raise self._error from None
        except ImpastoError as error:
            self._error = error
            # A server that refused the job, or cannot be reached, has nothing to cancel or cannot be asked.
            if self._watched.name and not isinstance(error, Unavailable):
                self.close()
            else:
                self._driver.leave()
            raise
        except BaseException:
            self.close()
            raise
