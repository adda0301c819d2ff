"""The limits for the bodies of calls: size, time, and memory that tenants share.

The gateway has the same limits for messages (`gateway/reading.py`). Here they hold before a message is whole.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections.abc import MutableMapping
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from impasto_server.shares import Shares
from impasto_server.web.requests import Receive

_WAIT_SECONDS = 60.0
_SMALL_MEMORY = 32 << 20
_JSON_NUMERATOR, _JSON_DENOMINATOR = 4, 3
"""Base64 makes the pictures in JSON a third larger."""
_MOST_MARKS = 65_536


@dataclasses.dataclass(frozen=True)
class Kind:
    """The limits for the requests of a call.

    Attributes:
        most_bytes: maximum size of a message in protobuf's binary form.
        seconds: maximum time until a request has arrived; for a stream of messages, between two parts of it.
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


@dataclasses.dataclass
class _Hold:
    """Memory that a request has."""

    memory: Shares
    tenant: str
    size: int


_hold: contextvars.ContextVar[_Hold | None] = contextvars.ContextVar("hold", default=None)


class Bodies:
    """The memory for requests that are arriving, or on their way to the gateway."""

    def __init__(self, memory: int) -> None:
        """
        Args:
            memory: maximum bytes for requests with images; one tenant gets half of it.
        """
        self._large = Shares(memory // 2, memory)
        # Apart, so that a call can be made while pictures wait for their turn.
        self._small = Shares(_SMALL_MEMORY // 16, _SMALL_MEMORY)

    async def admit(self, tenant: str, kind: Kind, length: int | None) -> None:
        """Waits until there is memory for a request, and takes it for the current task.

        Args:
            tenant: the caller.
            kind: of the call.
            length: of the body in bytes; None if it is not known.

        Raises:
            ConnectError: INVALID_ARGUMENT: the body is too large. RESOURCE_EXHAUSTED: there is no memory.
        """
        if length is not None and length > kind.most_read:
            message = f"the request has {length:,} bytes; send at most {kind.most_bytes:,}"
            raise ConnectError(Code.INVALID_ARGUMENT, message)
        memory = self._small if kind is SMALL else self._large
        size = kind.most_bytes if length is None else min(length, kind.most_bytes)
        try:
            await memory.take(tenant, size, _WAIT_SECONDS)
        except asyncio.TimeoutError:
            message = "the server is receiving too many requests at the same time; try again"
            raise ConnectError(Code.RESOURCE_EXHAUSTED, message) from None
        _hold.set(_Hold(memory, tenant, size))


def release() -> None:
    """Gives back the current request's memory. Does nothing if that was done before."""
    hold = _hold.get()
    if hold is not None:
        _hold.set(None)
        hold.memory.give_back(hold.tenant, hold.size)


def timed(receive: Receive, kind: Kind, *, streams: bool) -> Receive:
    """Limits the time in which a request arrives.

    Args:
        receive: of ASGI.
        kind: of the call.
        streams: whether the time is for each part, since the request is a stream.

    Returns:
        A `receive` that raises a ConnectError (DEADLINE_EXCEEDED) if the request does not arrive in time.
    """
    until: float | None = None
    complete = False

    async def receive_in_time() -> MutableMapping[str, Any]:
        nonlocal until, complete
        if complete:
            return await receive()
        if until is None or streams:
            until = asyncio.get_running_loop().time() + kind.seconds
        try:
            left = until - asyncio.get_running_loop().time()
            message = await asyncio.wait_for(receive(), max(0.0, left))
        except asyncio.TimeoutError:
            why = f"the request did not arrive within {kind.seconds:g} s; send it sooner, or in smaller parts"
            raise ConnectError(Code.DEADLINE_EXCEEDED, why) from None
        complete = not message.get("more_body", False)
        return message

    return receive_in_time


def check_json(text: bytes) -> None:
    """Checks that JSON has a moderate number of values before it is parsed.

    A few megabytes of "{},{},…" would become a gigabyte of objects. Pictures in base64 have none of the marks
    that separate values.

    Raises:
        ConnectError: INVALID_ARGUMENT: it has too many.
    """
    if sum(text.count(mark) for mark in (b"{", b"[", b",", b":")) > _MOST_MARKS:
        raise ConnectError(Code.INVALID_ARGUMENT, "the request has too many values; leave some out")
