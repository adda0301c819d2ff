"""Limits for connections and streams, and for how long a silent connection is kept."""

from __future__ import annotations

import contextlib
import resource

import grpc

from impasto_server.gateway.reading import MAX_REQUEST_BYTES

STREAMS_OF_CONNECTION = 200
"""Maximum calls at the same time on one connection. gRPC clients hold further calls back."""

_MAX_DESCRIPTORS = 1 << 20
_RESERVE = 512


def raise_descriptor_limit() -> int:
    """Raises this process's limit of open files and connections as far as allowed, and returns it.

    Many systems start a process with a limit of 1,024 that the process itself can raise.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= most:
        return min(most, _MAX_DESCRIPTORS)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def server_options(descriptors: int) -> list[tuple[str, int]]:
    """Returns the options of the gRPC server.

    Args:
        descriptors: maximum open files of the process. Connections get all but a reserve, with which the
            store can always open its files.
    """
    return [
        # With this option, a second server on the same port would get a random half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_send_message_length", 1024 * 1024),
        # Picture files are compressed already. And 60 KB that decompress to the largest message take a second
        # of processor time, whichever call they are sent to.
        ("grpc.compression_enabled_algorithms_bitset", 1 << grpc.Compression.NoCompression.value),
        ("grpc.max_concurrent_streams", STREAMS_OF_CONNECTION),
        # Pings find callers that vanished without closing the connection; callers may ping us as often.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # gRPC cannot count the connections of one peer. Beyond this number it closes new connections at once,
        # so that existing ones go on.
        ("grpc.max_allowed_incoming_connections", descriptors - min(_RESERVE, descriptors // 2)),
        # Close a connection that does not speak HTTP/2 after 5 seconds, or makes no call for 5 minutes.
        # Clients connect again by themselves for their next call.
        ("grpc.server_handshake_timeout_ms", 5_000),
        ("grpc.max_connection_idle_ms", 300_000),
        # Limits how much of a request gRPC receives before it is read.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 256 * 1024),
    ]
