"""The usual transport for asyncio: grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Generic

import grpc
import grpc.aio

from impasto.errors import ClientClosed
from impasto.transport import AsyncStream, Endpoint, Method, Request, Response, TransportError
from impasto.transport.grpcio import open_channel, transport_error


class GrpcioAsyncTransport:
    """A channel of grpc.aio, in the running event loop.

    Raises:
        OSError: a file that the endpoint's TLS names cannot be read.
        TlsFileError: such a file does not contain what it should.
    """

    dials = True

    def __init__(self, endpoint: Endpoint) -> None:
        self._channel = open_channel(endpoint, grpc.aio)
        self._metadata = endpoint.metadata
        self._closed = False

    async def unary(self, method: Method[Request, Response], request: Request, *, timeout: float) -> Response:
        self._check_open()
        call = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        response: Response = await _answer(call(request, timeout=timeout, metadata=self._metadata))
        return response

    async def upload(
        self, method: Method[Request, Response], requests: Iterable[Request], *, timeout: float
    ) -> Response:
        self._check_open()
        call = self._channel.stream_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        response: Response = await _answer(call(iter(requests), timeout=timeout, metadata=self._metadata))
        return response

    def stream(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None
    ) -> AsyncStream[Response]:
        self._check_open()
        call = self._channel.unary_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return _GrpcioAsyncStream(call(request, timeout=timeout, metadata=self._metadata))

    async def close(self) -> None:
        self._closed = True
        await self._channel.close()

    def _check_open(self) -> None:
        # For a call on a closed channel, grpc.aio raises an internal error.
        if self._closed:
            raise ClientClosed()


async def _answer(call: Any) -> Any:
    answering = asyncio.ensure_future(_awaited(call))
    try:
        await asyncio.wait({answering})
        return answering.result()
    except grpc.RpcError as error:
        raise transport_error(error) from None
    except asyncio.CancelledError:
        if answering.done():
            raise TransportError("CANCELLED", "the connection was closed") from None
        raise
    finally:
        # Dropping a call does not end it.
        answering.cancel()
        call.cancel()


async def _awaited(call: Any) -> Any:
    return await call


class _GrpcioAsyncStream(Generic[Response]):
    def __init__(self, call: Any) -> None:
        self._call = call
        self._cancelled = False

    async def receive(self, timeout: float | None) -> Response | None:
        # Cancelling a call cancels the task that reads from it, so a separate task reads.
        reading = asyncio.ensure_future(self._call.read())
        try:
            await asyncio.wait({reading}, timeout=timeout)
        finally:
            if not reading.done():
                reading.cancel()
                self._call.cancel()
        if not reading.done():
            raise TransportError("UNAVAILABLE", f"nothing arrived for {timeout:g} s")
        try:
            response = reading.result()
        except grpc.RpcError as error:
            raise transport_error(error, cancelled=self._cancelled) from None
        except asyncio.CancelledError:
            raise TransportError("CANCELLED", "by the caller") from None
        if response is grpc.aio.EOF:
            return None
        message: Response = response
        return message

    def cancel(self) -> None:
        self._cancelled = True
        self._call.cancel()

    def __del__(self) -> None:
        self._call.cancel()
