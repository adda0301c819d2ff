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
from google.rpc import status_pb2

from impasto_server.contract.errors import CallError, exhausted, invalid_argument, status
from impasto_server.gateway.weighing import Malformed, Overweight, weigh
from impasto_server.shares import Shares

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""Length of the largest message."""

FAIR_SECONDS = 10.0
"""What a request with images has at least to come in, while others wait that have nothing."""

_WAIT_SECONDS = 60.0
_PRESS_SECONDS = 0.5
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


@dataclasses.dataclass(eq=False)
class _Hold:
    """What a call has of the memory for requests.

    Attributes:
        tenant: whose call it is.
        memory: what it has it from.
        size: bytes.
        since: time of the event loop since when its message is awaited.
        too_slow: told when others have waited for it for long enough.
    """

    tenant: str
    memory: Shares
    size: int = 0
    since: float = 0.0
    too_slow: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

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
        # Those with images that are coming in.
        self._coming: set[_Hold] = set()

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
        too_slow = asyncio.ensure_future(_hold.get().too_slow.wait())
        reading = asyncio.ensure_future(context.read())
        try:
            await asyncio.wait((reading, too_slow), timeout=kind.seconds, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise CallError(_slow(kind, others_wait=too_slow.done()))
            data = reading.result()
        finally:
            too_slow.cancel()
            reading.cancel()
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
        wait = _WAIT_SECONDS if kind.stand_in is None else kind.seconds / 2
        if turns is None:
            async with self._pressing(hold.tenant):
                await _take(self._memory, hold.tenant, kind.most_bytes, wait)
            hold.size, hold.since = kind.most_bytes, asyncio.get_running_loop().time()
            self._coming.add(hold)
            try:
                yield
            finally:
                self._coming.discard(hold)
            return
        await _take(turns, hold.tenant, 1, wait)
        try:
            yield
        finally:
            turns.give_back(hold.tenant, 1)

    @contextlib.asynccontextmanager
    async def _pressing(self, tenant: str) -> AsyncIterator[None]:
        """As long as a tenant waits that has nothing, those do not have all the time who have something."""
        pressing = asyncio.create_task(self._press(tenant))
        try:
            yield
        finally:
            pressing.cancel()

    async def _press(self, tenant: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_PRESS_SECONDS)
            slow = [hold for hold in self._coming if loop.time() - hold.since >= FAIR_SECONDS]
            if slow and not self._memory.of(tenant):
                # Of the tenant that has most, the one that takes longest.
                first = max(slow, key=lambda hold: (self._memory.of(hold.tenant), -hold.since))
                first.too_slow.set()


async def _take(shares: Shares, tenant: str, amount: int, wait: float) -> None:
    try:
        await shares.take(tenant, amount, wait)
    except asyncio.TimeoutError:
        subject, which = (f"tenant:{tenant}", " of your") if shares.of(tenant) else ("server", "")
        message = f"the server takes in as many{which} requests as it can; try again"
        raise CallError(exhausted("TOO_MANY_REQUESTS", subject, message, _RETRY_SECONDS)) from None


def _slow(kind: Kind, *, others_wait: bool) -> status_pb2.Status:
    seconds, why = (FAIR_SECONDS, " while others waited") if others_wait else (kind.seconds, "")
    message = f"the request did not come within {seconds:g} s{why}; send it sooner, or in smaller parts"
    return status(grpc.StatusCode.DEADLINE_EXCEEDED, "SLOW_REQUEST", message)


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
