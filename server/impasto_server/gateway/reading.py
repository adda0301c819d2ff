"""Takes in callers' messages: how large they may be, how long they may take, and how many at a time.

gRPC holds a whole message, of up to `MAX_REQUEST_BYTES`, before it gives it away, whichever call it is for.
So what is bounded is how many are awaited at a time; until one is, flow control holds its sender back.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from impasto_server.contract.errors import CallError, exhausted, invalid_argument, status
from impasto_server.gateway.weighing import Malformed, Overweight, weigh
from impasto_server.shares import Shares

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""Length of the largest message."""

_WAIT_SECONDS = 60.0
_RETRY_SECONDS = 5.0
# Also what one message can have the event loop do: all that is done with a text or a list takes time.
_BESIDE_IMAGES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Kind:
    """What the messages of a call are.

    Attributes:
        most_bytes: length of one, at most.
        seconds: time that one may take to come, and a caller to send it.
        at_once: how many of one tenant are awaited at a time.
        stand_in: what is taken for a message that does not come soon; None: the call ends with an error.
    """

    most_bytes: int
    seconds: float
    at_once: int
    stand_in: bytes | None = None


SMALL = Kind(_BESIDE_IMAGES, 5.0, 2)
PIECE = Kind(4 * 1024 * 1024 + 4096, 120.0, 4)
DIALOGUE = Kind(_BESIDE_IMAGES, 120.0, 4)
"""Of a stream that asks one thing after another, as people or tools come to it."""

WITH_IMAGES = Kind(MAX_REQUEST_BYTES, 120.0, 2)
HEALTH = Kind(4096, 0.02, 1, stand_in=b"")
"""Anybody may ask. Who does not get to be heard asks for the server as a whole."""

Parse = Callable[[bytes], Any]
"""Makes a message of its bytes."""

_SERVICE = "/impasto.v1.StyleTransfer/"
_KINDS = {
    f"{_SERVICE}Stylize": WITH_IMAGES,
    f"{_SERVICE}CreateJob": WITH_IMAGES,
    f"{_SERVICE}UploadImage": PIECE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": DIALOGUE,
    "/grpc.health.v1.Health/Check": HEALTH,
    "/grpc.health.v1.Health/Watch": HEALTH,
}


def kind_of(method: str) -> Kind:
    """What the messages of a method are, named as in "/package.Service/Method"."""
    return _KINDS.get(method, SMALL)


@dataclasses.dataclass
class _Hold:
    """What a call has of the memory for requests, bytes."""

    tenant: str
    memory: Shares
    size: int = 0

    def shrink(self, size: int) -> None:
        """Gives back what there is beyond a size."""
        less = self.size - size
        if less > 0:
            self.size = size
            self.memory.give_back(self.tenant, less)


_hold: contextvars.ContextVar[_Hold] = contextvars.ContextVar("hold")


def put_away() -> None:
    """The images of the current call's request are not in memory any more: gives their room back.

    Harmless when repeated, and where there is no call.
    """
    hold = _hold.get(None)
    if hold is not None:
        hold.shrink(0)


class Reading:
    """Reads the messages of all calls."""

    def __init__(self, memory: int) -> None:
        """
        Args:
            memory: what requests with images may take together, bytes, from when they begin to come until
                their images are put away; one tenant gets half of it. At least two of the largest.
        """
        self._turns = {kind: Shares(kind.at_once) for kind in (SMALL, PIECE, DIALOGUE, HEALTH)}
        self._memory = Shares(memory // 2, memory)

    @property
    def held_bytes(self) -> int:
        """What requests with images take now."""
        return self._memory.taken

    @contextlib.contextmanager
    def of(self, tenant: str) -> Iterator[None]:
        """The reading of one call of a tenant. At its end nothing is held for it any more."""
        _hold.set(_Hold(tenant, self._memory))
        try:
            yield
        finally:
            put_away()

    async def message(self, context: Any, kind: Kind, parse: Parse | None) -> Any:
        """The only message of a call.

        Raises:
            CallError: INVALID_ARGUMENT: there is none, it is too large or it is none of this call's.
                DEADLINE_EXCEEDED: it does not come. RESOURCE_EXHAUSTED: too many others are awaited.
        """
        try:
            async with self._turn(kind):
                data = await self._next(context, kind)
        except CallError:
            if kind.stand_in is None:
                raise
            data = kind.stand_in
        if data is None:
            raise CallError(invalid_argument([("request", "is missing; send one message")]))
        return _parsed(data, kind, parse)

    async def messages(self, context: Any, kind: Kind, parse: Parse | None) -> AsyncGenerator[Any, None]:
        """The messages of a call that streams them. Each counts as awaited until the next is asked for, since
        what is done with it takes time, too. Has to be closed.

        Raises:
            CallError: as `message`; that there is none is no error.
        """
        while True:
            async with self._turn(kind):
                data = await self._next(context, kind)
                if data is None:
                    return
                yield _parsed(data, kind, parse)

    async def _next(self, context: Any, kind: Kind) -> bytes | None:
        """The next message of a call; None after the last."""
        try:
            data = await asyncio.wait_for(context.read(), kind.seconds)
        except asyncio.TimeoutError:
            message = (
                f"the request did not come within {kind.seconds:g} s; send it sooner, or in smaller parts"
            )
            raise CallError(status(grpc.StatusCode.DEADLINE_EXCEEDED, "SLOW_REQUEST", message)) from None
        if data is grpc.aio.EOF:
            return None
        assert isinstance(data, bytes)
        _hold.get().shrink(len(data))
        return data

    @contextlib.asynccontextmanager
    async def _turn(self, kind: Kind) -> AsyncIterator[None]:
        """The right to await a message. For one with images that is room in memory, which the call keeps."""
        hold = _hold.get()
        turns = self._turns.get(kind)
        shares, amount = (self._memory, kind.most_bytes) if turns is None else (turns, 1)
        wait = _WAIT_SECONDS if kind.stand_in is None else kind.seconds / 2
        try:
            await shares.take(hold.tenant, amount, wait)
        except asyncio.TimeoutError:
            message = "the server takes in as many of your requests as it can; try again"
            subject = f"tenant:{hold.tenant}"
            raise CallError(exhausted("TOO_MANY_REQUESTS", subject, message, _RETRY_SECONDS)) from None
        if turns is None:
            hold.size = amount
            yield
            return
        try:
            yield
        finally:
            shares.give_back(hold.tenant, amount)


def _parsed(data: bytes, kind: Kind, parse: Parse | None) -> Any:
    if len(data) > kind.most_bytes:
        fault = f"has {len(data):,} bytes; send at most {kind.most_bytes:,}"
        raise CallError(invalid_argument([("request", fault)]))
    if parse is None:
        return data
    try:
        type = _type_of(parse)
        if type is not None:
            weigh(data, type, _BESIDE_IMAGES)
        return parse(data)
    except Overweight as error:
        raise CallError(invalid_argument([("request", str(error))])) from None
    except (Malformed, DecodeError):
        fault = "is no message that this call takes; make it with code from the server's .proto files"
        raise CallError(invalid_argument([("request", fault)])) from None


@functools.lru_cache
def _type_of(parse: Parse) -> Descriptor | None:
    """What a deserializer makes, if that is messages."""
    empty = parse(b"")
    return cast(Descriptor, empty.DESCRIPTOR) if isinstance(empty, Message) else None
