"""All calls of the contract over the protocols Connect and gRPC-Web, made from the contract's descriptors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, cast

import grpc
import grpc.aio
from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
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
from impasto_server.web.upstream import Upstream

SERVICES: tuple[ServiceDescriptor, ...] = (
    style_transfer_pb2.DESCRIPTOR.services_by_name["StyleTransfer"],
    admin_pb2.DESCRIPTOR.services_by_name["Admin"],
)
_STATUS_DETAILS = "grpc-status-details-bin"


class Answer:
    """A serialized message and its type, which JSON needs."""

    def __init__(self, data: bytes, type: type[Message]) -> None:
        self.data = data
        self.type = type


class BinaryCodec:
    """Passes messages through as they are: the gateway reads and checks them."""

    def name(self) -> str:
        """See `connectrpc.codec.Codec`."""
        return "proto"

    def encode(self, message: Answer) -> bytes:
        """See `connectrpc.codec.Codec`."""
        return message.data

    def decode(self, data: bytes | bytearray, message_class: type[Message]) -> bytes:
        """See `connectrpc.codec.Codec`."""
        return bytes(data)


class JsonCodec:
    """Converts between JSON and serialized messages."""

    def name(self) -> str:
        """See `connectrpc.codec.Codec`."""
        return "json"

    def encode(self, message: Answer) -> bytes:
        """See `connectrpc.codec.Codec`."""
        return json_format.MessageToJson(message.type.FromString(message.data), indent=None).encode()

    def decode(self, data: bytes | bytearray, message_class: type[Message]) -> bytes:
        """See `connectrpc.codec.Codec`."""
        message = message_class()
        try:
            json_format.Parse(bytes(data or b"{}"), message)
        except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
            raise ConnectError(
                Code.INVALID_ARGUMENT,
                f"the request is not JSON for this call ({error}); see the .proto files",
            ) from None
        return message.SerializeToString()


class Calls(ConnectASGIApplication[Upstream]):
    """The ASGI application that answers the calls."""

    def __init__(self, upstream: Upstream) -> None:
        """
        Args:
            upstream: where the calls go.
        """
        super().__init__(
            service=upstream,
            endpoints=endpoints,
            read_max_bytes=90 << 20,
            compressions=(),
            codecs=(BinaryCodec(), JsonCodec()),
        )

    @property
    def path(self) -> str:
        """Where the calls are: their paths begin with it."""
        return "/impasto.v1."


def endpoints(upstream: Upstream) -> Mapping[str, Any]:
    """Returns the library's endpoint of each method by its path."""
    return {
        f"/{service.full_name}/{method.name}": _endpoint(upstream, method)
        for service in SERVICES
        for method in service.methods
    }


def _endpoint(upstream: Upstream, method: MethodDescriptor) -> Any:
    path = f"/{method.containing_service.full_name}/{method.name}"
    type = GetMessageClass(method.output_type)

    async def unary(request: bytes, context: RequestContext[Any, Any]) -> Answer:
        try:
            return Answer(await upstream.unary(path, request, *_about(context)), type)
        except grpc.aio.AioRpcError as error:
            raise connect_error(error) from None

    async def collected(requests: AsyncIterator[bytes], context: RequestContext[Any, Any]) -> Answer:
        try:
            return Answer(await upstream.collected(path, requests, *_about(context)), type)
        except grpc.aio.AioRpcError as error:
            raise connect_error(error) from None

    async def streamed(request: bytes, context: RequestContext[Any, Any]) -> AsyncGenerator[Answer, None]:
        answers = upstream.streamed(path, request, *_about(context))
        try:
            async for answer in answers:
                yield Answer(answer, type)
        except grpc.aio.AioRpcError as error:
            raise connect_error(error) from None
        finally:
            await answers.aclose()

    if method.client_streaming:
        return Endpoint.client_stream(_info(method, StreamType.CLIENT_STREAM), collected)
    if method.server_streaming:
        return Endpoint.server_stream(_info(method, StreamType.SERVER_STREAM), streamed)
    return Endpoint.unary(_info(method, StreamType.UNARY), unary)


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
    return [("authorization", token)] if token else [], None if left is None else max(left, 1.0) / 1000


_CODES = {code.name.lower(): code for code in grpc.StatusCode}


def connect_error(error: grpc.aio.AioRpcError) -> ConnectError:
    """Converts the gateway's error, with its details."""
    name = error.code().name.lower()
    code = Code.CANCELED if name == "cancelled" else Code(name)
    details: list[Any] = []
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS:
            status = status_pb2.Status.FromString(cast(bytes, value))
            details += [
                ErrorDetail(AnyDetail(type_url=each.type_url, value=each.value)) for each in status.details
            ]
    return ConnectError(code, error.details() or "", details)
