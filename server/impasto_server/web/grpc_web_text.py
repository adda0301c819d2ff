"""gRPC-Web's text form, which the library `grpc-web` uses for streams: the binary form in base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import MutableMapping
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from impasto_server.web.requests import Receive, Scope, Send

TYPES = ("application/grpc-web-text", "application/grpc-web-text+proto")


def is_text(scope: Scope) -> bool:
    """Whether a request has this form."""
    return _type(scope) in TYPES


def converted(scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Receive, Send]:
    """Converts a request to the binary form, and its answer from it."""
    headers = [each for each in scope["headers"] if each[0] != b"content-type"]
    headers.append((b"content-type", b"application/grpc-web+proto"))
    scope = {**scope, "headers": headers}
    left = b""

    async def receive_binary() -> MutableMapping[str, Any]:
        nonlocal left
        message = await receive()
        if message["type"] != "http.request":
            return message
        text = left + message.get("body", b"")
        whole = len(text) - len(text) % 4
        left = text[whole:]
        if left and not message.get("more_body"):
            whole, left = len(text), b""
        try:
            body = base64.b64decode(text[:whole], validate=True)
        except binascii.Error:
            raise ConnectError(Code.INVALID_ARGUMENT, "the request is not base64") from None
        return {**message, "body": body}

    async def send_text(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            about = [each for each in message["headers"] if each[0] != b"content-type"]
            about.append((b"content-type", b"application/grpc-web-text+proto"))
            message = {**message, "headers": about}
        elif message["type"] == "http.response.body":
            # Each part with its own padding: clients read parts as they come.
            message = {**message, "body": base64.b64encode(message.get("body", b""))}
        await send(message)

    return scope, receive_binary, send_text


def _type(scope: Scope) -> str:
    found = next((value for key, value in scope["headers"] if key == b"content-type"), b"")
    return found.decode("latin-1").partition(";")[0].strip().lower()
