"""Open calls: limits their number per tenant, and ends those that take too long or lose their access."""

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
from impasto_server.contract.texts import counted
from impasto_server.gateway.tokens import CHECK_SECONDS, TokensError

MAX_SHORT_CALLS = 256
"""Maximum open calls of a tenant that neither stream nor wait."""

_RETRY_SECONDS = 5.0
_AGAIN_SECONDS = 0.05


@dataclasses.dataclass(eq=False)
class OpenCall:
    """An open call.

    Attributes:
        task: answers it.
        token: its caller's token; empty if its caller cannot lose access.
        as_administrator: whether its caller needs the right of an administrator.
        seconds: maximum duration.
        until: event-loop time at which the maximum is reached.
        ending: the status with which it was told to end; None before.
    """

    task: asyncio.Task[object]
    token: str
    as_administrator: bool
    seconds: float
    until: float
    ending: status_pb2.Status | None = None

    def end(self, ending: status_pb2.Status) -> None:
        """Ends the call with an error. Repeat it until the call has ended: a cancellation can get lost."""
        self.ending = self.ending or ending
        self.task.cancel()

    def take_back_cancellation(self) -> None:
        """Undoes the cancellation, so that the task can send the status."""
        if sys.version_info >= (3, 11):
            while self.task.cancelling():
                self.task.uncancel()


class OpenCalls:
    """All open calls."""

    def __init__(
        self, most_streams: int, lost_access: Callable[[str, bool], status_pb2.Status | None]
    ) -> None:
        """
        Args:
            most_streams: maximum calls of a tenant that stream or wait.
            lost_access: for a token, and whether it needs the right of an administrator, returns the status
                with which its calls end; None while it is valid. May raise `TokensError`.
        """
        self._most = {True: most_streams, False: MAX_SHORT_CALLS}
        self._lost_access = lost_access
        self._counts: collections.Counter[tuple[str, bool]] = collections.Counter()
        self._calls: set[OpenCall] = set()
        self._looking: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def entered(
        self, tenant: str, *, token: str, as_administrator: bool = False, seconds: float, long: bool
    ) -> Iterator[OpenCall]:
        """Registers a call, answered by the current task, for the duration of the block.

        Args:
            tenant: the caller.
            token, as_administrator: as in `OpenCall`.
            seconds: maximum duration.
            long: whether the call streams or waits.

        Raises:
            CallError: RESOURCE_EXHAUSTED: the tenant has the maximum of such calls.
        """
        key = tenant, long
        if self._counts[key] >= self._most[long]:
            # Waiting calls count as streams, too.
            what = counted(self._most[long], "open stream" if long else "open call")
            message = f"you have {what}, the maximum; end one of them first"
            raise CallError(exhausted("TOO_MANY_CALLS", f"tenant:{tenant}", message, _RETRY_SECONDS))
        task = asyncio.current_task()
        assert task is not None
        until = asyncio.get_running_loop().time() + seconds
        call = OpenCall(task, token, as_administrator, seconds, until)
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

    @property
    def open_streams(self) -> int:
        """The number of open calls that stream or wait."""
        return sum(number for (_, long), number in self._counts.items() if long)

    async def end_all(self, ending: status_pb2.Status, *, grace: float) -> None:
        """Waits until no call is open.

        Args:
            ending: the status for calls that are still open after the grace period.
            grace: in seconds. After twice this time the remaining calls are given up.
        """
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while self._calls and loop.time() < begin + 2 * grace:
            if loop.time() >= begin + grace:
                for call in list(self._calls):
                    call.end(ending)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _look_after_them(self) -> None:
        """Ends calls that have lost their access or exceed their time, until no call is open."""
        loop = asyncio.get_running_loop()
        try:
            while self._calls:
                await asyncio.sleep(CHECK_SECONDS)
                rights = {(call.token, call.as_administrator) for call in self._calls}
                lost = {right: self._lost(*right) for right in rights}
                for call in list(self._calls):
                    ending = lost[call.token, call.as_administrator]
                    if ending is None and loop.time() >= call.until:
                        ending = _over_time(call.seconds)
                    if ending is not None:
                        call.end(ending)
        finally:
            self._looking = None

    def _lost(self, token: str, as_administrator: bool) -> status_pb2.Status | None:
        # A file of tokens that cannot be read at the moment does not remove any token.
        with contextlib.suppress(TokensError):
            return self._lost_access(token, as_administrator) if token else None
        return None


def _over_time(seconds: float) -> status_pb2.Status:
    message = f"the call has reached its maximum duration of {seconds:g} s; call again to go on"
    return status(grpc.StatusCode.DEADLINE_EXCEEDED, "MAX_DEADLINE", message)
