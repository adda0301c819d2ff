"""Open calls: limits their number per tenant, and ends those that take too long or lose their access."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Literal

import grpc
from google.rpc import status_pb2

from impasto_server.contract.errors import CallError, exhausted, status
from impasto_server.contract.texts import counted
from impasto_server.gateway.tokens import CHECK_SECONDS, TokensError

MAX_SHORT_CALLS = 256
"""Maximum open calls of a tenant that neither stream nor wait."""

MAX_LINKED_CALLS = 256
"""Maximum open downloads of a tenant's links, beside the calls of the tenant itself."""

MAX_CALLS_OF_LINK = 16
"""Maximum open downloads of one link. Whoever has one link cannot keep others from loading the rest."""

LINKED_SECONDS = 120.0
"""Maximum duration of a link's download, without `SECONDS_OF_PIECE`."""

SECONDS_OF_PIECE = 4.0
"""Time by which each piece that a link's reader takes makes its download last longer: 64 KiB/s."""

_RETRY_SECONDS = 5.0
_AGAIN_SECONDS = 0.05

_Kind = Literal["streams", "calls", "link", "links"]


@dataclasses.dataclass(frozen=True)
class Right:
    """What gives a caller access, and can be taken away.

    Attributes:
        token: the caller's; empty for whoever has a link.
        tenant: whose link it is; empty for whoever has a token.
        as_administrator: whether the caller needs the right of an administrator.
    """

    token: str = ""
    tenant: str = ""
    as_administrator: bool = False


@dataclasses.dataclass(eq=False)
class OpenCall:
    """An open call.

    Attributes:
        task: answers it.
        right: gives its caller access; None if it cannot be lost.
        seconds: maximum duration.
        until: event-loop time at which the maximum is reached.
        ending: the status with which it was told to end; None before.
    """

    task: asyncio.Task[object]
    right: Right | None
    seconds: float
    until: float
    ending: status_pb2.Status | None = None

    def give(self, seconds: float) -> None:
        """Lets the call last longer."""
        self.seconds += seconds
        self.until += seconds

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

    def __init__(self, most_streams: int, lost_access: Callable[[Right], status_pb2.Status | None]) -> None:
        """
        Args:
            most_streams: maximum calls of a tenant that stream or wait.
            lost_access: returns the status with which the calls that a right gives access to end; None while
                it lasts. May raise `TokensError`.
        """
        self._most = {True: most_streams, False: MAX_SHORT_CALLS}
        self._lost_access = lost_access
        self._counts: collections.Counter[tuple[str, _Kind]] = collections.Counter()
        self._calls: set[OpenCall] = set()
        self._looking: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def entered(self, tenant: str, *, right: Right | None, seconds: float, long: bool) -> Iterator[OpenCall]:
        """Registers a tenant's own call, answered by the current task, for the duration of the block.

        Args:
            tenant: the caller.
            right: gives the caller access.
            seconds: maximum duration.
            long: whether the call streams or waits.

        Raises:
            CallError: RESOURCE_EXHAUSTED: the tenant has the maximum of such calls.
        """
        # Waiting calls count as streams, too.
        what = counted(self._most[long], "open stream" if long else "open call")
        message = f"you have {what}, the maximum; end one of them first"
        with (
            self._counted(tenant, "streams" if long else "calls", self._most[long], tenant, message),
            self._registered(seconds, right) as call,
        ):
            yield call

    @contextlib.contextmanager
    def entered_by_link(self, tenant: str, link: str, right: Right | None) -> Iterator[OpenCall]:
        """Registers a download by whoever has a link; as `entered`, for `LINKED_SECONDS`.

        Args:
            tenant: whose picture it is.
            link: which link.
            right: gives the caller access.

        Raises:
            CallError: RESOURCE_EXHAUSTED: the link, or the tenant's links, have the maximum of downloads.
        """
        of_link = f"the link's picture is being loaded {MAX_CALLS_OF_LINK} times, the maximum; try again soon"
        of_all = f"{MAX_LINKED_CALLS} pictures of links are being loaded, the maximum; try again soon"
        with (
            self._counted(link, "link", MAX_CALLS_OF_LINK, tenant, of_link),
            self._counted(tenant, "links", MAX_LINKED_CALLS, tenant, of_all),
            self._registered(LINKED_SECONDS, right) as call,
        ):
            yield call

    @property
    def open_streams(self) -> int:
        """The number of open calls that stream or wait."""
        return sum(number for (_, kind), number in self._counts.items() if kind in ("streams", "links"))

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

    @contextlib.contextmanager
    def _counted(self, whose: str, kind: _Kind, most: int, tenant: str, message: str) -> Iterator[None]:
        """Counts a call for the duration of the block, unless there are `most` already."""
        key = whose, kind
        if self._counts[key] >= most:
            raise CallError(exhausted("TOO_MANY_CALLS", f"tenant:{tenant}", message, _RETRY_SECONDS))
        self._counts[key] += 1
        try:
            yield
        finally:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    @contextlib.contextmanager
    def _registered(self, seconds: float, right: Right | None) -> Iterator[OpenCall]:
        task = asyncio.current_task()
        assert task is not None
        until = asyncio.get_running_loop().time() + seconds
        call = OpenCall(task, right, seconds, until)
        self._calls.add(call)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_after_them())
        try:
            yield call
        finally:
            self._calls.remove(call)

    async def _look_after_them(self) -> None:
        """Ends calls that have lost their access or exceed their time, until no call is open."""
        loop = asyncio.get_running_loop()
        try:
            while self._calls:
                await asyncio.sleep(CHECK_SECONDS)
                lost = {right: self._lost(right) for right in {call.right for call in self._calls}}
                for call in list(self._calls):
                    ending = lost[call.right]
                    if ending is None and loop.time() >= call.until:
                        ending = _over_time(call.seconds)
                    if ending is not None:
                        call.end(ending)
        finally:
            self._looking = None

    def _lost(self, right: Right | None) -> status_pb2.Status | None:
        # A file of tokens that cannot be read at the moment does not remove any token.
        with contextlib.suppress(TokensError):
            return self._lost_access(right) if right is not None else None
        return None


def _over_time(seconds: float) -> status_pb2.Status:
    message = f"the call has reached its maximum duration of {seconds:g} s; call again to go on"
    return status(grpc.StatusCode.DEADLINE_EXCEEDED, "MAX_DEADLINE", message)
