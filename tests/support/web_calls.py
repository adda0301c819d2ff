"""Calls to a server's front end, as programs without gRPC make them."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.server_process import PATIENCE

try:
    import connectrpc  # noqa: F401
except ImportError:
    pytest.skip("connectrpc has no version for this Python, so a server has no page", allow_module_level=True)

JSON = {"content-type": "application/json"}
STREAM = {"content-type": "application/connect+json"}


class Answer:
    """An answer that was read completely.

    Attributes:
        status: of HTTP.
        headers: by name in lower case.
        body: its bytes.
    """

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {key.lower(): value for key, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def connected(web: str, authority: Path | None = None) -> http.client.HTTPConnection:
    """Opens a connection to a page's address."""
    url = urlsplit(web)
    assert url.hostname is not None
    if url.scheme == "http":
        return http.client.HTTPConnection(url.hostname, url.port, timeout=PATIENCE)
    context = ssl.create_default_context(cafile=authority)
    return http.client.HTTPSConnection(url.hostname, url.port, timeout=PATIENCE, context=context)


def ask(
    web: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] = {},
    method: str | None = None,
    authority: Path | None = None,
) -> Answer:
    """Sends one request on a connection of its own.

    Args:
        web: the page's address.
        path: relative to it.
        body: of the request; None: it has none.
        headers: of the request.
        method: by default POST with a body, and GET without.
        authority: the certificate to trust.
    """
    connection = connected(web, authority)
    with contextlib.closing(connection):
        sent = method or ("GET" if body is None else "POST")
        connection.request(sent, urlsplit(web).path + path, body, dict(headers))
        return Answer(connection.getresponse())


def call(
    web: str, method: str, request: Any, headers: Mapping[str, str] = {}, authority: Path | None = None
) -> Answer:
    """Makes a call with one request and one answer, in Connect's JSON."""
    path = f"impasto.v1.{method}" if "." in method else f"impasto.v1.StyleTransfer/{method}"
    return ask(web, path, json.dumps(request), {**JSON, **headers}, authority=authority)


@contextlib.contextmanager
def streamed(
    web: str, method: str, request: Any, headers: Mapping[str, str] = {}
) -> Iterator[Iterator[dict[str, Any]]]:
    """Makes a call with one request and many answers, in Connect's JSON; the last is {"end": …}."""
    connection = connected(web)
    with contextlib.closing(connection):
        path = f"{urlsplit(web).path}impasto.v1.StyleTransfer/{method}"
        connection.request("POST", path, enveloped(json.dumps(request).encode()), {**STREAM, **headers})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        yield _messages(response)


def enveloped(message: bytes) -> bytes:
    """A message with its prefix, as Connect sends it in streams."""
    return struct.pack(">BI", 0, len(message)) + message


def _messages(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    while head := response.read(5):
        flags, length = struct.unpack(">BI", head)
        message = json.loads(response.read(length))
        yield {"end": message} if flags & 2 else message
