"""Reads callers' messages within limits of size, time and number.

gRPC keeps a whole message, of up to `MAX_REQUEST_BYTES`, in memory before it hands it over, whichever call it
is for. The number of messages that are read at the same time is therefore limited. Flow control holds a
sender back until its message is read.
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
"""Maximum size of a message."""

FAIR_SECONDS = 10.0
"""Minimum time in seconds that a request with images gets to arrive while other tenants wait for memory."""

_WAIT_SECONDS = 60.0
_PRESS_SECONDS = 0.5
_RETRY_SECONDS = 5.0
# This also limits how long one message can occupy the event loop: all work on texts and lists takes time.
_BESIDE_IMAGES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Kind:
    """The limits for the messages of a call.

    Attributes:
        most_bytes: maximum size of a message.
        seconds: maximum time until a message has arrived.
        at_once: maximum messages of one tenant that are read at the same time.
        stand_in: used in place of a message that does not arrive in time; None: the call ends with an error.
    """

    most_bytes: int
    seconds: float
    at_once: int
    stand_in: bytes | None = None


SMALL = Kind(_BESIDE_IMAGES, 5.0, 2)
PIECE = Kind(4 * 1024 * 1024 + 4096, 120.0, 4)
DIALOGUE = Kind(_BESIDE_IMAGES, 120.0, 4)
"""For a stream of questions, with pauses between them."""

WITH_IMAGES = Kind(MAX_REQUEST_BYTES, 120.0, 2)
HEALTH = Kind(4096, 0.02, 1, stand_in=b"")
"""Health checks need no access. A request that does not arrive in time counts as one for the whole server."""

Parse = Callable[[bytes], Any]
"""Parses a message."""

_SERVICE = "/impasto.v1.StyleTransfer/"
_KINDS = {
    f"{_SERVICE}Stylize": WITH_IMAGES,
    f"{_SERVICE}CreateJob": WITH_IMAGES,
    f"{_SERVICE}EstimateJob": WITH_IMAGES,
    f"{_SERVICE}UploadImage": PIECE,
    f"{_SERVICE}UploadImagePiece": PIECE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": DIALOGUE,
    "/grpc.health.v1.Health/Check": HEALTH,
    "/grpc.health.v1.Health/Watch": HEALTH,
}


def kind_of(method: str) -> Kind:
    """Returns the limits for a method, named as in "/package.Service/Method"."""
    return _KINDS.get(method, SMALL)


@dataclasses.dataclass(eq=False)
class _Hold:
    """A call's share of the memory for requests.

    Attributes:
        tenant: the caller.
        memory: the memory for requests.
        size: in bytes.
        since: event-loop time since which its message is awaited.
        too_slow: set when other tenants have waited long enough for this memory.
    """

    tenant: str
    memory: Shares
    size: int = 0
    since: float = 0.0
    too_slow: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    def shrink(self, size: int) -> None:
        """Gives back all but `size` bytes."""
        less = self.size - size
        if less > 0:
            self.size = size
            self.memory.give_back(self.tenant, less)


_hold: contextvars.ContextVar[_Hold] = contextvars.ContextVar("hold")


def put_away() -> None:
    """Gives back the current call's share of the memory for requests, once its images are stored.

    Does nothing if it was called before, or outside of a call.
    """
    hold = _hold.get(None)
    if hold is not None:
        hold.shrink(0)


class Reading:
    """Reads the messages of all calls."""

    def __init__(self, memory: int) -> None:
        """
        Args:
            memory: maximum bytes for all requests with images, from when they begin to arrive until their
                images are stored. One tenant gets half of it. At least twice the largest request.
        """
        self._turns = {kind: Shares(kind.at_once) for kind in (SMALL, PIECE, DIALOGUE, HEALTH)}
        self._memory = Shares(memory // 2, memory)
        # The calls whose requests with images are arriving.
        self._coming: set[_Hold] = set()

    @property
    def held_bytes(self) -> int:
        """The memory that requests with images use now."""
        return self._memory.taken

    @contextlib.contextmanager
    def of(self, tenant: str) -> Iterator[None]:
        """Reads for one call of a tenant. At the end of the block all its memory is given back."""
        _hold.set(_Hold(tenant, self._memory))
        try:
            yield
        finally:
            put_away()

    async def message(self, context: Any, kind: Kind, parse: Parse | None) -> Any:
        """Reads the only message of a call.

        Raises:
            CallError: INVALID_ARGUMENT: the message is missing, too large or malformed. DEADLINE_EXCEEDED: it
                does not arrive in time. RESOURCE_EXHAUSTED: too many other messages are awaited.
        """
        try:
            async with self._turn(kind):
                data = await self._next(context, kind)
        except CallError:
            if kind.stand_in is None:
                raise
            data = kind.stand_in
        if data is None:
            raise CallError(invalid_argument([("request", "is missing; send a message")]))
        return _parsed(data, kind, parse)

    async def messages(self, context: Any, kind: Kind, parse: Parse | None) -> AsyncGenerator[Any, None]:
        """Yields the messages of a call that streams them. The generator must be closed.

        A message counts towards `at_once` until the next is asked for, because its handling takes time too.

        Raises:
            CallError: as `message`, except that there need not be any message.
        """
        while True:
            async with self._turn(kind):
                data = await self._next(context, kind)
                if data is None:
                    return
                yield _parsed(data, kind, parse)

    async def _next(self, context: Any, kind: Kind) -> bytes | None:
        """Reads the next message of a call; None after the last."""
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
        """Waits for the right to read a message. For one with images this is memory, which the call keeps."""
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
        """While a tenant without any memory waits, ends slow requests of tenants that have some."""
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
                # The slowest request of the tenant that has the most memory.
                first = max(slow, key=lambda hold: (self._memory.of(hold.tenant), -hold.since))
                first.too_slow.set()


async def _take(shares: Shares, tenant: str, amount: int, wait: float) -> None:
    try:
        await shares.take(tenant, amount, wait)
    except asyncio.TimeoutError:
        subject, whose = (f"tenant:{tenant}", " of yours") if shares.of(tenant) else ("server", "")
        message = f"the server is receiving too many requests{whose} at the same time; try again"
        raise CallError(exhausted("TOO_MANY_REQUESTS", subject, message, _RETRY_SECONDS)) from None


def _slow(kind: Kind, *, others_wait: bool) -> status_pb2.Status:
    seconds, why = (FAIR_SECONDS, " while others waited") if others_wait else (kind.seconds, "")
    message = (
        f"the request did not arrive within {seconds:g} s{why}; send smaller images, or upload them first"
        if kind is WITH_IMAGES
        else f"the request did not arrive within {seconds:g} s{why}; send it sooner, or in smaller parts"
    )
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
        fault = "is not a message for this call; use code generated from the server's .proto files"
        raise CallError(invalid_argument([("request", fault)])) from None


@functools.lru_cache
def _type_of(parse: Parse) -> Descriptor | None:
    """Returns the type of message that a deserializer makes; None if it does not make messages."""
    empty = parse(b"")
    return cast(Descriptor, empty.DESCRIPTOR) if isinstance(empty, Message) else None
