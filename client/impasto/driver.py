"""Carries out steps in the caller's thread, over a blocking transport."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Generator
from typing import Any, Generic, TypeVar

from impasto.steps import AnyStep, Begin, Call, Diagnose, Receive, Send, Sleep, Step, Steps, Work
from impasto.transport import Stream, Transport, TransportError

T = TypeVar("T")
Item = TypeVar("Item")


class Interrupted(Exception):
    """`Driver.interrupt` was called."""


@dataclasses.dataclass(frozen=True)
class Done(Generic[T]):
    """The steps ended with a result."""

    result: T


class Driver:
    """Carries out the steps of one errand, one after the other."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._interrupted = threading.Event()
        self._lock = threading.Lock()
        self._stream: Stream[Any] | None = None

    def run(self, steps: Steps[T]) -> T:
        """Carries out all the steps and returns their result.

        Raises:
            ImpastoError: as the steps do.
        """
        try:
            done = self.advance(steps)
        finally:
            self.leave()
        assert isinstance(done, Done), "steps to a single result have no items"
        return done.result

    def advance(self, steps: Generator[AnyStep | Item, Any, T]) -> Item | Done[T]:
        """Carries out steps and returns the next item that is not a step, or the result.

        Raises:
            Interrupted: `interrupt` was called.
            ImpastoError: as the steps do.
        """
        try:
            step = next(steps)
            while isinstance(step, Step):
                try:
                    outcome = self._carry_out(step)
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
        """Ends the errand, from any thread."""
        self._interrupted.set()
        self.leave()

    def leave(self) -> None:
        """Leaves the stream, if there is one."""
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.cancel()

    def _carry_out(self, step: AnyStep) -> Any:
        if self._interrupted.is_set():
            raise Interrupted
        if isinstance(step, Receive):
            assert self._stream is not None
            return self._stream.receive(step.timeout)
        if isinstance(step, Call):
            return self._transport.unary(step.method, step.request, timeout=step.timeout)
        if isinstance(step, Send):
            return self._transport.upload(step.method, step.requests, timeout=step.timeout)
        if isinstance(step, Begin):
            self.leave()
            stream = self._transport.stream(step.method, step.request, timeout=step.timeout)
            with self._lock:
                self._stream = stream
            # An interruption in the meantime has left the stream before this one.
            if self._interrupted.is_set():
                stream.cancel()
            return None
        if isinstance(step, Diagnose):
            from impasto import diagnosis

            return diagnosis.find(step.endpoint)
        if isinstance(step, Work):
            return step.do()
        assert isinstance(step, Sleep)
        self._interrupted.wait(step.seconds)
        return None
