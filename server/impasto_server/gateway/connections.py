"""How many connections and streams there may be, and how long one that says nothing is kept."""

from __future__ import annotations

import contextlib
import resource

import grpc

from impasto_server.gateway.reading import MAX_REQUEST_BYTES

STREAMS_OF_CONNECTION = 200
"""Calls at a time on one connection; a client's further ones wait there."""

_MAX_DESCRIPTORS = 1 << 20
_RESERVE = 512


def raise_descriptor_limit() -> int:
    """Lets this process have as many open files and connections as it may, and returns how many those are.

    Many systems start a process with a limit of 1,024 that it may raise itself.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= most:
        return min(most, _MAX_DESCRIPTORS)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def server_options(descriptors: int) -> list[tuple[str, int]]:
    """The options of the gRPC server.

    Args:
        descriptors: what the process may have. Connections leave so many of them that the store can always
            open its files.
    """
    return [
        # With it, a second server on the same port is not refused but gets a random half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_send_message_length", 1024 * 1024),
        # Pictures are compressed as they are. 60 KB that unpack to the largest message take a second of the
        # process, for whatever call they are sent.
        ("grpc.compression_enabled_algorithms_bitset", 1 << grpc.Compression.NoCompression.value),
        ("grpc.max_concurrent_streams", STREAMS_OF_CONNECTION),
        # Finds callers that vanished without a word, and bears with those who look after us as often.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # gRPC cannot count the connections of one peer. Beyond this number it closes new ones at once, so
        # that those inside go on.
        ("grpc.max_allowed_incoming_connections", descriptors - min(_RESERVE, descriptors // 2)),
        # One that does not speak HTTP/2 by then is closed, and one that makes no call for so long. A client
        # connects again by itself when it has something to say.
        ("grpc.server_handshake_timeout_ms", 5_000),
        ("grpc.max_connection_idle_ms", 300_000),
        # How much of a request that nobody reads yet is taken in.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 256 * 1024),
    ]
