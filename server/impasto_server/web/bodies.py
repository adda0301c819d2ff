"""The limits for the bodies of calls: size, time, and memory that tenants share.

The gateway has the same limits for messages (`gateway/reading.py`). Here they hold before a message is whole.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import math
from collections.abc import MutableMapping
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from impasto_server.shares import Shares
from impasto_server.web.requests import Receive

FAIR_SECONDS = 10.0
"""Minimum time in seconds that a request with images gets to arrive while other tenants wait for memory."""

_WAIT_SECONDS = 60.0
_PRESS_SECONDS = 0.5
_BEGINNING = 1 << 20
"""Of so many bytes of a request with images, only those are counted that have arrived."""

_PART = 64 << 10
_SMALL_MEMORY = 32 << 20
_JSON_NUMERATOR, _JSON_DENOMINATOR = 4, 3
"""Base64 makes the pictures in JSON a third larger."""
_MOST_MARKS = 65_536


@dataclasses.dataclass(frozen=True)
class Kind:
    """The limits for the requests of a call.

    Attributes:
        most_bytes: maximum size of a message in protobuf's binary form.
        seconds: maximum time until a request has arrived; for a stream of messages, each 64 KiB of it.
    """

    most_bytes: int
    seconds: float

    @property
    def most_read(self) -> int:
        """Maximum size of a message in either form."""
        return self.most_bytes * _JSON_NUMERATOR // _JSON_DENOMINATOR + 65_536


SMALL = Kind(64 << 10, 5.0)
PIECE = Kind((4 << 20) + 4096, 120.0)
WITH_IMAGES = Kind(64 << 20, 120.0)

_KINDS = {
    "Stylize": WITH_IMAGES,
    "CreateJob": WITH_IMAGES,
    "EstimateJob": WITH_IMAGES,
    "UploadImage": PIECE,
    "UploadImagePiece": PIECE,
}


def kind_of(method: str) -> Kind:
    """Returns the limits for a method, by its name without its service."""
    return _KINDS.get(method, SMALL)


class Bodies:
    """The memory for requests that are arriving, or on their way to the gateway."""

    def __init__(self, memory: int) -> None:
        """
        Args:
            memory: maximum bytes for requests with images; one tenant gets half of it. An eighth more is
                for the beginnings of requests.
        """
        self._whole = Shares(memory // 2, memory)
        # Apart, so that who has sent nothing yet keeps nobody from sending, and a request that waits for its
        # turn not those that need none.
        self._beginnings = Shares(memory // 32, memory // 8)
        # Apart, so that a call can be made while pictures wait for their turn.
        self._small = Shares(_SMALL_MEMORY // 16, _SMALL_MEMORY)
        self._coming: set[Body] = set()

    def begin(self, kind: Kind, length: int | None, *, streams: bool) -> Body:
        """Begins a request of the current task.

        Args:
            kind: of the call.
            length: of the body in bytes; None if it is not known.
            streams: whether it is a stream of messages.
        """
        body = Body(self, kind, length, streams=streams)
        _current.set(body)
        return body

    async def make_room(self, body: Body, arrived: int) -> None:
        """Waits until there is memory for what has arrived of a request, and takes it.

        Raises:
            ConnectError: RESOURCE_EXHAUSTED: there is none.
        """
        kind = body.kind
        need = min(arrived, kind.most_bytes)
        if need <= body.size:
            return
        memory, size = self._beginnings, need
        if kind is SMALL:
            memory = self._small
        elif need > _BEGINNING:
            # The rest at once. Requests of which each had a half would wait for each other.
            memory = self._whole
            size = kind.most_bytes if body.length is None else max(need, min(body.length, kind.most_bytes))
        same = memory is body.memory
        pressing = asyncio.create_task(self._press(memory, body.tenant))
        try:
            await memory.take(body.tenant, size - body.size if same else size, _WAIT_SECONDS)
        except asyncio.TimeoutError:
            message = "the server is receiving too many requests at the same time; try again"
            raise ConnectError(Code.RESOURCE_EXHAUSTED, message) from None
        finally:
            pressing.cancel()
        if not same:
            body.release()
        body.memory, body.size = memory, size

    def is_coming(self, body: Body, *, coming: bool) -> None:
        """Notes whether a request is awaited."""
        (self._coming.add if coming else self._coming.discard)(body)

    async def _press(self, memory: Shares, tenant: str) -> None:
        """While a tenant without any memory waits, ends slow requests of tenants that have some."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_PRESS_SECONDS)
            slow = [
                body
                for body in self._coming
                if body.memory is memory and loop.time() - body.since >= FAIR_SECONDS
            ]
            if slow and not memory.of(tenant):
                # The slowest request of the tenant that has the most memory.
                max(slow, key=lambda body: (memory.of(body.tenant), -body.since)).end()


class Body:
    """A request while it arrives, and until the gateway has it.

    Attributes:
        kind: of the call.
        length: in bytes; None if it is not known.
        tenant: the caller, once it is known; before that nothing is read.
        memory, size: the memory that it has, and how much.
        since: event-loop time since which it, or the next part of a stream, is awaited.
    """

    def __init__(self, bodies: Bodies, kind: Kind, length: int | None, *, streams: bool) -> None:
        """See `Bodies.begin`."""
        self.kind = kind
        self.length = length
        self.tenant = ""
        self.memory: Shares | None = None
        self.size = 0
        self.since = math.inf
        self._bodies = bodies
        self._streams = streams
        self._arrived = 0
        self._part = 0
        self._complete = False
        self._too_slow: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def admit(self, tenant: str) -> None:
        """Lets the request be read.

        Raises:
            ConnectError: INVALID_ARGUMENT: it is too large.
        """
        self._check_size(self.length or 0)
        self.tenant = tenant

    def reader(self, receive: Receive) -> Receive:
        """Limits the time and the memory in which a request arrives.

        Args:
            receive: of ASGI.

        Returns:
            A `receive` that raises a ConnectError if the request does not arrive in time, or has no room.
        """

        async def receive_limited() -> MutableMapping[str, Any]:
            if self._complete:
                return await receive()
            message = await self._next(receive)
            self._arrived += len(message.get("body", b""))
            self._check_size(self._arrived)
            self._complete = not message.get("more_body", False)
            # The caller is not blamed for the time in which it has to wait.
            self._bodies.is_coming(self, coming=False)
            began = asyncio.get_running_loop().time()
            await self._bodies.make_room(self, self._arrived)
            self.since += asyncio.get_running_loop().time() - began
            self._bodies.is_coming(self, coming=not self._complete)
            return message

        return receive_limited

    def _check_size(self, size: int) -> None:
        if size > self.kind.most_read and not self._streams:
            message = f"the request has {size:,} bytes or more; send at most {self.kind.most_bytes:,}"
            raise ConnectError(Code.INVALID_ARGUMENT, message)

    async def _next(self, receive: Receive) -> MutableMapping[str, Any]:
        if self.since == math.inf or (self._streams and self._arrived - self._part >= _PART):
            self._part = self._arrived
            self.since = asyncio.get_running_loop().time()
            self._bodies.is_coming(self, coming=True)
        loop = asyncio.get_running_loop()
        reading = asyncio.ensure_future(receive())
        try:
            left = self.since + self.kind.seconds - loop.time()
            await asyncio.wait(
                (reading, self._too_slow), timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
            )
            if reading.done():
                return reading.result()
        finally:
            reading.cancel()
        others = self._too_slow.done()
        seconds = f"{FAIR_SECONDS:g} s while others waited" if others else f"{self.kind.seconds:g} s"
        why = f"the request did not arrive within {seconds}; send it sooner, or in smaller parts"
        raise ConnectError(Code.DEADLINE_EXCEEDED, why)

    def end(self) -> None:
        """Has the request end, as too slow."""
        if not self._too_slow.done():
            self._too_slow.set_result(None)

    def close(self) -> None:
        """Ends what the request has, when it is answered."""
        self._bodies.is_coming(self, coming=False)
        self.release()

    def release(self) -> None:
        """Gives back the memory."""
        if self.memory is not None:
            self.memory.give_back(self.tenant, self.size)
        self.memory, self.size = None, 0


_current: contextvars.ContextVar[Body] = contextvars.ContextVar("body")


def admit(tenant: str) -> None:
    """Lets the current request be read; see `Body.admit`."""
    _current.get().admit(tenant)


def release() -> None:
    """Gives back the current request's memory. Does nothing if that was done before."""
    _current.get().release()


def check_json(text: bytes) -> None:
    """Checks that JSON has a moderate number of values before it is parsed.

    A few megabytes of "{},{},…" would become a gigabyte of objects. Pictures in base64 have none of the marks
    that separate values.

    Raises:
        ConnectError: INVALID_ARGUMENT: it has too many.
    """
    if sum(text.count(mark) for mark in (b"{", b"[", b",", b":")) > _MOST_MARKS:
        raise ConnectError(Code.INVALID_ARGUMENT, "the request has too many values; leave some out")
