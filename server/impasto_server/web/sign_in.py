"""Signing in: a browser gives its token once, and then sends it as a cookie that no script can read."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
from typing import Any

import grpc
import grpc.aio

from impasto_server.web.callers import Callers
from impasto_server.web.requests import Gone, Receive, Request, Send, TooLarge, answer, answer_json, read_body

_MOST_BYTES = 4096
_KEEP_SECONDS = 180 * 86400
CODE_SECONDS = 600
"""How long a code is valid."""
_MOST_CODES = 10
"""Unused codes of a tenant. The newest replace the oldest."""
_CODE_BYTES = 24


@dataclasses.dataclass(frozen=True)
class _Code:
    """What a code stands for.

    Attributes:
        until: event-loop time.
        tenant, token: of who made it.
    """

    until: float
    tenant: str
    token: str


class SignIn:
    """Answers `session` and `session/code`, and reads the cookie."""

    def __init__(self, callers: Callers, *, needs_token: bool) -> None:
        """
        Args:
            callers: checks tokens.
            needs_token: whether callers need a token.
        """
        self._callers = callers
        self._needs_token = needs_token
        self._codes: dict[str, _Code] = {}

    def token_of(self, request: Request) -> str:
        """Returns the token in a request's cookie; empty if there is none."""
        name = cookie_name(request)
        for part in request.header(b"cookie").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name and is_token(value):
                return value
        return ""

    async def session(self, request: Request, receive: Receive, send: Send, *, own: bool, tls: bool) -> None:
        """Answers `session`.

        Args:
            request, receive, send: of the call.
            own: whether a page of ours sends it.
            tls: whether the caller's connection is encrypted.
        """
        if request.method == "GET":
            signed_in = not self._needs_token or await self._tenant(self.token_of(request)) is not None
            await answer_json(send, 200, {"signed_in": signed_in, "needs_token": self._needs_token})
        elif not own:
            await _fault(send, 403, "permission_denied", "only the server's own page can sign in and out")
        elif request.method == "DELETE":
            await answer(send, 204, headers=[(b"set-cookie", self._cookie(request, "", tls, 0))])
        elif request.method == "POST":
            await self._sign_in(request, receive, send, tls=tls)
        else:
            await answer(send, 405, headers=[(b"allow", b"GET, POST, DELETE")])

    async def code(self, request: Request, send: Send, token: str) -> None:
        """Answers `session/code`.

        Args:
            request, send: of the call.
            token: the caller's; empty if it has none.
        """
        if request.method != "POST":
            await answer(send, 405, headers=[(b"allow", b"POST")])
            return
        if not self._needs_token:
            await _fault(send, 400, "failed_precondition", "this server needs no token; open its page")
            return
        tenant = await self._tenant(token)
        if tenant is None:
            await _fault(send, 401, "unauthenticated", "a code needs a valid token; sign in first")
            return
        now = asyncio.get_running_loop().time()
        self._codes = {code: kept for code, kept in self._codes.items() if kept.until > now}
        own = [code for code, kept in self._codes.items() if kept.tenant == tenant]
        if len(own) >= _MOST_CODES:
            del self._codes[own[0]]
        code = secrets.token_urlsafe(_CODE_BYTES)
        self._codes[code] = _Code(now + CODE_SECONDS, tenant, token)
        await answer_json(send, 200, {"code": code, "expires_in": CODE_SECONDS})

    async def _sign_in(self, request: Request, receive: Receive, send: Send, *, tls: bool) -> None:
        given = await _given(request, receive, send)
        if given is None:
            return
        token, code = given.get("token"), given.get("code")
        if isinstance(code, str):
            kept = self._codes.pop(code, None)
            if kept is None or kept.until < asyncio.get_running_loop().time():
                message = "the code is not valid any more; make a new one where you are signed in"
                await _fault(send, 401, "unauthenticated", message)
                return
            token = kept.token
        if not isinstance(token, str) or not is_token(token):
            await _fault(send, 400, "invalid_argument", 'token is missing; send {"token": "…"}')
            return
        if self._needs_token and await self._tenant(token) is None:
            message = "the token is not valid; ask the server's administrator for a new one"
            await _fault(send, 401, "unauthenticated", message)
            return
        keep = _KEEP_SECONDS if given.get("keep") is True else None
        await answer(send, 204, headers=[(b"set-cookie", self._cookie(request, token, tls, keep))])

    async def _tenant(self, token: str) -> str | None:
        """The tenant of a token; None if the token is not valid."""
        if not token:
            return None
        try:
            return await self._callers.tenant(f"Bearer {token}")
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return None
            raise

    def _cookie(self, request: Request, token: str, tls: bool, seconds: int | None) -> bytes:
        # Without a path, the browser takes the folder of `session` as it sees it, also behind a proxy.
        parts = [f"{cookie_name(request)}={token}", "HttpOnly", "SameSite=Strict"]
        parts += ["Secure"] if tls else []
        parts += [] if seconds is None else [f"Max-Age={seconds}"]
        return "; ".join(parts).encode()


def is_token(text: str) -> bool:
    """Whether a text can be a token: one that fits into headers and cookies."""
    return 0 < len(text) <= _MOST_BYTES and text.isascii() and text.isprintable() and ";" not in text


def cookie_name(request: Request) -> str:
    """The cookie's name. Browsers send cookies to all ports of a host, so it has the port in it."""
    port = request.host.rpartition(":")[2]
    return f"impasto-{port}" if port.isdigit() else "impasto"


async def _given(request: Request, receive: Receive, send: Send) -> dict[str, Any] | None:
    """Reads a small body in JSON. If it cannot, it answers, and returns None."""
    if request.content_type != "application/json":
        await _fault(send, 415, "invalid_argument", "the body must have the type application/json")
        return None
    try:
        given = json.loads(await read_body(receive, _MOST_BYTES))
    except TooLarge:
        await _fault(send, 413, "invalid_argument", f"the body has more than {_MOST_BYTES} bytes")
        return None
    except Gone:
        return None
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        await _fault(send, 400, "invalid_argument", 'the body is not JSON such as {"token": "…"}')
        return None
    return given


async def _fault(send: Send, status: int, code: str, message: str) -> None:
    await answer_json(send, status, {"code": code, "message": message})
