"""Idle connections: the server closes them, and the caller does not notice."""

from __future__ import annotations

import time
from concurrent import futures
from typing import Any, Literal

import grpc
import pytest

import impasto
from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc as pb_grpc
from support.server_process import until


class Listener(pb_grpc.StyleTransferServicer):
    """Records the connections of its callers."""

    def __init__(self) -> None:
        self.peers: list[str] = []

    def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Any) -> pb.GetServerInfoResponse:
        self.peers.append(context.peer())
        return pb.GetServerInfoResponse(version="1")


@pytest.mark.parametrize("transport", ["grpcio", "grpclib"])
def test_a_call_on_an_idle_connection_succeeds(transport: Literal["grpcio", "grpclib"]) -> None:
    listener = Listener()
    options = [("grpc.max_connection_idle_ms", 100)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
    pb_grpc.add_StyleTransferServicer_to_server(listener, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with impasto.Client(f"127.0.0.1:{port}", transport=transport) as client:

            def connections() -> int:
                client.info()
                # Longer than the server keeps an idle connection.
                time.sleep(0.3)
                return len(set(listener.peers))

            until(connections, lambda number: number >= 3)
    finally:
        server.stop(None).wait()
