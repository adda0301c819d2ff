"""All calls of the contract over the protocols Connect and gRPC-Web, made from the contract's descriptors."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, cast

import grpc
import grpc.aio
from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.interceptor import MetadataInterceptor
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2
from protobuf.wkt import Any as AnyDetail

from impasto.v1 import admin_pb2, style_transfer_pb2
from impasto_server.web import bodies, grpc_web_text
from impasto_server.web.bodies import Bodies, Kind, kind_of
from impasto_server.web.callers import Callers
from impasto_server.web.requests import Receive, Scope, Send
from impasto_server.web.upstream import Upstream

SERVICES: tuple[ServiceDescriptor, ...] = (
    style_transfer_pb2.DESCRIPTOR.services_by_name["StyleTransfer"],
    admin_pb2.DESCRIPTOR.services_by_name["Admin"],
)

TYPES = (
    "application/json",
    "application/proto",
    "application/connect+json",
    "application/connect+proto",
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web+json",
    *grpc_web_text.TYPES,
)
"""The types of requests. None of them can be sent by a form of another site."""

# The only headers that mean something to the calls.
_HEADERS = (
    b"accept-encoding",
    b"authorization",
    b"connect-accept-encoding",
    b"connect-content-encoding",
    b"connect-protocol-version",
    b"connect-timeout-ms",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"grpc-encoding",
    b"grpc-timeout",
    b"x-grpc-web",
)
_STATUS_DETAILS = "grpc-status-details-bin"
_LARGE_TEXT = 1 << 20
_LONGEST = 365 * 86400.0
"""Seconds. Longer deadlines overflow in gRPC and end at once; the gateway's own limit is shorter."""


@dataclasses.dataclass(frozen=True)
class _Text:
    """A message in JSON."""

    text: bytes


@dataclasses.dataclass(frozen=True)
class _Answer:
    """A serialized message and its type, which JSON needs."""

    data: bytes
    type: type[Message]


class _BinaryCodec:
    """Passes messages through as they are: the gateway reads and checks them."""

    def name(self) -> str:
        return "proto"

    def encode(self, message: _Answer) -> bytes:
        return message.data

    def decode(self, data: bytes | bytearray, message_class: type[Message]) -> bytes:
        return bytes(data)


class _JsonCodec:
    """Writes answers as JSON. Requests are converted later, since that can take long."""

    def name(self) -> str:
        return "json"

    def encode(self, message: _Answer) -> bytes:
        return json_format.MessageToJson(message.type.FromString(message.data), indent=None).encode()

    def decode(self, data: bytes | bytearray, message_class: type[Message]) -> _Text:
        return _Text(bytes(data))


class _Admission(MetadataInterceptor[None]):
    """Lets a call in, or refuses it, before its request is read."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    async def on_start(self, ctx: RequestContext[Any, Any]) -> None:
        try:
            bodies.admit(await self._callers.tenant(ctx.request_headers.get("authorization", "")))
        except grpc.aio.AioRpcError as error:
            raise connect_error(error) from None


class Calls:
    """The ASGI application that answers the calls."""

    def __init__(self, upstream: Upstream, callers: Callers, memory: Bodies) -> None:
        """
        Args:
            upstream: where the calls go.
            callers: knows who may call.
            memory: for requests.
        """
        self._bodies = memory
        admission = _Admission(callers)
        self._methods = {
            f"/{service.full_name}/{method.name}": method
            for service in SERVICES
            for method in service.methods
        }
        endpoints = {path: _endpoint(upstream, method) for path, method in self._methods.items()}
        self._applications = {
            kind: _Application(endpoints, kind, admission)
            for kind in (bodies.SMALL, bodies.PIECE, bodies.WITH_IMAGES)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a call; see ASGI. The scope's path is "/package.Service/Method"."""
        method = self._methods.get(scope["path"])
        kind = kind_of(method.name) if method is not None else bodies.SMALL
        headers = [each for each in scope["headers"] if each[0] in _HEADERS and each[1].isascii()]
        scope = {**scope, "headers": headers}
        if grpc_web_text.is_text(scope):
            scope, receive, send = grpc_web_text.converted(scope, receive, send)
        streams = method is not None and method.client_streaming
        body = self._bodies.begin(kind, _length(scope), streams=streams)
        try:
            await self._applications[kind](scope, body.reader(receive), send)
        finally:
            body.close()


def _length(scope: Scope) -> int | None:
    """The length of a body in bytes; None if it is not known."""
    given = next((value for key, value in scope["headers"] if key == b"content-length"), b"")
    return int(given) if given.isdigit() and len(given) < 20 else None


class _Application(ConnectASGIApplication[None]):
    def __init__(self, endpoints: Mapping[str, Any], kind: Kind, admission: _Admission) -> None:
        super().__init__(
            service=None,
            endpoints=lambda _: endpoints,
            interceptors=(admission,),
            read_max_bytes=kind.most_read,
            # As on gRPC: pictures are compressed already, and 60 KB can decompress to the largest message.
            compressions=(),
            codecs=(_BinaryCodec(), _JsonCodec()),
        )

    @property
    def path(self) -> str:
        return "/impasto.v1."


def _endpoint(upstream: Upstream, method: MethodDescriptor) -> Any:
    path = f"/{method.containing_service.full_name}/{method.name}"
    input, output = GetMessageClass(method.input_type), GetMessageClass(method.output_type)

    async def unary(request: bytes | _Text, context: RequestContext[Any, Any]) -> _Answer:
        try:
            message = await _serialized(request, input)
            return _Answer(await upstream.unary(path, message, *_about(context)), output)
        except grpc.aio.AioRpcError as error:
            raise connect_error(error) from None

    async def collected(requests: AsyncIterator[bytes | _Text], context: RequestContext[Any, Any]) -> _Answer:
        fault: list[Exception] = []

        async def messages() -> AsyncIterator[bytes]:
            # An error in here would reach the gateway, and not the caller.
            try:
                async for request in requests:
                    yield await _serialized(request, input)
            except Exception as error:
                fault.append(error)
                raise

        try:
            return _Answer(await upstream.collected(path, messages(), *_about(context)), output)
        except asyncio.CancelledError:
            if fault:
                raise fault[0] from None
            raise
        except grpc.aio.AioRpcError as error:
            raise (fault[0] if fault else connect_error(error)) from None

    async def streamed(
        request: bytes | _Text, context: RequestContext[Any, Any]
    ) -> AsyncGenerator[_Answer, None]:
        message = await _serialized(request, input)
        del request
        answers = upstream.streamed(path, message, *_about(context))
        # The stream can last for hours; its request need not stay in memory.
        del message
        try:
            async for answer in answers:
                bodies.release()
                yield _Answer(answer, output)
        except grpc.aio.AioRpcError as error:
            raise connect_error(error) from None
        finally:
            await answers.aclose()

    if method.client_streaming:
        return Endpoint.client_stream(_info(method, StreamType.CLIENT_STREAM), collected)
    if method.server_streaming:
        return Endpoint.server_stream(_info(method, StreamType.SERVER_STREAM), streamed)
    return Endpoint.unary(_info(method, StreamType.UNARY), unary)


async def _serialized(request: bytes | _Text, type: type[Message]) -> bytes:
    """Returns a request as a serialized message.

    Raises:
        ConnectError: INVALID_ARGUMENT: it is not JSON for this message.
    """
    if isinstance(request, bytes):
        return request
    if len(request.text) < _LARGE_TEXT:
        return _parsed(request.text, type)
    return await asyncio.to_thread(_parsed, request.text, type)


def _parsed(text: bytes, type: type[Message]) -> bytes:
    bodies.check_json(text)
    message = type()
    try:
        json_format.Parse(text or b"{}", message)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise ConnectError(
            Code.INVALID_ARGUMENT,
            f"the request is not JSON for this call ({error}); see the server's openapi.json",
        ) from None
    return message.SerializeToString()


def _info(method: MethodDescriptor, stream_type: StreamType) -> MethodInfo[Any, Any]:
    is_safe = method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    return MethodInfo(
        name=method.name,
        service_name=method.containing_service.full_name,
        input=GetMessageClass(method.input_type),
        output=GetMessageClass(method.output_type),
        idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS if is_safe else IdempotencyLevel.UNKNOWN,
        stream_type=stream_type,
    )


def _about(context: RequestContext[Any, Any]) -> tuple[list[tuple[str, str]], float | None]:
    """Returns the metadata and the deadline in seconds for the gateway."""
    token = context.request_headers.get("authorization")
    left = context.timeout_ms
    return [("authorization", token)] if token else [], None if left is None else min(
        max(left / 1000, 0.001), _LONGEST
    )


def connect_error(error: grpc.aio.AioRpcError) -> ConnectError:
    """Converts the gateway's error, with its details."""
    name = error.code().name.lower()
    details: list[Any] = []
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS:
            status = status_pb2.Status.FromString(cast(bytes, value))
            details += [
                ErrorDetail(AnyDetail(type_url=each.type_url, value=each.value)) for each in status.details
            ]
    code = Code.CANCELED if name == "cancelled" else Code(name)
    message = error.details() or ""
    if code is Code.UNAVAILABLE and not details:
        # gRPC's own words, for its developers.
        message = "the server is not ready; try again in a moment"
    return ConnectError(code, message, details)
