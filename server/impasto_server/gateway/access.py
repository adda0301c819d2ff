"""Who may call, and who calls: found for every call before anything else is done."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from google.rpc import status_pb2

from impasto_server.contract.errors import CallError, internal, quoted, status
from impasto_server.fleet.worker_process import ConfigurationError
from impasto_server.gateway.answering import abort, status_of
from impasto_server.gateway.metrics import Metrics
from impasto_server.gateway.open_calls import OpenCall, OpenCalls
from impasto_server.gateway.reading import Reading, kind_of
from impasto_server.gateway.settings import Settings
from impasto_server.gateway.tokens import Tenant, Tokens, TokensError
from impasto_server.shares import acting_for

_log = logging.getLogger(__name__)

UNARY_DEADLINE = 120.0
"""Seconds after which a call without a stream is ended, whatever its caller says."""

_OPEN = "/grpc.health.v1.Health/"
_WAITING = ("/impasto.v1.StyleTransfer/GetPreview",)
_BEARER = "bearer "
_MAX_COMMON_NAME = 64

# Whose the calls are that anybody may make. No tenant has such a name: it is not printable.
_ANYBODY = "\0anybody"

Metadata = Sequence[tuple[str, "str | bytes"]]


class Access(grpc.aio.ServerInterceptor):
    """Lets in who may call, says who it is, and ends what takes too long.

    Every handler is made one that reads its messages itself, so that nothing of a call is taken in before its
    caller is known, and as much at a time as `Reading` allows.
    """

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
        self._reading = Reading(settings.max_request_memory)
        self._calls = OpenCalls(settings.max_streams_per_tenant, self._lost_access)

    @property
    def uses_tokens(self) -> bool:
        """Whether callers need a token."""
        return self._tokens is not None

    @property
    def reading(self) -> Reading:
        """How callers' messages are read."""
        return self._reading

    def tenant(self) -> Tenant:
        """Who made the call that is being answered."""
        return self._tenant.get()

    def weight(self, tenant: str) -> float:
        """A tenant's share of the devices beside the others'."""
        return self._tokens.weight_of(tenant) if self._tokens is not None else 1.0

    async def end_calls(self, ending: status_pb2.Status, *, grace: float) -> None:
        """Waits until no call is open; ends those that still are after `grace` seconds with a status."""
        await self._calls.end_all(ending, grace=grace)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method: str = handler_call_details.method
        handler = await continuation(handler_call_details)
        answer = self._guarded(method, handler, handler_call_details.invocation_metadata or ())
        if handler is None:
            return grpc.stream_unary_rpc_method_handler(answer)
        if handler.response_streaming:
            make = grpc.stream_stream_rpc_method_handler
        else:
            make = grpc.stream_unary_rpc_method_handler
        return make(answer, response_serializer=handler.response_serializer)

    def _guarded(self, method: str, handler: Any, metadata: Metadata) -> Any:
        """What answers a call of a method, known or not."""
        known = handler is not None
        streams = known and (handler.request_streaming or handler.response_streaming)
        seconds = self._settings.max_deadline if streams else UNARY_DEADLINE
        long = streams or method in _WAITING

        async def call(_: Any, context: Any) -> Any:
            begin = time.monotonic()
            code = grpc.StatusCode.UNKNOWN
            entered: OpenCall | None = None
            try:
                tenant, token = self._find_tenant(method, metadata, context)
                self._tenant.set(tenant)
                owner = _ANYBODY if method.startswith(_OPEN) else tenant.name
                acting_for.set(owner)
                with self._calls.entered(owner, token=token, seconds=seconds, long=long) as entered:
                    answer = await self._answered(method, handler, owner, context)
                code = grpc.StatusCode.OK
                return answer
            except grpc.aio.InternalError:
                # What could not be written: the caller is gone, and its cancellation on the way.
                code = grpc.StatusCode.CANCELLED
                raise asyncio.CancelledError from None
            except grpc.aio.AbortError:
                # A library's own handler has told the caller.
                code = _code(context)
                raise
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                if entered is None or entered.ending is None or context.done():
                    raise
                entered.take_back_cancellation()
                ending = entered.ending
                code = _code_of(ending)
            except Exception as error:
                ending = status_of(error, method.rpartition("/")[2])
                code = _code_of(ending)
            finally:
                # Before the caller is told, who may look at once.
                self._metrics.call(method if known else "unknown", code.name, time.monotonic() - begin)
            return await abort(context, ending)

        return call

    async def _answered(self, method: str, handler: Any, owner: str, context: Any) -> Any:
        if handler is None:
            raise CallError(_no_method(method))
        kind, parse = kind_of(method), handler.request_deserializer
        with self._reading.of(owner):
            if handler.request_streaming:
                inner = handler.stream_stream if handler.response_streaming else handler.stream_unary
                async with contextlib.aclosing(self._reading.messages(context, kind, parse)) as messages:
                    return await _answer(inner, [messages], context)
            inner = handler.unary_stream if handler.response_streaming else handler.unary_unary
            return await _answer(inner, [await self._reading.message(context, kind, parse)], context)

    def _find_tenant(self, method: str, metadata: Metadata, context: Any) -> tuple[Tenant, str]:
        """Who calls, and the token that they got in by, if it was one.

        Raises:
            CallError: they do not get in.
        """
        if method.startswith(_OPEN):
            return Tenant(""), ""
        if self._tokens is not None:
            token = _token(metadata)
            try:
                tenant = self._tokens.tenant_of(token)
            except TokensError as error:
                _log.error("tokens cannot be read error=%r", str(error))
                raise CallError(internal()) from None
            if tenant is None:
                raise CallError(_stranger())
            return tenant, token
        if self._settings.tls_client_ca is not None:
            names = context.auth_context().get("x509_common_name", ())
            name = names[0].decode(errors="replace").strip() if names else ""
            # Those without a name would all be one tenant, and see each other's pictures.
            if not name or not name.isprintable() or len(name) > _MAX_COMMON_NAME:
                raise CallError(_nameless())
            return Tenant(name), ""
        return Tenant(""), ""

    def _lost_access(self, token: str) -> status_pb2.Status | None:
        assert self._tokens is not None
        return _stranger() if self._tokens.tenant_of(token) is None else None


def _open_tokens(settings: Settings) -> Tokens | None:
    """The tokens, if callers need any."""
    if settings.private or (settings.keeps_nothing and settings.tokens_file is None):
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


async def _answer(inner: Callable[[Any, Any], Any], request: list[Any], context: Any) -> Any:
    """The answer of a handler of any kind.

    Args:
        request: emptied, so that nothing here keeps a large request in memory as long as its stream lasts.
    """
    if inspect.isasyncgenfunction(inner):
        async with contextlib.aclosing(inner(request.pop(), context)) as responses:
            async for response in responses:
                await context.write(response)
        return None
    answer = inner(request.pop(), context)
    return await answer if inspect.isawaitable(answer) else answer


def _token(metadata: Metadata) -> str:
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str) and value.lower().startswith(_BEARER):
            return value[len(_BEARER) :].strip()
    return ""


def _no_method(method: str) -> status_pb2.Status:
    message = f"there is no call {quoted(method)} here; make the client from the server's own .proto files"
    return status(grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD", message)


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


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _code_of(status: status_pb2.Status) -> grpc.StatusCode:
    return _CODES.get(status.code, grpc.StatusCode.UNKNOWN)


def _code(context: Any) -> grpc.StatusCode:
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else _CODES.get(code, grpc.StatusCode.UNKNOWN)
