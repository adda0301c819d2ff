"""The calls that are being answered: how many a tenant may have, and what ends them before their time."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator

import grpc
from google.rpc import status_pb2

from impasto_server.contract.errors import CallError, exhausted, status
from impasto_server.gateway.tokens import CHECK_SECONDS, TokensError

MAX_SHORT_CALLS = 256
"""Calls of a tenant that are answered at a time and neither stream nor wait."""

_RETRY_SECONDS = 5.0
_AGAIN_SECONDS = 0.05


@dataclasses.dataclass(eq=False)
class OpenCall:
    """A call that is being answered.

    Attributes:
        task: what answers it.
        token: what its caller got in by; empty if nothing can take its access away.
        seconds: how long it may take.
        until: time of the event loop at which that is over.
        ending: what it ends with, once that is decided from outside.
    """

    task: asyncio.Task[object]
    token: str
    seconds: float
    until: float
    ending: status_pb2.Status | None = None

    def end(self, ending: status_pb2.Status) -> None:
        """Has the call end with an error. To be repeated until it has: a cancellation may get lost."""
        self.ending = self.ending or ending
        self.task.cancel()

    def take_back_cancellation(self) -> None:
        """The task goes on, to tell how the call ended."""
        if sys.version_info >= (3, 11):
            while self.task.cancelling():
                self.task.uncancel()


class OpenCalls:
    """All calls that are being answered."""

    def __init__(self, most_streams: int, lost_access: Callable[[str], status_pb2.Status | None]) -> None:
        """
        Args:
            most_streams: calls of a tenant that stream or wait.
            lost_access: what the calls of a token end with; None as long as it lets in. May raise
                `TokensError`.
        """
        self._most = {True: most_streams, False: MAX_SHORT_CALLS}
        self._lost_access = lost_access
        self._counts: collections.Counter[tuple[str, bool]] = collections.Counter()
        self._calls: set[OpenCall] = set()
        self._looking: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def entered(self, tenant: str, *, token: str, seconds: float, long: bool) -> Iterator[OpenCall]:
        """The current task answers a call, which ends after so many seconds at the latest.

        Raises:
            CallError: RESOURCE_EXHAUSTED: the tenant has as many as it may.
        """
        key = tenant, long
        if self._counts[key] >= self._most[long]:
            what = "streams and waiting calls" if long else "calls"
            message = f"you have {self._most[long]} {what} open, as many as you may; end some of them"
            raise CallError(exhausted("TOO_MANY_CALLS", f"tenant:{tenant}", message, _RETRY_SECONDS))
        task = asyncio.current_task()
        assert task is not None
        call = OpenCall(task, token, seconds, asyncio.get_running_loop().time() + seconds)
        self._counts[key] += 1
        self._calls.add(call)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_after_them())
        try:
            yield call
        finally:
            self._calls.remove(call)
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    async def end_all(self, ending: status_pb2.Status, *, grace: float) -> None:
        """Waits until no call is open.

        Args:
            ending: what those end with that still are.
            grace: seconds after which they are ended, and, if that does not help, given up.
        """
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while self._calls and loop.time() < begin + 2 * grace:
            if loop.time() >= begin + grace:
                for call in list(self._calls):
                    call.end(ending)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _look_after_them(self) -> None:
        """Ends those that have lost their access or are over time, until there are none."""
        loop = asyncio.get_running_loop()
        try:
            while self._calls:
                await asyncio.sleep(CHECK_SECONDS)
                lost = {token: self._lost(token) for token in {call.token for call in self._calls}}
                for call in list(self._calls):
                    ending = lost[call.token]
                    if ending is None and loop.time() >= call.until:
                        ending = _over_time(call.seconds)
                    if ending is not None:
                        call.end(ending)
        finally:
            self._looking = None

    def _lost(self, token: str) -> status_pb2.Status | None:
        # A file that cannot be read just now has not removed anyone.
        with contextlib.suppress(TokensError):
            return self._lost_access(token) if token else None
        return None


def _over_time(seconds: float) -> status_pb2.Status:
    message = f"a call may take {seconds:g} s at most; take up what it was about with another one"
    return status(grpc.StatusCode.DEADLINE_EXCEEDED, "MAX_DEADLINE", message)
