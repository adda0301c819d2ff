"""The usual transport: grpcio, the C++ implementation of gRPC."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Generic

import grpc

from impasto.address import is_local
from impasto.errors import DETAILS_KEY, ClientClosed
from impasto.files import read_pem
from impasto.security import Tls
from impasto.transport import (
    CONNECT_TIMEOUT,
    KEEPALIVE_TIME,
    KEEPALIVE_TIMEOUT,
    Endpoint,
    Method,
    Request,
    Response,
    Stream,
    TransportError,
)

RECONNECT_INTERVAL = 1.0
"""Longest time between attempts to connect, in seconds. The caller decides when to give up."""


class GrpcioTransport:
    """A channel of grpcio.

    Raises:
        OSError: a file that the endpoint's TLS names cannot be read.
        TlsFileError: such a file does not contain what it should.
    """

    dials = True

    def __init__(self, endpoint: Endpoint) -> None:
        self._channel = open_channel(endpoint, grpc)
        self._metadata = endpoint.metadata
        self._closed = False

    def unary(self, method: Method[Request, Response], request: Request, *, timeout: float) -> Response:
        call = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        try:
            response: Response = call(request, timeout=timeout, metadata=self._metadata)
            return response
        except grpc.RpcError as error:
            raise transport_error(error) from None
        except ValueError:
            self._check_open()
            raise

    def upload(
        self, method: Method[Request, Response], requests: Iterable[Request], *, timeout: float
    ) -> Response:
        call = self._channel.stream_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        try:
            response: Response = call(iter(requests), timeout=timeout, metadata=self._metadata)
            return response
        except grpc.RpcError as error:
            raise transport_error(error) from None
        except ValueError:
            self._check_open()
            raise

    def stream(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None
    ) -> Stream[Response]:
        call = self._channel.unary_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        try:
            return _GrpcioStream(call(request, timeout=timeout, metadata=self._metadata))
        except ValueError:
            self._check_open()
            raise

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def _check_open(self) -> None:
        # For a call on a closed channel, grpcio raises ValueError.
        if self._closed:
            raise ClientClosed() from None


class _GrpcioStream(Generic[Response]):
    def __init__(self, call: Any) -> None:
        self._call = call
        self._cancelled = False
        self._alarm: _Alarm | None = None

    def receive(self, timeout: float | None) -> Response | None:
        if timeout is not None and self._alarm is None:
            self._alarm = _Alarm(self._call)
        if self._alarm is not None:
            self._alarm.set(timeout)
        over = True
        try:
            response: Response = next(self._call)
            over = False
            return response
        except StopIteration:
            return None
        except grpc.RpcError as error:
            if self._alarm is not None and self._alarm.rang:
                raise TransportError("UNAVAILABLE", f"nothing arrived for {timeout:g} s") from None
            raise transport_error(error, cancelled=self._cancelled) from None
        finally:
            if self._alarm is not None:
                self._alarm.set(None)
                if over:
                    self._alarm.end()

    def cancel(self) -> None:
        self._cancelled = True
        self._call.cancel()
        if self._alarm is not None:
            self._alarm.end()

    def __del__(self) -> None:
        if self._alarm is not None:
            self._alarm.end()


class _Alarm:
    """Cancels a call that is silent for too long: grpcio's streams have no timeout for a message."""

    def __init__(self, call: Any) -> None:
        # A weak reference, so that the thread does not keep an abandoned call alive.
        self._call = weakref.ref(call)
        self._changed = threading.Condition()
        self._at: float | None = None
        self._over = False
        self.rang = False
        threading.Thread(target=self._watch, name="impasto-silence", daemon=True).start()

    def set(self, timeout: float | None) -> None:
        """Rings after `timeout` seconds; None for never."""
        with self._changed:
            earlier = self._at is None or (timeout is not None and time.monotonic() + timeout < self._at)
            self._at = None if timeout is None else time.monotonic() + timeout
            # A later time needs no notification: the thread checks the time when it wakes.
            if earlier and timeout is not None:
                self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._over:
                left = None if self._at is None else self._at - time.monotonic()
                if left is None or left > 0:
                    self._changed.wait(left)
                    continue
                self.rang = self._over = True
                break
            else:
                return
        call = self._call()
        if call is not None:
            call.cancel()


def open_channel(endpoint: Endpoint, api: ModuleType) -> Any:
    """Return a channel of grpcio, typed as Any: grpcio's own types differ from release to release.

    Args:
        api: `grpc` or `grpc.aio`.

    Raises:
        OSError: a file that the endpoint's TLS names cannot be read.
        TlsFileError: such a file does not contain what it should.
    """
    options: list[tuple[str, int | str]] = [
        # With this probe, megabytes may be buffered for a slow reader, whose previews are then seconds old.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.keepalive_time_ms", int(KEEPALIVE_TIME * 1000)),
        ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT * 1000)),
        # A queued job sends nothing for a long time; keep pinging its server.
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.min_reconnect_backoff_ms", int(CONNECT_TIMEOUT * 1000)),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", int(RECONNECT_INTERVAL * 1000)),
        # Do not share a connection with other clients: it may be waiting for its next attempt.
        ("grpc.use_local_subchannel_pool", 1),
        # A proxy cannot reach this machine's loopback address.
        ("grpc.enable_http_proxy", 0 if is_local(endpoint.address) else 1),
    ]
    if endpoint.tls is None:
        return api.insecure_channel(endpoint.address, options=options)
    if endpoint.tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", endpoint.tls.server_name))
    return api.secure_channel(endpoint.address, _credentials(endpoint.tls), options=options)


def _credentials(tls: Tls) -> Any:
    def pem(path: Any) -> bytes | None:
        return None if path is None else read_pem(path)

    tls.check_files()
    return grpc.ssl_channel_credentials(pem(tls.ca), pem(tls.key), pem(tls.cert))


def transport_error(error: grpc.RpcError, *, cancelled: bool = False) -> TransportError:
    """Return how a call of grpcio ended.

    Args:
        cancelled: whether the caller cancelled it.
    """
    # Every RpcError that a call of grpcio raises is also a grpc.Call.
    call: Any = error
    code, message = call.code().name, call.details() or ""
    details = dict(call.trailing_metadata() or ()).get(DETAILS_KEY)
    # A server or proxy that shuts down resets its streams, with different codes.
    if details is None and not cancelled and (code == "CANCELLED" or "RST_STREAM" in message):
        code = "UNAVAILABLE"
    # Failures of name lookup, connecting and the handshake have these messages.
    unreached = code == "UNAVAILABLE" and (
        message.startswith("failed to connect to all addresses") or "DNS resolution failed" in message
    )
    return TransportError(code, message, details, unreached=unreached)
