"""Access control: identifies the caller of every call before the call is answered."""

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
from impasto_server.gateway.links import TICKET, Links, Ticket, invalid_link
from impasto_server.gateway.metrics import Metrics
from impasto_server.gateway.open_calls import SECONDS_OF_PIECE, OpenCall, OpenCalls, Right
from impasto_server.gateway.reading import Reading, kind_of
from impasto_server.gateway.settings import Settings
from impasto_server.gateway.tokens import Tenant, Tokens, TokensError
from impasto_server.shares import acting_for

_log = logging.getLogger(__name__)

UNARY_DEADLINE = 120.0
"""Maximum duration in seconds of a call without a stream, whatever deadline its caller sets."""

_OPEN = "/grpc.health.v1.Health/"
_FOR_TICKETS = "/impasto.v1.StyleTransfer/DownloadImage"
_FOR_ADMINISTRATORS = "/impasto.v1.Admin/"
_WAITING = ("/impasto.v1.StyleTransfer/GetPreview",)
# Begins the name of whoever has a link of a tenant. No tenant can have such a name.
_LINKS_OF = "\0links of "
_BEARER = "bearer "
_MAX_COMMON_NAME = 64

# The owner of calls that need no access. No tenant can have this name, because it is not printable.
_ANYBODY = "\0anybody"

Metadata = Sequence[tuple[str, "str | bytes"]]


class Access(grpc.aio.ServerInterceptor):
    """Lets known callers in, identifies their tenant, and ends calls that take too long.

    Every handler is replaced by one that reads its messages itself. No part of a request is therefore read
    before the caller is known, and `Reading` limits how much is read at the same time.
    """

    def __init__(self, settings: Settings, metrics: Metrics, links: Links, *, trusting: bool = False) -> None:
        """
        Args:
            settings: of the server.
            metrics: counts the calls.
            links: checks the tickets of callers who come with a link instead of a token.
            trusting: whether every caller is an administrator: for a socket that only one can reach.

        Raises:
            ConfigurationError: the file of tokens cannot be read.
        """
        self._settings = settings
        self._metrics = metrics
        self._links = links
        self._trusting = trusting
        self._tokens = None if trusting else _open_tokens(settings)
        self._tenant: contextvars.ContextVar[Tenant] = contextvars.ContextVar("tenant")
        self._reading = Reading(settings.max_request_memory)
        self._calls = OpenCalls(settings.max_streams_per_tenant, self._lost_access)

    @property
    def uses_tokens(self) -> bool:
        """Whether callers need a token."""
        return self._tokens is not None

    @property
    def reading(self) -> Reading:
        """Reads the callers' messages."""
        return self._reading

    def tenant(self) -> Tenant:
        """Returns the tenant of the current call."""
        return self._tenant.get()

    def weight(self, tenant: str) -> float:
        """Returns a tenant's share of device time relative to other tenants."""
        return self._tokens.weight_of(tenant) if self._tokens is not None else 1.0

    def tenants(self) -> list[Tenant]:
        """Returns the tenants that have a token."""
        return [] if self._tokens is None else [tenant for tenant, _ in self._tokens.tenants()]

    @property
    def open_streams(self) -> int:
        """The number of open calls that stream or wait, all tenants."""
        return self._calls.open_streams

    async def end_calls(self, ending: status_pb2.Status, *, grace: float) -> None:
        """Waits until no call is open, and ends calls that are still open after `grace` seconds.

        Args:
            ending: the status with which they end.
            grace: in seconds.
        """
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
        """Returns the function that answers calls of a method, known or not."""
        known = handler is not None
        streams = known and (handler.request_streaming or handler.response_streaming)
        seconds = self._settings.max_deadline if streams else UNARY_DEADLINE
        long = streams or method in _WAITING
        for_administrators = method.startswith(_FOR_ADMINISTRATORS)

        async def call(_: Any, context: Any) -> Any:
            begin = time.monotonic()
            code = grpc.StatusCode.UNKNOWN
            entered: OpenCall | None = None
            try:
                ticket = self._find_ticket(method, metadata)
                if ticket is not None:
                    tenant, token = self._tenant_of_ticket(ticket), ""
                else:
                    tenant, token = self._find_tenant(method, metadata, context)
                # Here, so that no call of that service, whatever it does, can forget it.
                if for_administrators and not tenant.administrator:
                    raise CallError(_no_administrator(uses_tokens=self.uses_tokens))
                self._tenant.set(tenant)
                if ticket is not None:
                    acting_for.set(_LINKS_OF + tenant.name)
                    right = Right(tenant=tenant.name) if self.uses_tokens else None
                    entering = self._calls.entered_by_link(tenant.name, ticket.id, right)
                else:
                    owner = _ANYBODY if method.startswith(_OPEN) else tenant.name
                    acting_for.set(owner)
                    right = Right(token=token, as_administrator=for_administrators) if token else None
                    entering = self._calls.entered(owner, right=right, seconds=seconds, long=long)
                with entering as entered:
                    if ticket is not None:
                        answer = await self._downloaded(handler, ticket, entered, context)
                    else:
                        answer = await self._answered(method, handler, owner, context)
                code = grpc.StatusCode.OK
                return answer
            except grpc.aio.InternalError:
                # The answer cannot be written: the caller is gone, and the cancellation will follow.
                code = grpc.StatusCode.CANCELLED
                raise asyncio.CancelledError from None
            except grpc.aio.AbortError:
                # The handler of a library has already answered the caller.
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
                # Before the caller is answered: it may read the metrics at once.
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
            request = await self._reading.message(context, kind, parse)
            return await _answer(inner, [request], context)

    async def _downloaded(self, handler: Any, ticket: Ticket, call: OpenCall, context: Any) -> Any:
        """Answers a caller with a link. Of what its owner may use it takes nothing."""
        # By link: whoever has one and does not send a request holds up nobody but its other readers.
        with self._reading.of(_LINKS_OF + ticket.id):
            asked = await self._reading.message(context, kind_of(_FOR_TICKETS), handler.request_deserializer)
        return await handler.unary_stream(ticket.applied(asked), _Slowly(context, call))

    def _find_ticket(self, method: str, metadata: Metadata) -> Ticket | None:
        """Returns the ticket that a caller shows instead of a token, for the only method that takes one.

        Raises:
            CallError: it is not valid.
        """
        if method != _FOR_TICKETS:
            return None
        text = next((value for key, value in metadata if key == TICKET), None)
        if text is None:
            return None
        return self._links.check(text if isinstance(text, str) else "")

    def _tenant_of_ticket(self, ticket: Ticket) -> Tenant:
        """Returns the tenant whose picture a ticket is for.

        Raises:
            CallError: the tenant has no access any more.
        """
        if self._tokens is None:
            return Tenant(ticket.tenant)
        try:
            tenant = self._tokens.tenant_named(ticket.tenant)
        except TokensError as error:
            raise _unreadable(error) from None
        if tenant is None:
            raise CallError(invalid_link())
        return tenant

    def _find_tenant(self, method: str, metadata: Metadata, context: Any) -> tuple[Tenant, str]:
        """Returns the caller's tenant, and the caller's token if it has one.

        Raises:
            CallError: the caller has no access.
        """
        if method.startswith(_OPEN):
            return Tenant(""), ""
        if self._trusting:
            return Tenant("", administrator=True), ""
        if self._tokens is not None:
            token = _token(metadata)
            try:
                tenant = self._tokens.tenant_of(token)
            except TokensError as error:
                raise _unreadable(error) from None
            if tenant is None:
                raise CallError(_invalid_token() if token else _no_token())
            return tenant, token
        if self._settings.tls_client_ca is not None:
            names = context.auth_context().get("x509_common_name", ())
            name = names[0].decode(errors="replace").strip() if names else ""
            # All callers without a name would be one tenant, and see each other's pictures.
            if not name or not name.isprintable() or len(name) > _MAX_COMMON_NAME:
                raise CallError(_nameless())
            return Tenant(name), ""
        return Tenant("", administrator=True), ""

    def _lost_access(self, right: Right) -> status_pb2.Status | None:
        assert self._tokens is not None
        if not right.token:
            return invalid_link() if self._tokens.tenant_named(right.tenant) is None else None
        tenant = self._tokens.tenant_of(right.token)
        if tenant is None:
            return _invalid_token()
        if right.as_administrator and not tenant.administrator:
            return _no_administrator(uses_tokens=True)
        return None


class _Slowly:
    """The context of a download that lasts longer for every piece that its reader takes."""

    def __init__(self, context: Any, call: OpenCall) -> None:
        self._context = context
        self._call = call

    async def write(self, piece: Any) -> None:
        await self._context.write(piece)
        self._call.give(SECONDS_OF_PIECE)


def _open_tokens(settings: Settings) -> Tokens | None:
    """Opens the file of tokens; None if callers need no token."""
    if settings.private or (settings.keeps_nothing and settings.tokens_file is None):
        return None
    try:
        if settings.tokens_file is None and not settings.tokens_path.exists():
            return None
        tokens = Tokens(settings.tokens_path)
        if not tokens.tenants():
            _log.warning("the file has no tokens, so nobody gets in path=%s", settings.tokens_path)
    except TokensError as error:
        raise ConfigurationError(str(error)) from error
    except OSError as error:
        raise ConfigurationError(
            f"the tokens in {settings.tokens_path} cannot be read ({error.strerror})"
        ) from error
    return tokens


async def _answer(inner: Callable[[Any, Any], Any], request: list[Any], context: Any) -> Any:
    """Runs a handler of any kind and returns its answer.

    Args:
        inner: the handler.
        request: a list with the request. It is emptied, so that a large request does not stay in memory while
            its stream lasts.
        context: of the call.
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


def _unreadable(error: TokensError) -> CallError:
    _log.error("tokens cannot be read error=%r", str(error))
    return CallError(internal())


def _no_method(method: str) -> status_pb2.Status:
    message = f"this server has no call {quoted(method)}; generate the client from the server's .proto files"
    return status(grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD", message)


def _no_token() -> status_pb2.Status:
    message = (
        "this server requires a token; ask the server's administrator for one, and send it as the metadata "
        "authorization: Bearer TOKEN"
    )
    return status(grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN", message)


def _invalid_token() -> status_pb2.Status:
    message = "the token is not valid; ask the server's administrator for a new one"
    return status(grpc.StatusCode.UNAUTHENTICATED, "NO_TOKEN", message)


def _no_administrator(*, uses_tokens: bool) -> status_pb2.Status:
    if uses_tokens:
        remedy = "ask the server's administrator to run `impasto-server token admin NAME on`"
    else:
        remedy = "certificates give no such right; on the server's machine, use `impasto-server admin`"
    message = f"only an administrator of the server can make this call; {remedy}"
    return status(grpc.StatusCode.PERMISSION_DENIED, "NOT_ADMINISTRATOR", message)


def _nameless() -> status_pb2.Status:
    message = (
        "the common name of the caller's certificate cannot be the name of a tenant; it must have 1 to "
        f"{_MAX_COMMON_NAME} printable characters. Ask the server's administrator for another certificate"
    )
    return status(grpc.StatusCode.UNAUTHENTICATED, "NO_COMMON_NAME", message)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _code_of(status: status_pb2.Status) -> grpc.StatusCode:
    return _CODES.get(status.code, grpc.StatusCode.UNKNOWN)


def _code(context: Any) -> grpc.StatusCode:
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else _CODES.get(code, grpc.StatusCode.UNKNOWN)
