"""What the paintings of `impasto` and `impasto.aio` share."""

from __future__ import annotations

from typing import Any

from impasto.api import Begun
from impasto.calls import Calls
from impasto.errors import ImpastoError, JobCancelled, Unavailable
from impasto.job import Event, Job, Progress
from impasto.picture import Picture


class BasePainting:
    """A painting in progress, without its I/O.

    Args:
        calls: those of its client.
        begun: the job, and the steps to its picture.
    """

    def __init_subclass__(cls) -> None:
        # pdoc shows only the properties that the class itself has.
        for name in ("job", "progress", "skipped_previews"):
            if name not in vars(cls):
                setattr(cls, name, vars(BasePainting)[name])

    def __init__(self, calls: Calls, begun: Begun) -> None:
        self._calls = calls
        self._watched = begun.watched
        self._following = begun.following
        self._owned = begun.owned
        self._first: Event | None = None
        self._picture: Picture | None = None
        self._error: ImpastoError | None = None
        self._given_up: ImpastoError | None = None
        self._abandoned = False

    @property
    def job(self) -> Job:
        """The job in the newest state that the server has sent."""
        assert self._watched.job is not None
        return self._watched.job

    @property
    def progress(self) -> Progress | None:
        """The newest progress; None before the first."""
        return self._watched.progress

    @property
    def skipped_previews(self) -> int:
        """The number of previews so far that newer ones replaced before they were sent."""
        return self._watched.skipped_previews

    def result(self) -> Any:
        """Waits for the finished picture and returns it. Skips the events that come before.

        Raises:
            JobCancelled: the job was cancelled.
            ImpastoError: the job failed, or contact to the server was lost for longer than `patience`.
        """
        raise NotImplementedError

    def cancel(self) -> Any:
        """Cancels the job. Does nothing if the job is final.

        May be called from any thread; with asyncio, from any task of the loop. Returns once the server knows,
        or after a few seconds without an answer; the server itself then cancels the job, unless somebody
        watches it or it was to keep running.
        """
        raise NotImplementedError

    def leave(self) -> Any:
        """Stops watching; the job goes on.

        May be called from any thread; with asyncio, from any task of the loop. A job from `stylize` without
        `keep_running` goes on for half a minute, or for as long as somebody else watches it.
        """
        raise NotImplementedError

    def close(self) -> Any:
        """Ends the painting as leaving the `with` block does: cancels an owned job, else stops watching."""
        raise NotImplementedError

    def _is_to_be_cancelled(self) -> bool:
        """Returns whether the server has to cancel the job; True only once."""
        # Do not repeat a call that the server did not answer in time.
        wanted = self._picture is None and not self._abandoned and not isinstance(self._error, Unavailable)
        self._abandoned = self._abandoned or wanted
        return wanted

    def _cancelled(self) -> ImpastoError:
        return JobCancelled("the job was cancelled")

    def _left(self) -> ImpastoError:
        return ImpastoError("the job is not watched any more", code="CANCELLED")

    def _ended(self) -> bool:
        """Returns whether there are no more events.

        Raises:
            ImpastoError: an error ended it.
        """
        if self._error is not None:
            raise self._error
        return self._picture is not None

    def _interrupted(self) -> ImpastoError:
        """Returns the error for a caller who waits for a painting that was cancelled or left."""
        assert self._given_up is not None
        self._error = self._given_up
        return self._error

    def _needs_closing(self, error: ImpastoError) -> bool:
        """Stores an error that ended the painting. Returns whether to tell the server about the end."""
        self._error = error
        # If the server refused the job, there is nothing to cancel; if it is out of reach, nobody to tell.
        return bool(self._watched.name) and not isinstance(error, Unavailable)
