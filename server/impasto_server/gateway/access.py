"""Who may call, and who calls: found for every call before anything else is done."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

import grpc
import grpc.aio
from google.rpc import status_pb2
from grpc_status import rpc_status

from impasto_server.contract.errors import internal, status
from impasto_server.fleet.worker_process import ConfigurationError
from impasto_server.gateway.metrics import Metrics
from impasto_server.gateway.settings import Settings
from impasto_server.gateway.tokens import CHECK_SECONDS, Tenant, Tokens, TokensError

_log = logging.getLogger(__name__)

UNARY_DEADLINE = 120.0
"""Seconds after which a call without a stream is ended, whatever its caller says."""

_OPEN = ("/grpc.health.v1.Health/",)
_BEARER = "bearer "
_MAX_COMMON_NAME = 64


class _Removed(Exception):
    """The caller's token was removed during the call."""


class Access(grpc.aio.ServerInterceptor):
    """Lets in who may call, says who it is, and ends what takes too long."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """
        Args:
            settings: how the server is run.
            metrics: counts the calls.

        Raises:
            ConfigurationError: the file of tokens cannot be read.
        """
        self._settings = settings
        self._metrics = metrics
        self._tokens = _open_tokens(settings)
        self._tenant: contextvars.ContextVar[Tenant] = contextvars.ContextVar("tenant")

    @property
    def uses_tokens(self) -> bool:
        """Whether callers need a token."""
        return self._tokens is not None

    def tenant(self) -> Tenant:
        """Who made the call that is being answered."""
        return self._tenant.get()

    def weight(self, tenant: str) -> float:
        """A tenant's share of the devices beside the others'."""
        return self._tokens.weight_of(tenant) if self._tokens is not None else 1.0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method: str = handler_call_details.method
        kind = f"{'stream' if handler.request_streaming else 'unary'}_" + (
            "stream" if handler.response_streaming else "unary"
        )
        inner = getattr(handler, kind)
        if inspect.isasyncgenfunction(inner):
            inner = _writing(inner)
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(
            self._guarded(method, inner, streams=handler.request_streaming or handler.response_streaming),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _guarded(self, method: str, inner: Callable[[Any, Any], Any], *, streams: bool) -> Any:
        most = self._settings.max_deadline if streams else UNARY_DEADLINE

        async def call(request: Any, context: Any) -> Any:
            begin = time.monotonic()
            code = grpc.StatusCode.UNKNOWN
            try:
                self._tenant.set(await self._find_tenant(method, context))
                answering = _answer(inner, request, context)
                if streams and self._tokens is not None and not method.startswith(_OPEN):
                    answering = self._while_known(_token(context), answering)
                answer = await asyncio.wait_for(answering, most)
                code = grpc.StatusCode.OK
                return answer
            except asyncio.TimeoutError:
                code = grpc.StatusCode.DEADLINE_EXCEEDED
                message = f"a call may take {most:g} s at most; take up what it was about with another one"
                await _abort(context, status(code, "MAX_DEADLINE", message))
            except _Removed:
                code = grpc.StatusCode.UNAUTHENTICATED
                await _abort(context, _stranger())
            except grpc.aio.AbortError:
                code = _code(context)
                raise
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            finally:
                self._metrics.call(method, code.name, time.monotonic() - begin)

        return call

    async def _find_tenant(self, method: str, context: Any) -> Tenant:
        if method.startswith(_OPEN):
            return Tenant("")
        if self._tokens is not None:
            try:
                tenant = self._tokens.tenant_of(_token(context))
            except TokensError as error:
                _log.error("tokens cannot be read error=%r", str(error))
                await _abort(context, internal())
            else:
                if tenant is not None:
                    return tenant
                await _abort(context, _stranger())
        if self._settings.tls_client_ca is not None:
            names = context.auth_context().get("x509_common_name", ())
            name = names[0].decode(errors="replace").strip() if names else ""
            # Those without a name would all be one tenant, and see each other's pictures.
            if not name or not name.isprintable() or len(name) > _MAX_COMMON_NAME:
                await _abort(context, _nameless())
            return Tenant(name)
        return Tenant("")

    async def _while_known(self, token: str, answering: Coroutine[Any, Any, Any]) -> Any:
        """The answer of a stream, which ends when the token it was begun with is removed."""
        work = asyncio.ensure_future(answering)
        removal = asyncio.ensure_future(self._removal(token))
        try:
            await asyncio.wait({work, removal}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise _Removed
            return work.result()
        finally:
            work.cancel()
            removal.cancel()
            await asyncio.gather(work, removal, return_exceptions=True)

    async def _removal(self, token: str) -> None:
        assert self._tokens is not None
        is_known = True
        while is_known:
            await asyncio.sleep(CHECK_SECONDS)
            # A file that cannot be read just now has not removed anyone.
            with contextlib.suppress(TokensError):
                is_known = self._tokens.tenant_of(token) is not None


def _open_tokens(settings: Settings) -> Tokens | None:
    """The tokens, if callers need any."""
    if settings.private:
        return None
    try:
        if settings.tokens_file is None and not settings.tokens_path.exists():
            return None
        tokens = Tokens(settings.tokens_path)
        if not tokens.tenants():
            _log.warning("no tokens yet, so that nobody gets in path=%s", settings.tokens_path)
    except TokensError as error:
        raise ConfigurationError(str(error)) from error
    except OSError as error:
        raise ConfigurationError(f"{settings.tokens_path} cannot be read ({error.strerror})") from error
    return tokens


async def _answer(inner: Callable[[Any, Any], Any], request: Any, context: Any) -> Any:
    answer = inner(request, context)
    return await answer if inspect.isawaitable(answer) else answer


def _writing(inner: Callable[[Any, Any], AsyncGenerator[Any, None]]) -> Callable[[Any, Any], Awaitable[None]]:
    """A handler that yields its responses, as one that writes them."""

    async def call(request: Any, context: Any) -> None:
        async with contextlib.aclosing(inner(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return call


def _token(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value.lower().startswith(_BEARER):
            return value[len(_BEARER) :].strip()
    return ""


def _stranger() -> status_pb2.Status:
    message = (
        "this server wants a token, and the call has none that it knows; ask whoever runs it for one, and "
        "send it as the metadata authorization: Bearer TOKEN"
    )
    return status(grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN", message)


def _nameless() -> status_pb2.Status:
    message = (
        "the caller's certificate has no common name that would do as a tenant's: up to "
        f"{_MAX_COMMON_NAME} printable characters; ask whoever runs the server for another one"
    )
    return status(grpc.StatusCode.UNAUTHENTICATED, "NO_COMMON_NAME", message)


def _code(context: Any) -> grpc.StatusCode:
    code = context.code()
    known = {status.value[0]: status for status in grpc.StatusCode}
    return code if isinstance(code, grpc.StatusCode) else known.get(code, grpc.StatusCode.UNKNOWN)


async def _abort(context: Any, error: status_pb2.Status) -> None:
    ending = rpc_status.to_status(error)
    await context.abort(ending.code, ending.details, ending.trailing_metadata)
