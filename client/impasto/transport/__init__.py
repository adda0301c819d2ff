"""How calls travel: one interface, so that another gRPC stack or a test can take the place of the usual one.

A transport moves messages and tells how a call ended; what an ending means is for `impasto.errors` to say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from impasto.security import Tls

if TYPE_CHECKING:
    from google.protobuf.message import Message

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")
Received = TypeVar("Received", bound="Message", covariant=True)


@dataclasses.dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """A call of the service.

    Attributes:
        path: as it stands on the wire: "/package.Service/Method".
        request, response: the classes of its messages.
    """

    path: str
    request: type[Request]
    response: type[Response]


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
"""Makes a way to a server: the class of a transport."""
