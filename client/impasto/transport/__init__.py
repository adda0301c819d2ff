"""The interface of transports, so that another gRPC library or a test can replace the usual one.

A transport moves messages and reports how a call ended; `impasto.errors` turns that into errors for callers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar, get_args

from impasto.errors import TransportMissing
from impasto.security import Tls

if TYPE_CHECKING:
    from google.protobuf.message import Message

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")
Received = TypeVar("Received", bound="Message", covariant=True)

CONNECT_TIMEOUT = 10.0
"""Longest time to connect, in seconds, including the handshake."""
KEEPALIVE_TIME = 30.0
"""Time between pings of a server, in seconds."""
KEEPALIVE_TIMEOUT = 10.0
"""Longest time for the answer to a ping, in seconds."""


@dataclasses.dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """A call of the service.

    Attributes:
        path: its path on the wire: "/package.Service/Method".
        request, response: the classes of its messages.
        bulk: whether its answers are pieces of one large file, which may arrive long before they are read.
            All other answers are news, which should be fresh when they are read.
    """

    path: str
    request: type[Request]
    response: type[Response]
    bulk: bool = False


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A server, and how to connect to it.

    Attributes:
        address: the address in full, as `impasto.address.parse` returns it.
        tls: how to protect the connection; None for plaintext.
        metadata: pairs of a key in lower case and a value, sent with every call.
    """

    address: str
    tls: Tls | None = None
    metadata: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)


class TransportError(Exception):
    """A call ended with a code other than OK, from the server or from the transport itself.

    The code of a broken connection is always UNAVAILABLE, even if a gRPC library reports another one.

    Attributes:
        code: the name of the canonical gRPC code.
        message: the status message.
        details: the trailer "grpc-status-details-bin"; None if there is none.
        unreached: whether there was no connection, so that the call certainly did not reach the server.
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
    """The messages of a call, as they arrive."""

    def receive(self, timeout: float | None) -> Received | None:
        """Waits for the next message and returns it; None after the last.

        Args:
            timeout: seconds without a message after which the connection counts as broken; None for no limit.

        Raises:
            TransportError: the call failed; UNAVAILABLE after the timeout, CANCELLED after `cancel`.
        """

    def cancel(self) -> None:
        """Ends the call, from any thread; a blocked `receive` ends with CANCELLED. Harmless after the end."""


class Transport(Protocol):
    """A connection to one server. Safe to use from several threads."""

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
        """Makes a call with several requests and one answer. The answer may come before all requests are
        sent.

        Args:
            requests: a list, or a generator that does not wait.
            timeout: its deadline in seconds from now.

        Raises:
            TransportError: it did not end with OK.
        """

    def stream(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None
    ) -> Stream[Response]:
        """Begins a call whose answers come as a stream; returns at once.

        Args:
            timeout: deadline of the whole stream in seconds from now; None for no limit.
        """

    def close(self) -> None:
        """Ends what is under way and lets the connection go. Later calls raise `ClientClosed`."""


TransportFactory = Callable[[Endpoint], Transport]
"""Makes a connection to a server: the class of a transport.

If it has a true attribute `dials`, it connects to the endpoint's address itself. Should that fail, the client
finds out why with a separate socket.
"""


class AsyncStream(Protocol[Received]):
    """A `Stream` for asyncio."""

    async def receive(self, timeout: float | None) -> Received | None:
        """As `Stream.receive`."""

    def cancel(self) -> None:
        """Ends the call; a waiting `receive` ends with CANCELLED. May be used after the end."""


class AsyncTransport(Protocol):
    """A `Transport` for the event loop in which it was made. Cancelling the waiting task ends a call."""

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
        """Ends what is under way and lets the connection go. Later calls raise `ClientClosed`."""


AsyncTransportFactory = Callable[[Endpoint], AsyncTransport]
"""Makes a connection to a server in the running event loop: the class of a transport."""

Stack = Literal["grpcio", "grpclib"]
"""The name of a gRPC library: grpcio, which is compiled, or grpclib, which is pure Python."""


def installed() -> Stack:
    """Return the library to use by default: grpcio if it is installed, else grpclib.

    Raises:
        TransportMissing: neither is installed.
    """
    try:
        import grpc  # noqa: F401
    except ImportError:
        if importlib.util.find_spec("grpclib") is None:
            raise TransportMissing(
                "no gRPC library is installed; run `pip install grpcio` or `pip install grpclib`"
            ) from None
        return "grpclib"
    return "grpcio"


def of(stack: Stack) -> TransportFactory:
    """Return the transport that uses a library.

    Raises:
        ValueError: there is no such library.
        TransportMissing: it is not installed.
    """
    factory: TransportFactory
    with _found(stack):
        if stack == "grpcio":
            from impasto.transport.grpcio import GrpcioTransport

            factory = GrpcioTransport
        else:
            from impasto.transport.grpclib import GrpclibTransport

            factory = GrpclibTransport
    return factory


def async_of(stack: Stack) -> AsyncTransportFactory:
    """Return the transport for asyncio that uses a library.

    Raises:
        ValueError: there is no such library.
        TransportMissing: it is not installed.
    """
    factory: AsyncTransportFactory
    with _found(stack):
        if stack == "grpcio":
            from impasto.transport.grpcio_aio import GrpcioAsyncTransport

            factory = GrpcioAsyncTransport
        else:
            from impasto.transport.grpclib import GrpclibAsyncTransport

            factory = GrpclibAsyncTransport
    return factory


@contextlib.contextmanager
def _found(stack: str) -> Iterator[None]:
    """Checks the name of a library, and says what to do if importing it fails."""
    if stack not in get_args(Stack):
        raise ValueError(f'{stack!r} is no transport; give "grpcio" or "grpclib"')
    try:
        yield
    except ImportError as error:
        raise TransportMissing(f"{stack} cannot be imported ({error}); run `pip install {stack}`") from error
