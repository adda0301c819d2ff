"""Who may call, and who calls: found for every call before anything else is done."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.rpc import status_pb2
from grpc_status import rpc_status

from impasto_server.gateway.metrics import Metrics
from impasto_server.gateway.settings import Settings
from impasto_server.gateway.tokens import Tenant, Tokens, TokensError
from impasto_server.jobs.errors import internal, status

_log = logging.getLogger(__name__)

UNARY_DEADLINE = 120.0
"""Seconds after which a call with one answer is ended, whatever its caller says."""

_OPEN = ("/grpc.health.v1.Health/",)
_BEARER = "bearer "


class Access(grpc.aio.ServerInterceptor):
    """Lets in who may call, says who it is, and ends what takes too long."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """
        Args:
            settings: how the server is run.
            metrics: counts the calls.
        """
        self._settings = settings
        self._metrics = metrics
        uses_tokens = not settings.private and (
            settings.tokens_file is not None or settings.tokens_path.exists()
        )
        self._tokens = Tokens(settings.tokens_path) if uses_tokens else None
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
            self._guarded(method, inner, streams=handler.response_streaming),
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
                answer = await asyncio.wait_for(_answer(inner, request, context), most)
                code = grpc.StatusCode.OK
                return answer
            except asyncio.TimeoutError:
                code = grpc.StatusCode.DEADLINE_EXCEEDED
                message = f"a call may take {most:g} s at most; take up what it was about with another one"
                await _abort(context, status(code, "MAX_DEADLINE", message))
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
            return Tenant(names[0].decode(errors="replace") if names else "")
        return Tenant("")


async def _answer(inner: Callable[[Any, Any], Any], request: Any, context: Any) -> Any:
    answer = inner(request, context)
    return await answer if inspect.isawaitable(answer) else answer


def _writing(inner: Callable[[Any, Any], AsyncIterator[Any]]) -> Callable[[Any, Any], Awaitable[None]]:
    """A handler that yields its responses, as one that writes them."""

    async def call(request: Any, context: Any) -> None:
        async for response in inner(request, context):
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


def _code(context: Any) -> grpc.StatusCode:
    code = context.code()
    known = {status.value[0]: status for status in grpc.StatusCode}
    return code if isinstance(code, grpc.StatusCode) else known.get(code, grpc.StatusCode.UNKNOWN)


async def _abort(context: Any, error: status_pb2.Status) -> None:
    ending = rpc_status.to_status(error)
    await context.abort(ending.code, ending.details, ending.trailing_metadata)
