"""The usual transport: grpcio, the C++ implementation of gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic

import grpc

from impasto.address import is_local
from impasto.errors import DETAILS_KEY
from impasto.transport import Method, Request, Response, Stream, TransportError

CONNECT_TIMEOUT = 10.0
KEEPALIVE_TIME = 30.0
KEEPALIVE_TIMEOUT = 10.0


class GrpcioTransport:
    """A channel of grpcio.

    Args:
        address: in full, as `impasto.address.parse` gives it.
    """

    def __init__(self, address: str) -> None:
        # grpcio's own types differ much from release to release; none of them leave this module.
        self._channel: Any = grpc.insecure_channel(
            address,
            options=[
                # With the probe on, a reader that stalls leaves the server megabytes ahead: its previews
                # are then seconds old.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.keepalive_time_ms", int(KEEPALIVE_TIME * 1000)),
                ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT * 1000)),
                # A job that waits in the queue sends nothing for long; go on asking whether its server lives.
                ("grpc.http2.max_pings_without_data", 0),
                ("grpc.min_reconnect_backoff_ms", int(CONNECT_TIMEOUT * 1000)),
                # A proxy from the environment cannot reach this machine's own loopback.
                ("grpc.enable_http_proxy", 0 if is_local(address) else 1),
            ],
        )

    def unary(self, method: Method[Request, Response], request: Request, *, timeout: float) -> Response:
        call = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        try:
            response: Response = call(request, timeout=timeout)
            return response
        except grpc.RpcError as error:
            raise _transport_error(error) from None

    def stream(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None
    ) -> Stream[Response]:
        call = self._channel.unary_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return _GrpcioStream(call(request, timeout=timeout))

    def close(self) -> None:
        self._channel.close()


class _GrpcioStream(Generic[Response]):
    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[Response]:
        return self

    def __next__(self) -> Response:
        try:
            response: Response = next(self._call)
            return response
        except grpc.RpcError as error:
            raise _transport_error(error) from None

    def cancel(self) -> None:
        self._call.cancel()


def _transport_error(error: grpc.RpcError) -> TransportError:
    # Every RpcError that grpcio raises from a call is a grpc.Call too.
    call: Any = error
    details = dict(call.trailing_metadata() or ()).get(DETAILS_KEY)
    return TransportError(call.code().name, call.details() or "", details)
