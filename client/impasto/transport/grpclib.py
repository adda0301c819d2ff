"""The pure-Python transport: grpclib. It suits host applications that have their own Python.

It needs no compiled modules. grpclib uses asyncio: for blocking callers its event loop runs in a separate
thread. It ignores proxies that the environment names.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import ssl
import struct
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, Generic, TypeVar

import grpclib.client
import h2.events
import h2.exceptions
from google.protobuf.message import DecodeError
from grpclib.config import Configuration
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import StatusDetailsCodecBase
from grpclib.encoding.proto import ProtoCodec
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.protocol import H2Protocol

from impasto.errors import ClientClosed
from impasto.security import ssl_context
from impasto.transport import (
    CONNECT_TIMEOUT,
    KEEPALIVE_TIME,
    KEEPALIVE_TIMEOUT,
    AsyncStream,
    Endpoint,
    Method,
    Request,
    Response,
    Stream,
    TransportError,
)

WINDOW = 16 * 2**20
"""Bytes that may be in flight on a connection, and on a bulk stream."""
NEWS_WINDOW = 256 * 2**10
"""Bytes that may be in flight on any other stream: few enough to keep a slow reader's previews fresh."""

T = TypeVar("T")


class GrpclibAsyncTransport:
    """A channel of grpclib, in the running event loop.

    Raises:
        OSError: a file that the endpoint's TLS names cannot be read.
        TlsFileError: such a file does not contain what it should.
    """

    dials = True

    def __init__(self, endpoint: Endpoint) -> None:
        self._channel = _Channel(endpoint, None if endpoint.tls is None else ssl_context(endpoint.tls))
        self._metadata = endpoint.metadata
        self._calls: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def unary(self, method: Method[Request, Response], request: Request, *, timeout: float) -> Response:
        return await self._answer(method, [request], Cardinality.UNARY_UNARY, timeout)

    async def upload(
        self, method: Method[Request, Response], requests: Iterable[Request], *, timeout: float
    ) -> Response:
        return await self._answer(method, requests, Cardinality.STREAM_UNARY, timeout)

    def stream(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None
    ) -> AsyncStream[Response]:
        slot: _Slot[Response] = _Slot()
        return _GrpclibAsyncStream(slot, self._start(self._feed(slot, method, request, timeout)))

    async def close(self) -> None:
        self._closed = True
        for task in list(self._calls):
            task.cancel()
        if self._calls:
            await asyncio.wait(self._calls)
        self._channel.close()

    def _start(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        if self._closed:
            call.close()
            raise ClientClosed()
        # grpclib ends a call by cancelling the task that waits for it, so each call has its own task.
        task = asyncio.ensure_future(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    async def _answer(
        self,
        method: Method[Request, Response],
        requests: Iterable[Request],
        cardinality: Cardinality,
        timeout: float,
    ) -> Response:
        async def call() -> Response:
            async with self._call(method, requests, cardinality, timeout) as stream:
                response: Response | None = await stream.recv_message()
                if response is None:
                    # Leaving the block reads the trailers, which have the error.
                    await stream.recv_trailing_metadata()
                    raise TransportError("INTERNAL", "the server sent no answer")
                return response

        task = self._start(call())
        try:
            return await task
        except asyncio.CancelledError:
            if self._closed:
                raise TransportError("CANCELLED", "the connection was closed") from None
            raise

    async def _feed(
        self,
        slot: _Slot[Response],
        method: Method[Request, Response],
        request: Request,
        timeout: float | None,
    ) -> None:
        try:
            async with self._call(method, [request], Cardinality.UNARY_STREAM, timeout) as stream:
                while (message := await stream.recv_message()) is not None:
                    await slot.put(message)
            slot.end(None)
        except TransportError as error:
            slot.end(error)
        except asyncio.CancelledError:
            slot.end(TransportError("CANCELLED", "by the caller"))
        except BaseException:
            slot.end(TransportError("INTERNAL", "the call could not be carried out"))
            raise

    @contextlib.asynccontextmanager
    async def _call(
        self,
        method: Method[Any, Any],
        requests: Iterable[Any],
        cardinality: Cardinality,
        timeout: float | None,
    ) -> AsyncIterator[grpclib.client.Stream[Any, Any]]:
        """Makes a call and sends its requests. Turns every failure into a `TransportError`."""
        call = self._channel.request(
            method.path,
            cardinality,
            method.request,
            method.response,
            timeout=timeout,
            metadata=self._metadata,
        )
        try:
            async with call as stream:
                await stream.send_request()
                if method.bulk:
                    _widen(stream)
                # An answer may come before all requests are sent; a refusal then ends the call.
                sending = asyncio.ensure_future(_send(stream, requests))
                try:
                    yield stream
                finally:
                    sending.cancel()
                    await asyncio.wait({sending})
        except GRPCError as error:
            raise _told(error) from None
        except asyncio.TimeoutError:
            raise TransportError("DEADLINE_EXCEEDED", "the deadline passed") from None
        except DecodeError:
            raise TransportError(
                "INTERNAL", "the server's answer is not a message of the expected type"
            ) from None
        except (StreamTerminatedError, h2.exceptions.H2Error, OSError, AssertionError, struct.error) as error:
            # grpclib raises these errors if a stream ends within a message.
            raise TransportError("UNAVAILABLE", str(error) or "the stream broke") from None


class GrpclibTransport:
    """A channel of grpclib, whose event loop runs in a separate thread.

    Raises:
        OSError: a file that the endpoint's TLS names cannot be read.
        TlsFileError: such a file does not contain what it should.
    """

    dials = True

    def __init__(self, endpoint: Endpoint) -> None:
        loop = asyncio.new_event_loop()
        self._loop = loop
        self._lock = threading.Lock()
        self._closing: concurrent.futures.Future[None] | None = None
        threading.Thread(target=_run_loop, args=(loop,), name="impasto-grpclib", daemon=True).start()
        # If nobody closes it, its thread still ends.
        self._stop = weakref.finalize(self, _stop_loop, loop)

        async def make() -> GrpclibAsyncTransport:
            return GrpclibAsyncTransport(endpoint)

        try:
            self._async = self._wait(make())
        except BaseException:
            self._stop()
            raise

    def unary(self, method: Method[Request, Response], request: Request, *, timeout: float) -> Response:
        return self._wait(self._async.unary(method, request, timeout=timeout))

    def upload(
        self, method: Method[Request, Response], requests: Iterable[Request], *, timeout: float
    ) -> Response:
        return self._wait(self._async.upload(method, requests, timeout=timeout))

    def stream(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None
    ) -> Stream[Response]:
        async def begin() -> AsyncStream[Response]:
            return self._async.stream(method, request, timeout=timeout)

        return _GrpclibStream(self, self._loop, self._wait(begin()))

    def close(self) -> None:
        with self._lock:
            if not self._stop.alive:
                return
            if self._closing is None:
                self._closing = asyncio.run_coroutine_threadsafe(self._async.close(), self._loop)
        self._closing.result()
        self._stop()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        # A loop that is about to stop would never finish new work.
        with self._lock:
            if self._closing is not None or not self._stop.alive:
                work.close()
                raise ClientClosed()
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClientClosed() from None
        except BaseException:
            # Ctrl-C ends the call too.
            future.cancel()
            raise


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        # Wake everybody who waits for unfinished work.
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()


def _stop_loop(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(loop.stop)


class _Slot(Generic[Response]):
    """Room for one message between a call and its reader. Flow control holds back further messages."""

    def __init__(self) -> None:
        self._message: Response | None = None
        self._over = False
        self._error: TransportError | None = None
        self._filled = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    async def put(self, message: Response) -> None:
        await self._free.wait()
        self._message = message
        self._free.clear()
        self._filled.set()

    def end(self, error: TransportError | None) -> None:
        """Ends the messages: with an error, or because they are complete."""
        self._over, self._error = True, error
        self._filled.set()

    async def take(self, timeout: float | None) -> Response | None:
        if not self._filled.is_set():
            filled = asyncio.ensure_future(self._filled.wait())
            try:
                await asyncio.wait({filled}, timeout=timeout)
            finally:
                filled.cancel()
        if not self._filled.is_set():
            raise TransportError("UNAVAILABLE", f"nothing arrived for {timeout:g} s")
        message, self._message = self._message, None
        if message is not None:
            self._free.set()
            if not self._over:
                self._filled.clear()
        elif self._error is not None:
            raise self._error.with_traceback(None)
        return message


class _GrpclibAsyncStream(Generic[Response]):
    def __init__(self, slot: _Slot[Response], feeding: asyncio.Task[None]) -> None:
        self._slot = slot
        self._feeding = feeding

    async def receive(self, timeout: float | None) -> Response | None:
        try:
            return await self._slot.take(timeout)
        except TransportError:
            self._feeding.cancel()
            raise

    def cancel(self) -> None:
        self._feeding.cancel()

    def __del__(self) -> None:
        if not self._feeding.get_loop().is_closed():
            self._feeding.cancel()


class _GrpclibStream(Generic[Response]):
    def __init__(
        self,
        transport: GrpclibTransport,
        loop: asyncio.AbstractEventLoop,
        stream: AsyncStream[Response],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._stream = stream

    def receive(self, timeout: float | None) -> Response | None:
        try:
            return self._transport._wait(self._stream.receive(timeout))
        except ClientClosed:
            raise TransportError("CANCELLED", "the connection was closed") from None

    def cancel(self) -> None:
        # If the loop has ended, there is nothing to cancel.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stream.cancel)

    def __del__(self) -> None:
        self.cancel()


class _Channel(grpclib.client.Channel):
    """A channel that counts as connected once the server has sent its settings, as with grpcio."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None) -> None:
        host, port, path = _target(endpoint.address)
        name = None if endpoint.tls is None else endpoint.tls.server_name
        config = Configuration(
            http2_connection_window_size=WINDOW,
            http2_stream_window_size=NEWS_WINDOW,
            ssl_target_name_override=name or ("localhost" if path is not None else None),
            _keepalive_time=KEEPALIVE_TIME,
            _keepalive_timeout=KEEPALIVE_TIMEOUT,
            # A queued job sends nothing for a long time; keep pinging its server.
            _http2_max_pings_without_data=0,
            _http2_min_sent_ping_interval_without_data=KEEPALIVE_TIME / 2,
        )
        super().__init__(
            host,
            port,
            path=path,
            ssl=context,
            codec=ProtoCodec(),
            status_details_codec=_RawDetails(),
            config=config,
        )

    def _protocol_factory(self) -> H2Protocol:
        return _Connection(grpclib.client.Handler(), self._config, self._h2_config)

    @property
    def _connected(self) -> bool:
        # A connection that is about to close accepts no more calls.
        return (
            self._protocol is not None and super()._connected and not self._protocol.connection.is_closing()
        )

    async def _create_connection(self) -> H2Protocol:
        # Do not use `wait_for`: up to Python 3.11 it may lose a cancellation, and the call would go on.
        connecting = asyncio.ensure_future(self._greeted())
        try:
            await asyncio.wait({connecting}, timeout=CONNECT_TIMEOUT)
            if connecting.done():
                return connecting.result()
            cause = f"no answer within {CONNECT_TIMEOUT:g} s"
        except OSError as error:
            cause = _cause(error)
        except UnicodeError:
            cause = "the address has no name of a host"
        except asyncio.CancelledError:
            if connecting.done() and connecting.exception() is None:
                connecting.result().connection.close()
            raise
        finally:
            connecting.cancel()
        raise TransportError("UNAVAILABLE", f"failed to connect: {cause}", unreached=True)

    async def _greeted(self) -> H2Protocol:
        protocol = await super()._create_connection()
        assert isinstance(protocol, _Connection)
        try:
            await protocol.greeting
        except BaseException:
            protocol.connection.close()
            raise
        return protocol

    def __del__(self) -> None:
        # grpclib's own method warns about an unclosed channel.
        if self._protocol is not None and not self._loop.is_closed():
            self.close()


class _Connection(H2Protocol):
    """A connection, with features that grpclib lacks.

    Attributes:
        greeting: done once the server has sent its settings; fails if the connection breaks before.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.greeting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        processor = self.processor
        settings, reset = processor.process_remote_settings_changed, processor.process_stream_reset

        def greet(event: h2.events.RemoteSettingsChanged) -> None:
            if not self.greeting.done():
                self.greeting.set_result(None)
            settings(event)

        def end(event: h2.events.StreamReset) -> None:
            # A server that has answered early resets the stream. Its answer counts.
            stream = processor.streams.get(event.stream_id)
            if stream is None or not (stream.trailers or "grpc-status" in dict(stream.headers or ())):
                reset(event)

        processor.processors[h2.events.RemoteSettingsChanged] = greet
        processor.processors[h2.events.StreamReset] = end

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if not self.greeting.done():
            self.greeting.set_exception(
                exc if isinstance(exc, OSError) else ConnectionResetError("the server closed the connection")
            )
            # If nobody waits for it any more, the error needs no report.
            self.greeting.exception()


class _RawDetails(StatusDetailsCodecBase):
    """Keeps a call's details as bytes."""

    def encode(self, status: Status, message: str | None, details: Any) -> bytes:
        raise NotImplementedError("a client sends no status")

    def decode(self, status: Status, message: str | None, data: bytes) -> Any:
        return data


async def _send(stream: grpclib.client.Stream[Any, Any], requests: Iterable[Any]) -> None:
    # The stream's reader gets the error if the stream accepts no more.
    with contextlib.suppress(
        StreamTerminatedError, GRPCError, asyncio.TimeoutError, h2.exceptions.H2Error, OSError
    ):
        waiting = list(requests)
        for i, request in enumerate(waiting, 1):
            await stream.send_message(request, end=i == len(waiting))


def _widen(stream: grpclib.client.Stream[Any, Any]) -> None:
    connection = stream._stream.connection
    connection._connection.increment_flow_control_window(WINDOW - NEWS_WINDOW, stream._stream.id)
    connection.flush()


def _told(error: GRPCError) -> TransportError:
    code, details = error.status.name, error.details
    # A server or proxy that shuts down may send CANCELLED. A caller's own cancellation does not arrive here.
    if details is None and code == "CANCELLED":
        code = "UNAVAILABLE"
    return TransportError(code, error.message or "", details)


def _target(address: str) -> tuple[str | None, int | None, str | None]:
    """The host and port, or the path, of an address from `impasto.address.parse`."""
    if address.startswith("unix:"):
        return None, None, address[len("unix:") :]
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port), None


def _cause(error: OSError) -> str:
    """Why connecting failed, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
