"""The connections to the gateway, and calls on them whose messages stay bytes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

import grpc
import grpc.aio

Metadata = Sequence[tuple[str, str]]

_Unary = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
_Collected = grpc.aio.StreamUnaryMultiCallable[bytes, bytes]
_Streamed = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]

_CALLS_OF_CHANNEL = 100
"""The gateway lets 200 calls at a time onto a connection; more would wait there without a word."""

_OPTIONS = [
    # A connection of its own for each channel.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # What the gateway may send ahead of a slow browser, which would see old previews: 64 KiB are 20 seconds
    # at 10 KB/s. The window does not grow, except for a message that is larger.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4096),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class Upstream:
    """Calls to the gateway. Errors are `grpc.aio.AioRpcError`, as the gateway sent them."""

    def __init__(self, address: str) -> None:
        """
        Args:
            address: of the gateway, such as "unix:/run/gateway".
        """
        self._address = address
        self._open: dict[grpc.aio.Channel, int] = {}

    async def unary(self, path: str, request: bytes, metadata: Metadata, seconds: float | None) -> bytes:
        """Makes a call with one request and one answer.

        Args:
            path: "/package.Service/Method".
            request: the serialized message.
            metadata: of the call.
            seconds: its deadline; None for the gateway's own.
        """
        with self._channel() as channel:
            call: _Unary = channel.unary_unary(path)
            return await call(request, metadata=metadata, timeout=seconds)

    async def collected(
        self, path: str, requests: AsyncIterator[bytes], metadata: Metadata, seconds: float | None
    ) -> bytes:
        """Makes a call with many requests and one answer; see `unary`."""
        with self._channel() as channel:
            call: _Collected = channel.stream_unary(path)
            return await call(requests, metadata=metadata, timeout=seconds)

    async def streamed(
        self, path: str, request: bytes, metadata: Metadata, seconds: float | None
    ) -> AsyncGenerator[bytes, None]:
        """Makes a call with one request and many answers; see `unary`. The generator must be closed.

        The next answer is read when it is asked for: a slow reader holds the gateway's sending back.
        """
        with self._channel() as channel:
            make: _Streamed = channel.unary_stream(path)
            call = make(request, metadata=metadata, timeout=seconds)
            del request
            try:
                async for answer in call:
                    yield answer
            finally:
                call.cancel()

    async def close(self) -> None:
        """Closes all connections."""
        for channel in list(self._open):
            await channel.close()

    @contextlib.contextmanager
    def _channel(self) -> Iterator[grpc.aio.Channel]:
        free = [channel for channel, calls in self._open.items() if calls < _CALLS_OF_CHANNEL]
        channel = free[0] if free else grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        self._open[channel] = self._open.get(channel, 0) + 1
        try:
            yield channel
        finally:
            self._open[channel] -= 1
