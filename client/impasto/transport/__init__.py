"""How calls travel: one interface, so that another gRPC stack or a test can take the place of the usual one.

A transport moves messages and tells how a call ended; what an ending means is for `impasto.errors` to say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

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


class TransportError(Exception):
    """A call ended with a code other than OK, whoever said so.

    Attributes:
        code: the canonical gRPC code's name.
        message: the status message.
        details: the trailer "grpc-status-details-bin", if one came.
    """

    def __init__(self, code: str, message: str, details: bytes | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details


class Stream(Protocol[Received]):
    """The messages of a call as they come. `next` blocks; it raises `TransportError` if the call fails."""

    def __iter__(self) -> Iterator[Received]: ...

    def __next__(self) -> Received: ...

    def cancel(self) -> None:
        """Leaves the call, from any thread; a blocked `next` ends with CANCELLED. Harmless once over."""


class Transport(Protocol):
    """A way to one server. Safe to use from several threads."""

    def unary(self, method: Method[Request, Response], request: Request, *, timeout: float) -> Response:
        """Makes a call with one answer.

        Args:
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
