"""The front end's ASGI application: decides who may ask what, and passes each request to its part."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import grpc.aio

from impasto_server.web.bodies import Bodies
from impasto_server.web.callers import Callers
from impasto_server.web.calls import TYPES, Calls
from impasto_server.web.images import Images
from impasto_server.web.options import Options
from impasto_server.web.page_files import PageFile, read_page
from impasto_server.web.requests import (
    NO_STORE,
    Receive,
    Request,
    Scope,
    Send,
    answer,
    answer_json,
    refuse,
)
from impasto_server.web.sign_in import SignIn, is_token
from impasto_server.web.upstream import Upstream

_log = logging.getLogger(__name__)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), geolocation=(), microphone=()"),
]
# Of the answers to calls. A proxy would otherwise keep the parts of a stream until it has many.
_CALL_HEADERS = [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
_CALL_PREFIX = "impasto.v1."
_ALLOWED_HEADERS = (
    "authorization, content-type, connect-protocol-version, connect-timeout-ms, grpc-timeout, x-grpc-web, "
    "x-user-agent"
)
_BASE64 = re.compile(r"[A-Za-z0-9_-]*=*")
_EXPOSED_HEADERS = "grpc-status, grpc-message, grpc-status-details-bin"


class Application:
    """The ASGI application."""

    def __init__(self, options: Options) -> None:
        """
        Args:
            options: of the process.
        """
        self._options = options
        self._upstream = Upstream(options.gateway)
        callers = Callers(self._upstream)
        self._calls = Calls(self._upstream, callers, Bodies(options.max_request_memory))
        self._images = Images(self._upstream)
        self._sign_in = SignIn(callers, needs_token=options.needs_token)
        self._files = read_page()
        url = urlsplit(options.url) if options.url is not None else None
        self._base = url.path if url is not None else "/"
        self._own_origin = f"{url.scheme}://{url.netloc}".lower() if url is not None else None
        named = [*options.origins, *([options.url] if options.url is not None else [])]
        self._hosts = {(urlsplit(each).hostname or "").lower() for each in named}

    async def close(self) -> None:
        """Closes the connections to the gateway."""
        await self._upstream.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request; see ASGI."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            return
        request = Request(scope, self._relative(scope["path"]))
        origin = request.header(b"origin").lower()
        headers = list(_SAFE_HEADERS)
        if origin in self._options.origins:
            headers += [
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-expose-headers", _EXPOSED_HEADERS.encode()),
                (b"cross-origin-resource-policy", b"cross-origin"),
            ]
        if self._options.origins:
            headers.append((b"vary", b"origin"))

        async def send_safely(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", ())
                missing = () if any(key == b"cache-control" for key, _ in own) else _CALL_HEADERS
                message["headers"] = [*own, *missing, *headers]
            await send(message)

        try:
            await self._answer(request, origin, receive, send_safely)
        except grpc.aio.AioRpcError as error:
            _log.warning("the gateway does not answer code=%s", error.code().name)
            await refuse(send_safely, 503, "the server is not ready; try again in a moment")

    async def _answer(self, request: Request, origin: str, receive: Receive, send: Send) -> None:
        if not self._is_known_host(request.host):
            await refuse(
                send,
                421,
                "this server does not know the host in the address; use its IP address, or have its "
                "administrator give the address with --web-url",
            )
        elif request.method == "OPTIONS":
            await _answer_preflight(send, allowed=origin in self._options.origins)
        elif request.path.startswith(_CALL_PREFIX):
            await self._call(request, origin, receive, send)
        elif request.path.startswith("images/"):
            await self._images.answer(request, send)
        elif request.path == "session":
            own, tls = self._is_own(request, origin), self._is_tls(request)
            await self._sign_in.session(request, receive, send, own=own, tls=tls)
        elif request.path == "session/code":
            await self._sign_in.code(request, send, self._token(request, origin))
        else:
            await self._send_file(request, send)

    def _relative(self, path: str) -> str:
        """Returns a path relative to the page's address. A proxy may have removed the page's own path."""
        return path[len(self._base) :] if path.startswith(self._base) else path[1:]

    async def _call(self, request: Request, origin: str, receive: Receive, send: Send) -> None:
        if request.content_type.partition("+")[0] == "application/grpc" and request.sends_trailers:
            await _refuse_grpc(send)
            return
        if request.method == "POST" and request.content_type not in TYPES:
            types = ", ".join(TYPES)
            await refuse(
                send, 415, f"a call has one of the types {types}", [(b"accept-post", types.encode())]
            )
            return
        if request.method == "GET" and not _is_coded_well(request):
            fault = {"code": "invalid_argument", "message": "the message in the address is not base64"}
            await answer_json(send, 400, fault)
            return
        token = self._token(request, origin)
        headers = [each for each in request.scope["headers"] if each[0] not in (b"authorization", b"cookie")]
        if token:
            headers.append((b"authorization", b"Bearer " + token.encode("latin-1")))
        scope = {**request.scope, "path": f"/{request.path}", "root_path": "", "headers": headers}
        await self._calls(scope, receive, send)

    def _token(self, request: Request, origin: str) -> str:
        """Returns the caller's token. The cookie's counts only if a page of ours sends the request."""
        given = request.header(b"authorization")
        if given.lower().startswith("bearer "):
            return given[7:].strip() if is_token(given[7:].strip()) else ""
        return self._sign_in.token_of(request) if self._is_own(request, origin) else ""

    def _is_own(self, request: Request, origin: str) -> bool:
        """Whether a page of ours sends a request. Scripts cannot set either of these headers."""
        site = request.header(b"sec-fetch-site")
        if site:
            return site == "same-origin"
        own = self._own_origin or f"{request.scope['scheme']}://{request.host}"
        return origin == own

    def _is_tls(self, request: Request) -> bool:
        own = self._own_origin
        return request.scope["scheme"] == "https" or (own is not None and own.startswith("https:"))

    def _is_known_host(self, host: str) -> bool:
        """Whether a page under this host may call a server without tokens.

        A hostile site can give its own name the address of this server (DNS rebinding); it cannot do so with
        an IP address, or with a name that is not its own.
        """
        if self._options.needs_token:
            return True
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return False
        return True

    async def _send_file(self, request: Request, send: Send) -> None:
        file: PageFile | None = self._files.get(request.path)
        if file is None:
            await refuse(send, 404, "there is nothing at this address")
        elif request.method not in ("GET", "HEAD"):
            await answer(send, 405, headers=[(b"allow", b"GET, HEAD")])
        else:
            etag = file.etag.encode()
            headers = [(b"etag", etag), (b"cache-control", b"no-cache"), (b"vary", b"accept-encoding")]
            if file.etag in request.header(b"if-none-match"):
                await send({"type": "http.response.start", "status": 304, "headers": headers})
                await send({"type": "http.response.body"})
                return
            data = file.data
            if file.gzip is not None and "gzip" in request.header(b"accept-encoding"):
                data = file.gzip
                headers.append((b"content-encoding", b"gzip"))
            headers += [(b"content-type", file.type.encode()), (b"content-length", b"%d" % len(data))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": data})


def _is_coded_well(request: Request) -> bool:
    """Whether a message in an address is base64, if it says so. `connectrpc` skips other characters."""
    query = parse_qs(request.scope["query_string"].decode("latin-1"))
    return query.get("base64") != ["1"] or all(map(_BASE64.fullmatch, query.get("message", [])))


async def _refuse_grpc(send: Send) -> None:
    """Tells a caller over gRPC, in its own protocol, that it has the wrong port."""
    message = "this is the port of the server's page; give the port on which it listens for gRPC"
    about = [NO_STORE, (b"content-type", b"application/grpc")]
    await send({"type": "http.response.start", "status": 200, "headers": about, "trailers": True})
    await send({"type": "http.response.body", "body": b""})
    # 12: UNIMPLEMENTED.
    trailers = [(b"grpc-status", b"12"), (b"grpc-message", message.encode())]
    await send({"type": "http.response.trailers", "headers": trailers})


async def _answer_preflight(send: Send, *, allowed: bool) -> None:
    headers = [
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", _ALLOWED_HEADERS.encode()),
        (b"access-control-max-age", b"7200"),
    ]
    await answer(send, 204, headers=headers if allowed else ())


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
