"""A caller that uses HTTP/2 as no gRPC library does, for tests of what a server withstands."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

PATIENCE = 20.0
Headers = list[tuple[bytes, bytes]]


def framed(message: bytes, *, claimed: int | None = None, compressed: bool = False) -> bytes:
    """A message with gRPC's prefix, which gives the length `claimed` instead of the real one."""
    return struct.pack(">BI", compressed, len(message) if claimed is None else claimed) + message


class Caller:
    """A connection.

    Attributes:
        events: HTTP/2 events from the server.
        closed: whether the server has closed the connection.
    """

    def __init__(self, address: str, *, window: int = 65535) -> None:
        """
        Args:
            address: HOST:PORT.
            window: bytes that the server may send before this caller acknowledges any.
        """
        host, _, port = address.rpartition(":")
        self.events: list[h2.events.Event] = []
        self.closed = False
        self._socket = socket.create_connection((host, int(port)))
        # A small buffer for unread data, so that the server is blocked soon.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._http = h2.connection.H2Connection(config)
        self._http.initiate_connection()
        if window > 65535:
            self._http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
            self._http.increment_flow_control_window(window - 65535)
        self._flush()
        self.listen(lambda: any(isinstance(e, h2.events.RemoteSettingsChanged) for e in self.events))

    def open(
        self,
        path: bytes,
        headers: Headers | None = None,
        *,
        type: bytes = b"application/grpc",
        authority: bytes = b"x",
    ) -> int:
        """Begins a call. Returns the number of its stream."""
        stream = int(self._http.get_next_available_stream_id())
        start = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", authority)]
        rest = [(b"te", b"trailers"), (b"content-type", type)]
        self._http.send_headers(stream, [*start, *rest, *(headers or [])])
        self._flush()
        return stream

    def send(self, stream: int, data: bytes, *, patience: float = PATIENCE, end: bool = False) -> int:
        """Sends as much of the data as the server accepts. Returns the number of bytes sent."""
        sent = 0
        with contextlib.suppress(h2.exceptions.StreamClosedError, OSError):
            while sent < len(data):
                room = min(
                    self._http.local_flow_control_window(stream), self._http.max_outbound_frame_size, 1 << 20
                )
                if room <= 0:
                    self.listen(lambda: self._http.local_flow_control_window(stream) > 0, patience)
                    if self.closed or self._http.local_flow_control_window(stream) <= 0:
                        return sent
                    continue
                piece = data[sent : sent + room]
                self._http.send_data(stream, piece)
                self._flush()
                sent += len(piece)
            if end:
                self._http.end_stream(stream)
                self._flush()
        return sent

    @property
    def room(self) -> int:
        """Bytes that the caller may send now, of all calls together."""
        return int(self._http.outbound_flow_control_window)

    def reset(self, stream: int) -> None:
        """Abandons a call."""
        self._http.reset_stream(stream)
        self._flush()

    def listen(self, is_so, patience: float = PATIENCE) -> bool:  # type: ignore[no-untyped-def]
        """Receives data until a condition is true. Returns whether it became true in time."""
        deadline = time.monotonic() + patience
        while not is_so():
            left = deadline - time.monotonic()
            if left <= 0 or self.closed:
                return False
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                return False
            except OSError:
                data = b""
            if not data:
                self.closed = True
                continue
            try:
                self.events += self._http.receive_data(data)
            except h2.exceptions.ProtocolError:
                # The server has closed the connection, and more data was in transit.
                self.closed = True
            with contextlib.suppress(OSError):
                self._flush()
        return True

    def status(self, stream: int, patience: float = PATIENCE) -> str | None:
        """The `grpc-status` that a call ends with; None if it does not end."""
        self.listen(lambda: self._headers(stream, b"grpc-status") is not None, patience)
        found = self._headers(stream, b"grpc-status")
        return None if found is None else found.decode()

    def close(self) -> None:
        self._socket.close()

    def _headers(self, stream: int, name: bytes) -> bytes | None:
        kinds = (h2.events.ResponseReceived, h2.events.TrailersReceived)
        for event in self.events:
            if isinstance(event, kinds) and event.stream_id == stream:
                for key, value in event.headers or ():
                    if bytes(key) == name:
                        return bytes(value)
        return None

    def _flush(self) -> None:
        data = self._http.data_to_send()
        if data:
            self._socket.settimeout(PATIENCE)
            self._socket.sendall(data)


@contextlib.contextmanager
def calling(address: str, **options: int) -> Iterator[Caller]:
    """A connection that is open until the block ends."""
    caller = Caller(address, **options)
    try:
        yield caller
    finally:
        caller.close()
