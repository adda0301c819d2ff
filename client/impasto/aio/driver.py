"""Carries out steps in an event loop, over an asynchronous transport."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, TypeVar

from impasto.driver import Done, Interrupted
from impasto.steps import AnyStep, Begin, Call, Diagnose, Receive, Send, Sleep, Step, Steps, Work
from impasto.transport import AsyncStream, AsyncTransport, TransportError

T = TypeVar("T")
Item = TypeVar("Item")


class AsyncDriver:
    """Carries out the steps of one errand, one after the other, as `impasto.driver.Driver` does."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._interrupted = asyncio.Event()
        self._stream: AsyncStream[Any] | None = None

    async def run(self, steps: Steps[T]) -> T:
        """Carries out all the steps and returns their result.

        Raises:
            ImpastoError: as the steps do.
        """
        try:
            done = await self.advance(steps)
        finally:
            self.leave()
        assert isinstance(done, Done), "steps to a single result have no items"
        return done.result

    async def advance(self, steps: Generator[AnyStep | Item, Any, T]) -> Item | Done[T]:
        """Carries out steps and returns the next item that is not a step, or the result.

        Raises:
            Interrupted: `interrupt` was called.
            ImpastoError: as the steps do.
        """
        try:
            step = next(steps)
            while isinstance(step, Step):
                try:
                    outcome = await self._carry_out(step)
                except TransportError as error:
                    if self._interrupted.is_set():
                        raise Interrupted from None
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as done:
            return Done(done.value)
        return step

    def interrupt(self) -> None:
        """Ends the errand."""
        self._interrupted.set()
        self.leave()

    def leave(self) -> None:
        """Leaves the stream, if there is one."""
        if self._stream is not None:
            self._stream.cancel()

    async def _carry_out(self, step: AnyStep) -> Any:
        if self._interrupted.is_set():
            raise Interrupted
        if isinstance(step, Receive):
            assert self._stream is not None
            return await self._stream.receive(step.timeout)
        if isinstance(step, Call):
            return await self._transport.unary(step.method, step.request, timeout=step.timeout)
        if isinstance(step, Send):
            return await self._transport.upload(step.method, step.requests, timeout=step.timeout)
        if isinstance(step, Begin):
            self.leave()
            self._stream = self._transport.stream(step.method, step.request, timeout=step.timeout)
            return None
        if isinstance(step, Diagnose):
            from impasto import diagnosis

            return await asyncio.to_thread(diagnosis.find, step.endpoint)
        if isinstance(step, Work):
            return await asyncio.to_thread(step.do)
        assert isinstance(step, Sleep)
        interrupted = asyncio.ensure_future(self._interrupted.wait())
        try:
            await asyncio.wait({interrupted}, timeout=step.seconds)
        finally:
            interrupted.cancel()
        return None
