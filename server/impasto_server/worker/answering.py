"""How a worker answers its gateway's calls: over a Unix socket, or over TCP from another machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from impasto_server.identity import Identity
from impasto_server.v1 import worker_pb2_grpc

_log = logging.getLogger(__name__)

_OPTIONS: list[tuple[str, Any]] = [
    # Unlimited, because the gateway has checked the sizes.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A gateway whose machine or network fails says no goodbye: its runs end once a ping is not answered.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # The gateway may send such pings, too.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
]


async def answer(
    servicer: worker_pb2_grpc.WorkerServiceServicer,
    arguments: argparse.Namespace,
    begun: Callable[[], None] | None = None,
    work: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Answers calls until the process ends.

    Args:
        servicer: the calls.
        arguments: those of the process; see `argument_parser`.
        begun: called once calls are answered.
        work: done meanwhile; `answer` returns when it does. None to answer for ever.
    """
    use = _Use()
    server = grpc.aio.server(options=_OPTIONS, interceptors=[use])
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(servicer, server)
    if arguments.socket is not None:
        server.add_insecure_port(f"unix:{arguments.socket}")
        await server.start()
    else:
        identity = Identity.new()
        credentials = identity.server_credentials(arguments.gateway_certificate.read_bytes())
        host = f"[{arguments.listen}]" if ":" in arguments.listen else arguments.listen
        port = server.add_secure_port(f"{host}:0", credentials)
        await server.start()
        _write_contact(arguments.contact_file, f"{host}:{port}", identity.certificate)
    if begun is not None:
        begun()
    ending = None
    if arguments.end_when_unused is not None:
        ending = asyncio.create_task(use.end_process_when_unused(arguments.end_when_unused))
    try:
        await (server.wait_for_termination() if work is None else work())
    finally:
        if ending is not None:
            ending.cancel()


def _write_contact(file: Path, address: str, certificate: bytes) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"address": address, "certificate": certificate.decode()}), encoding="ascii")
    new.replace(file)


class _Use(grpc.aio.ServerInterceptor):
    """Notes when the last call came."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        self._last = time.monotonic()
        return await continuation(handler_call_details)

    async def end_process_when_unused(self, seconds: float) -> None:
        """Ends the process once no call has come for a time. A gateway that lives pings every second.

        Args:
            seconds: the time.
        """
        # Counted in small pauses, not by the clock: the gateway may have pinged a process that was stopped.
        pause = min(1.0, seconds / 4)
        unused, seen = 0.0, self._last
        while unused < seconds:
            await asyncio.sleep(pause)
            unused = 0.0 if self._last != seen else unused + pause
            seen = self._last
        _log.info("no gateway has called, the worker ends seconds=%.0f", seconds)
        os._exit(0)
