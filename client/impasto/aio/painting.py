"""A painting in the making, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from types import TracebackType
from typing import Any

from impasto.aio.driver import AsyncDriver, Done
from impasto.calls import Calls, Following
from impasto.driver import Interrupted
from impasto.errors import ImpastoError, JobCancelled, Unavailable
from impasto.job import Event, Job, Progress
from impasto.picture import Picture
from impasto.transport import AsyncTransport
from impasto.watching import Watched


class Painting:
    """A painting in the making: iterate over it to watch, await the `result` when it is to be done.

    All is as with `impasto.Painting`. What Ctrl-C is there, the cancelling of the task that waits is here: it
    cancels a job that is the caller's own, and is raised once the server knows, or after a few seconds.
    """

    def __init__(
        self, calls: Calls, transport: AsyncTransport, watched: Watched, following: Following, *, owned: bool
    ) -> None:
        self._calls = calls
        self._transport = transport
        self._watched = watched
        self._following = following
        self._driver = AsyncDriver(transport)
        self._owned = owned
        self._picture: Picture | None = None
        self._error: ImpastoError | None = None
        self._given_up: ImpastoError | None = None
        self._cancelling = asyncio.Lock()
        self._abandoned = False
        self._first: Event | None = None

    async def _begin(self) -> Painting:
        """Waits until the server has accepted the job, or told of it."""
        self._first = await self._next_event()
        return self

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

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        event, self._first = self._first, None
        event = event or await self._next_event()
        if event is None:
            raise StopAsyncIteration
        return event

    async def result(self) -> Picture:
        """Waits for the picture. Events not yet taken are passed over.

        Raises:
            JobCancelled: the job was cancelled.
            ImpastoError: the job failed, or the server was out of reach for too long.
        """
        async for _ in self:
            pass
        assert self._picture is not None
        return self._picture

    async def cancel(self) -> None:
        """Cancels the job, from any task of the loop. Harmless when it has ended.

        Returns once the server knows, or after a few seconds without an answer; a job of `stylize` that
        nobody watches is then cancelled by the server itself.
        """
        self._give_up(JobCancelled("the job was cancelled"))
        # Whoever closed the transport has to say himself that its jobs are to end.
        async with self._cancelling:
            with contextlib.suppress(ValueError, OSError):
                # What could not be told within the time for it cannot be told a second time either.
                if self._picture is None and not self._abandoned and not isinstance(self._error, Unavailable):
                    self._abandoned = True
                    await AsyncDriver(self._transport).run(self._calls.abandon(self._watched))

    async def leave(self) -> None:
        """Stops watching, from any task of the loop; the job goes on.

        One of `stylize`, without `keep_running`, goes on for half a minute if nobody else watches it.
        """
        self._give_up(ImpastoError("the job is not watched any more", code="CANCELLED"))

    async def __aenter__(self) -> Painting:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _to_its_end(self.close())

    async def close(self) -> None:
        """As leaving the `async with`: cancels the job if it is the caller's own, else stops watching."""
        if self._owned:
            await self.cancel()
        else:
            await self.leave()

    def _give_up(self, why: ImpastoError) -> None:
        if self._given_up is None:
            self._given_up = why
        self._driver.interrupt()

    async def _next_event(self) -> Event | None:
        """The next event; None after the last."""
        if self._error is not None:
            raise self._error
        if self._picture is not None:
            return None
        try:
            told = await self._driver.advance(self._following)
        except Interrupted:
            assert self._given_up is not None
            self._error = self._given_up
            raise self._error from None
        except ImpastoError as error:
            self._error = error
            # A server that refused the job, or cannot be reached, has nothing to cancel or cannot be asked.
            if self._watched.name and not isinstance(error, Unavailable):
                await _to_its_end(self.close())
            else:
                self._driver.leave()
            raise
        except BaseException:
            await _to_its_end(self.close())
            raise
        if not isinstance(told, Done):
            return told
        self._picture = told.result
        self._driver.leave()
        return None


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Waits for work that goes on even if the waiting is cancelled, as it is when a loop ends."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
