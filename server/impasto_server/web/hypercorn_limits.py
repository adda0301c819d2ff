"""What Hypercorn lacks: limits for connections, and senders that wait for slow readers on HTTP/2 too.

Each class stands in for Hypercorn's own. The tests in tests/web/test_slow_callers.py tell when one of them is
not needed any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import Any

import h2.events
import h2.exceptions
import h11
import hypercorn.asyncio.run
import hypercorn.asyncio.tcp_server
import hypercorn.protocol
import hypercorn.protocol.h2
from h2.errors import ErrorCodes
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config
from hypercorn.events import Closed, Updated
from hypercorn.protocol.events import Body, EndBody, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import BufferCompleteError, H2Protocol, StreamBuffer
from hypercorn.protocol.h11 import H11Protocol
from priority.priority import MissingStreamError

_MOST_PARTS = 2
_MOST_UNSENT = 4096
"""Bytes of an answer on HTTP/2 with which its sender waits; they cannot be replaced by newer ones."""

_RESERVE = 256
_CONNECTION_WINDOW = 1 << 20
"""Bytes of all requests on an HTTP/2 connection that a caller may send before they are read. A single request
may have 64 KiB, so that one that waits for its turn does not hold the others back."""


class Connection(TCPServer):
    """A connection that keeps little unsent data, and is closed at once if there are too many."""

    open = 0
    most = 1000

    async def run(self) -> None:
        """See `TCPServer`."""
        # What lies here cannot be replaced by a newer preview any more.
        self.writer.transport.set_write_buffer_limits(high=1, low=0)
        if Connection.open >= Connection.most:
            self.writer.transport.abort()
            return
        Connection.open += 1
        try:
            await super().run()
        finally:
            Connection.open -= 1


class Gone(ConnectionError):
    """The caller of a request that is being answered has left."""


class Parts:
    """The parts of a request on their way to the application.

    Hypercorn's own queue keeps the connection waiting for ever when the application does not read on.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._room = asyncio.Event()
        self._ended = False
        self.gone = False

    async def put(self, message: Any) -> None:
        """Adds a part, and waits until few are unread. After the end of the application it is dropped."""
        if message["type"] == "http.disconnect":
            self.gone = True
            self._queue.put_nowait(message)
            self.end()
        if self._ended:
            return
        self._queue.put_nowait(message)
        while self._queue.qsize() >= _MOST_PARTS and not self._ended:
            self._room.clear()
            await self._room.wait()

    async def get(self) -> Any:
        """Waits for the next part."""
        message = await self._queue.get()
        self._room.set()
        return message

    def end(self) -> None:
        """Lets no one wait any more."""
        self._ended = True
        self._room.set()


class Tasks(TaskGroup):
    """The tasks of a connection. Applications are told when they answer somebody who has left."""

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Any:
        """See `TaskGroup`."""
        parts = Parts()

        async def send_if_there(message: Any) -> None:
            if parts.gone:
                raise Gone
            await send(message)

        async def run() -> None:
            try:
                await app(scope, parts.get, send_if_there, None, None)
            except Gone:
                pass
            except Exception:
                await config.log.exception("Error in ASGI Framework")
            finally:
                parts.end()
                await send(None)

        self.spawn(run)
        return parts.put


class Http1(H11Protocol):
    """HTTP/1.1 that does not become another protocol, and has one way to tell where a request ends."""

    async def _check_protocol(self, event: h11.Request) -> None:
        if not _has(event, b"upgrade"):
            await super()._check_protocol(event)

    async def _create_stream(self, request: h11.Request) -> None:
        if _has(request, b"content-length") and _has(request, b"transfer-encoding"):
            # A proxy may go by the other.
            await self._send_error_response(400)
            await self.send(Closed())
            return
        # An upgrade would pass by the rules of a proxy in front. It is ignored, as HTTP allows.
        headers = [(key, value) for key, value in request.headers if key != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=headers,
                http_version=request.http_version,
            )
        )


def _has(request: h11.Request, name: bytes) -> bool:
    return any(key == name for key, _ in request.headers)


class BoundedBuffer(StreamBuffer):
    """The unsent data of an HTTP/2 stream.

    Hypercorn's own lets the sender go on when the caller's window is used up, and grows without a limit.
    """

    async def push(self, data: bytes) -> None:
        """Adds data, and waits until there is room for more."""
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= _MOST_UNSENT:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        """Takes data to send, and lets the sender go on when there is room."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < _MOST_UNSENT:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class Http2(H2Protocol):
    """HTTP/2 on which a request that is not read, or not read any more, does not disturb the others."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._unread: dict[int, asyncio.Queue[h2.events.Event]] = {}

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """See `H2Protocol`."""
        await super().initiate(headers, settings)
        self.connection.increment_flow_control_window(_CONNECTION_WINDOW - 65535)
        await self._flush()
        # Otherwise a connection without TLS may wait for its first request for ever.
        await self.send(Updated(idle=True))

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.DataReceived | h2.events.StreamEnded):
                self._later(event)
            else:
                await super()._handle_events([event])
        await self._flush()

    def _later(self, event: Any) -> None:
        """Hands a part of a request to its application without waiting for it."""
        queue = self._unread.get(event.stream_id)
        if queue is None:
            queue = self._unread[event.stream_id] = asyncio.Queue()
            self.task_group.spawn(self._hand_over, event.stream_id, queue)
        queue.put_nowait(event)

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        start = dict(request.headers or ())
        if start.get(b":method", b"").upper() == b"CONNECT" or not start.get(b":path", b"").isascii():
            self.connection.reset_stream(request.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        await super()._create_stream(request)

    async def _hand_over(self, stream_id: int, queue: asyncio.Queue[Any]) -> None:
        while await self._hand_over_next(stream_id, queue):
            pass
        del self._unread[stream_id]
        # What is not read counts as read, or the other requests would soon have no room.
        while not queue.empty():
            self._acknowledge(queue.get_nowait())
        await self._flush()

    async def _hand_over_next(self, stream_id: int, queue: asyncio.Queue[Any]) -> bool:
        """Returns whether more of the request shall be handed over."""
        event = await queue.get()
        stream = self.streams.get(stream_id)
        if isinstance(event, h2.events.StreamEnded):
            if stream is not None:
                await stream.handle(EndBody(stream_id=stream_id))
            return False
        if stream is not None:
            await stream.handle(Body(stream_id=stream_id, data=event.data))
        # Only now may the caller send more.
        self._acknowledge(event)
        await self._flush()
        return stream is not None and not stream.closed

    def _acknowledge(self, event: Any) -> None:
        if isinstance(event, h2.events.DataReceived):
            # The connection can have been closed meanwhile.
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    async def stream_send(self, event: StreamEvent) -> None:
        """See `H2Protocol`. An answer that ends too early is an error for the caller."""
        await super().stream_send(event)
        if isinstance(event, StreamClosed):
            buffer = self.stream_buffers.get(event.stream_id)
            if buffer is not None and not buffer._complete:
                await buffer.close()
                await self._reset(event.stream_id, ErrorCodes.INTERNAL_ERROR)
                with contextlib.suppress(MissingStreamError):
                    self.priority.unblock(event.stream_id)
                await self.has_data.set()

    async def _send_data(self, stream_id: int) -> None:
        # The caller can leave meanwhile.
        with contextlib.suppress(KeyError):
            await super()._send_data(stream_id)
        if stream_id not in self.stream_buffers:
            # The answer is complete: a caller that still sends its request may stop. Not before its last
            # byte was sent, which the caller would drop.
            await self._reset(stream_id, ErrorCodes.NO_ERROR)

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        stream = self.connection.streams.get(stream_id)
        if stream is None or stream.closed:
            # Hypercorn keeps what it has of an abandoned request until the connection ends.
            buffer = self.stream_buffers.pop(stream_id, None)
            if buffer is not None:
                await buffer.close()
                with contextlib.suppress(MissingStreamError):
                    self.priority.remove_stream(stream_id)

    async def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        stream = self.connection.streams.get(stream_id)
        if stream is not None and not stream.closed:
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self.connection.reset_stream(stream_id, code)
            await self._flush()


def install() -> None:
    """Has Hypercorn use these classes, and as many connections as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    Connection.most = descriptors - min(_RESERVE, descriptors // 2)
    for module, name, stand_in in (
        (hypercorn.asyncio.run, "TCPServer", Connection),
        (hypercorn.asyncio.tcp_server, "TaskGroup", Tasks),
        (hypercorn.protocol, "H11Protocol", Http1),
        (hypercorn.protocol, "H2Protocol", Http2),
        (hypercorn.protocol.h2, "StreamBuffer", BoundedBuffer),
    ):
        # A newer version may have renamed it.
        assert hasattr(module, name)
        setattr(module, name, stand_in)
