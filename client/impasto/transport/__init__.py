"""How calls travel: one interface, so that another gRPC stack or a test can take the place of the usual one.

A transport moves messages and tells how a call ended; what an ending means is for `impasto.errors` to say.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

from impasto.security import Tls

if TYPE_CHECKING:
    from google.protobuf.message import Message

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")
Received = TypeVar("Received", bound="Message", covariant=True)

CONNECT_TIMEOUT = 10.0
"""Seconds that connecting may take, the handshake included."""
KEEPALIVE_TIME = 30.0
"""Seconds after which a server is asked whether it still lives."""
KEEPALIVE_TIMEOUT = 10.0
"""Seconds that it may take to say so."""


@dataclasses.dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """A call of the service.

    Attributes:
        path: as it stands on the wire: "/package.Service/Method".
        request, response: the classes of its messages.
        bulk: its answers are pieces of one large thing, which may come far ahead of the reader. All others
            are news, which are to be fresh when they are read.
    """

    path: str
    request: type[Request]
    response: type[Response]
    bulk: bool = False


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """The server at the other end, and how to speak to it.

    Attributes:
        address: in full, as `impasto.address.parse` gives it.
        tls: how the connection is protected; None for plaintext.
        metadata: pairs that go with every call; the keys in lower case.
    """

    address: str
    tls: Tls | None = None
    metadata: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)


class TransportError(Exception):
    """A call ended with a code other than OK, whoever said so.

    A connection that broke is always UNAVAILABLE here, whatever a gRPC stack makes of it.

    Attributes:
        code: the canonical gRPC code's name.
        message: the status message.
        details: the trailer "grpc-status-details-bin", if one came.
        unreached: True if no connection came about, so that the call has certainly not been made.
    """

    def __init__(
        self, code: str, message: str, details: bytes | None = None, *, unreached: bool = False
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details
        self.unreached = unreached


class Stream(Protocol[Received]):
    """The messages of a call as they come."""

    def receive(self, timeout: float | None) -> Received | None:
        """Waits for the next message; None after the last.

        Args:
            timeout: seconds after which the connection counts as broken; None to wait for ever.

        Raises:
            TransportError: the call failed; UNAVAILABLE if nothing came in time, CANCELLED after `cancel`.
        """

    def cancel(self) -> None:
        """Leaves the call, from any thread; a blocked `receive` ends with CANCELLED. Harmless once over."""


class Transport(Protocol):
    """A way to one server. Safe to use from several threads."""

    def unary(self, method: Method[Request, Response], request: Request, *, timeout: float) -> Response:
        """Makes a call with one answer.

        Args:
            timeout: its deadline in seconds from now.

        Raises:
            TransportError: it did not end with OK.
        """

    def upload(
        self, method: Method[Request, Response], requests: Iterable[Request], *, timeout: float
    ) -> Response:
        """Makes a call that takes several messages and gives one answer, maybe before it took them all.

        Args:
            requests: there without waiting, as a list or a generator that only computes.
            timeout: its deadline in seconds from now.

        Raises:
            TransportError: it did not end with OK.
        """

    def stream(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None
    ) -> Stream[Response]:
        """Begins a call whose answers come as a stream; returns at once.

        Args:
            timeout: deadline of the whole stream in seconds from now; None for no end.
        """

    def close(self) -> None:
        """Ends what is under way and lets the connection go."""


TransportFactory = Callable[[Endpoint], Transport]
"""Makes a way to a server: the class of a transport.

One with an attribute `dials` that is true connects to the endpoint's address itself: if that fails, a socket
of the client's own finds out why.
"""


class AsyncStream(Protocol[Received]):
    """A `Stream` for asyncio."""

    async def receive(self, timeout: float | None) -> Received | None:
        """As `Stream.receive`."""

    def cancel(self) -> None:
        """Leaves the call; a `receive` that waits ends with CANCELLED. Harmless once over."""


class AsyncTransport(Protocol):
    """A `Transport` for the event loop that it is made in. Cancelling a task that makes a call leaves it."""

    async def unary(self, method: Method[Request, Response], request: Request, *, timeout: float) -> Response:
        """As `Transport.unary`."""

    async def upload(
        self, method: Method[Request, Response], requests: Iterable[Request], *, timeout: float
    ) -> Response:
        """As `Transport.upload`."""

    def stream(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None
    ) -> AsyncStream[Response]:
        """As `Transport.stream`."""

    async def close(self) -> None:
        """Ends what is under way and lets the connection go."""


AsyncTransportFactory = Callable[[Endpoint], AsyncTransport]
"""Makes a way to a server in the running event loop: the class of a transport."""

Stack = Literal["grpcio", "grpclib"]
"""A gRPC stack by its name: the C++ implementation, or one that is all Python, for where only that runs."""


def installed() -> Stack:
    """The stack to use where none is named: grpcio, or grpclib where that is missing.

    Raises:
        ImportError: both are.
    """
    try:
        import grpc  # noqa: F401
    except ImportError:
        if importlib.util.find_spec("grpclib") is None:
            raise ImportError("no gRPC is installed; give pip install grpcio, or grpclib") from None
        return "grpclib"
    return "grpcio"


def of(stack: Stack) -> TransportFactory:
    """The transport over a stack.

    Raises:
        ValueError: there is no such stack.
        ImportError: it is not installed.
    """
    if stack == "grpcio":
        from impasto.transport.grpcio import GrpcioTransport

        return GrpcioTransport
    if stack == "grpclib":
        from impasto.transport.grpclib import GrpclibTransport

        return GrpclibTransport
    raise ValueError(f'{stack!r} is no transport; give "grpcio" or "grpclib"')


def async_of(stack: Stack) -> AsyncTransportFactory:
    """The transport for asyncio over a stack.

    Raises:
        ValueError: there is no such stack.
        ImportError: it is not installed.
    """
    if stack == "grpcio":
        from impasto.transport.grpcio_aio import GrpcioAsyncTransport

        return GrpcioAsyncTransport
    if stack == "grpclib":
        from impasto.transport.grpclib import GrpclibAsyncTransport

        return GrpclibAsyncTransport
    raise ValueError(f'{stack!r} is no transport; give "grpcio" or "grpclib"')
