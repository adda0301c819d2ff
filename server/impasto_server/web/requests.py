"""A request as the front end sees it, and short answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

NO_STORE = (b"cache-control", b"no-store")


class TooLarge(Exception):
    """A request has a larger body than is allowed."""


class Gone(Exception):
    """The caller left before its request was complete."""


class Request:
    """The head of a request.

    Attributes:
        scope: of ASGI.
        method: such as "GET".
        path: relative to the page's address: "" for the page itself.
    """

    def __init__(self, scope: Scope, path: str) -> None:
        """
        Args:
            scope: of ASGI.
            path: relative to the page's address.
        """
        self.scope = scope
        self.method: str = scope["method"]
        self.path = path

    def header(self, name: bytes) -> str:
        """Returns a header's value, several joined with ", "; empty if there is none.

        Args:
            name: in lower case.
        """
        found = [value for key, value in self.scope["headers"] if key == name]
        return b", ".join(found).decode("latin-1")

    @property
    def host(self) -> str:
        """The host and port that the caller asked, as it wrote them, in lower case."""
        return self.header(b"host").lower()

    @property
    def content_type(self) -> str:
        """The type of the body, without parameters."""
        return self.header(b"content-type").partition(";")[0].strip().lower()

    @property
    def sends_trailers(self) -> bool:
        """Whether the answer can have trailers: over HTTP/2 only."""
        return "http.response.trailers" in self.scope.get("extensions", {})


async def read_body(receive: Receive, most: int) -> bytes:
    """Reads the whole body.

    Raises:
        TooLarge: it has more than `most` bytes.
        Gone: the caller left.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > most:
            raise TooLarge
        if not message.get("more_body"):
            return bytes(body)


async def answer(
    send: Send, status: int, body: bytes = b"", type: str = "text/plain; charset=utf-8", headers: Headers = ()
) -> None:
    """Sends an answer that is not to be cached."""
    about = [NO_STORE, *headers]
    if status != 204:
        about += [(b"content-type", type.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": about})
    await send({"type": "http.response.body", "body": body})


async def answer_json(send: Send, status: int, value: object, headers: Headers = ()) -> None:
    """Sends an answer in JSON."""
    await answer(send, status, json.dumps(value).encode(), "application/json", headers)


async def refuse(send: Send, status: int, message: str, headers: Headers = ()) -> None:
    """Sends an error: a sentence that says what is wrong and what to do."""
    await answer(send, status, message.encode() + b"\n", headers=headers)
