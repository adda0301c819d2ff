"""Carries steps out in the thread that asks for it, over a transport that blocks."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any, TypeVar

from impasto.job import Event
from impasto.steps import AnyStep, Begin, Call, Diagnose, Receive, Send, Sleep, Step, Steps
from impasto.transport import Stream, Transport, TransportError

T = TypeVar("T")


class Interrupted(Exception):
    """`Driver.interrupt` was called."""


class Driver:
    """Carries out the steps of one errand, one after the other."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._interrupted = threading.Event()
        self._lock = threading.Lock()
        self._stream: Stream[Any] | None = None

    def run(self, steps: Steps[T]) -> T:
        """Carries out all the steps.

        Raises:
            ImpastoError: as the steps do.
        """
        try:
            self.advance(steps, first=True)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            self.leave()
        raise TypeError("steps of a single result have no events")

    def advance(self, steps: Generator[AnyStep | Event, Any, Any], *, first: bool = False) -> Event:
        """Carries out steps up to the next event.

        Args:
            first: nothing of the steps has been carried out.

        Raises:
            StopIteration: there are no more; its value is their result.
            Interrupted: `interrupt` was called.
            ImpastoError: as the steps do.
        """
        step = next(steps) if first else steps.send(None)
        while isinstance(step, Step):
            try:
                outcome = self._carry_out(step)
            except TransportError as error:
                if self._interrupted.is_set():
                    raise Interrupted from None
                step = steps.throw(error)
            else:
                step = steps.send(outcome)
        return step

    def interrupt(self) -> None:
        """Ends what is under way, from any thread."""
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
            # Whoever interrupted meanwhile has left the stream before.
            if self._interrupted.is_set():
                stream.cancel()
            return None
        if isinstance(step, Diagnose):
            from impasto import diagnosis

            return diagnosis.find(step.endpoint)
        assert isinstance(step, Sleep)
        self._interrupted.wait(step.seconds)
        return None
