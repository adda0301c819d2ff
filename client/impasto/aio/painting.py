"""A painting in progress, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from types import TracebackType
from typing import Any

from impasto.aio.driver import AsyncDriver
from impasto.api import Begun
from impasto.base_painting import BasePainting
from impasto.calls import Calls
from impasto.driver import Done, Interrupted
from impasto.errors import ImpastoError
from impasto.job import Event
from impasto.picture import Picture
from impasto.transport import AsyncTransport


class Painting(BasePainting):
    """A painting in progress: iterate over it to watch it, await `result` for the finished picture.

    It is as `impasto.Painting`. Cancelling the task that waits for it does what Ctrl-C does there: it cancels
    an owned job. The task ends once the server knows, or after a few seconds.
    """

    def __init__(self, calls: Calls, transport: AsyncTransport, begun: Begun) -> None:
        super().__init__(calls, begun)
        self._transport = transport
        self._driver = AsyncDriver(transport)
        self._cancelling = asyncio.Lock()

    async def _begin(self) -> Painting:
        """Waits until the server has accepted the job, or sent its state."""
        self._first = await self._next_event()
        return self

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        event, self._first = self._first, None
        event = event or await self._next_event()
        if event is None:
            raise StopAsyncIteration
        return event

    async def result(self) -> Picture:
        async for _ in self:
            pass
        assert self._picture is not None
        return self._picture

    async def cancel(self) -> None:
        self._give_up(self._cancelled())
        # A closed client can no longer tell the server; another transport may raise its own ValueError.
        async with self._cancelling:
            with contextlib.suppress(ValueError, OSError):
                if self._is_to_be_cancelled():
                    await AsyncDriver(self._transport).run(self._calls.abandon(self._watched))

    async def leave(self) -> None:
        self._give_up(self._left())

    async def close(self) -> None:
        if self._owned:
            await self.cancel()
        else:
            await self.leave()

    async def __aenter__(self) -> Painting:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _to_its_end(self.close())

    def _give_up(self, why: ImpastoError) -> None:
        self._given_up = self._given_up or why
        self._driver.interrupt()

    async def _next_event(self) -> Event | None:
        """The next event; None after the last."""
        if self._ended():
            return None
        try:
            event: Event | Done[Picture] = await self._driver.advance(self._following)
        except Interrupted:
            raise self._interrupted() from None
        except ImpastoError as error:
            if self._needs_closing(error):
                await _to_its_end(self.close())
            else:
                self._driver.leave()
            raise
        except BaseException:
            await _to_its_end(self.close())
            raise
        if not isinstance(event, Done):
            return event
        self._picture = event.result
        self._driver.leave()
        return None


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Waits for work to finish, even if the waiting task is cancelled, as when an event loop ends."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
