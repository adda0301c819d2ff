"""The gateway's process: listens, and ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from impasto.v1 import style_transfer_pb2, style_transfer_pb2_grpc
from impasto_server.fleet.fleet import Fleet
from impasto_server.fleet.worker_process import ConfigurationError
from impasto_server.gateway.images import limit_pillow
from impasto_server.gateway.service import MAX_REQUEST_BYTES, StyleTransfer

_log = logging.getLogger(__name__)

SERVICE = style_transfer_pb2.DESCRIPTOR.services_by_name["StyleTransfer"].full_name

_GRACE_SECONDS = 2.0

_OPTIONS = [
    # With it, a second server on the same port is not refused but gets a random half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", 1024 * 1024),
    # Finds callers that vanished without a word, and bears with those who look after us as often.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a server is run.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        devices: as `Fleet` takes them.
        worker_arguments: as `Fleet` takes them.
        insecure: listen on an address that others can reach, though nothing is encrypted.
        ends_with_stdin: end when stdin is closed.
        max_jobs: jobs accepted and not finished.
    """

    host: str
    port: int
    devices: Sequence[str]
    worker_arguments: Sequence[str]
    insecure: bool
    ends_with_stdin: bool
    max_jobs: int


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM, SIGINT or, if so set, the end of stdin; prints its address on stdout as JSON.

    Raises:
        ConfigurationError: it cannot be run like this.
    """
    if not settings.insecure and not await _is_loopback(settings.host):
        raise ConfigurationError(
            f"{settings.host} can be reached from other machines, and the calls are not encrypted; "
            "listen on 127.0.0.1, or add --insecure if the network is trusted"
        )
    limit_pillow()
    async with Fleet(settings.devices, settings.worker_arguments) as fleet:
        server = grpc.aio.server(options=_OPTIONS)
        service = StyleTransfer(fleet, max_jobs=settings.max_jobs)
        style_transfer_pb2_grpc.add_StyleTransferServicer_to_server(service, server)
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        await _tell_health(servicer, serving=False)

        address = _listen(server, settings.host, settings.port)
        stop = _stop_event(fleet)
        if settings.ends_with_stdin:
            _on_stdin_end(stop.set)
        await server.start()
        print(json.dumps({"address": address}), flush=True)
        _log.info("listening address=%s", address)

        health_updates = asyncio.create_task(_follow_fleet(servicer, fleet))
        fleet.failed.add_done_callback(lambda _: stop.set())
        try:
            await stop.wait()
            if fleet.failed.done():
                fleet.failed.result()
        finally:
            _log.info("shutting down")
            health_updates.cancel()
            await servicer.enter_graceful_shutdown()
            service.shut_down()
            await server.stop(_GRACE_SECONDS)
    _log.info("ended")


def _listen(server: grpc.aio.Server, host: str, port: int) -> str:
    authority = f"[{host}]" if ":" in host else host
    try:
        bound = server.add_insecure_port(f"{authority}:{port}")
    except RuntimeError as error:
        raise ConfigurationError(
            f"cannot listen on {authority}:{port} ({error}); is another server running there?"
        ) from error
    return f"{authority}:{bound}"


async def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host's addresses."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except socket.gaierror as error:
        raise ConfigurationError(f"there is no host {host} ({error.strerror}); give an address") from error
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def _stop_event(fleet: Fleet) -> asyncio.Event:
    """Set by SIGTERM or SIGINT; a second signal ends the process at once."""
    stop = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            fleet.kill()
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    return stop


def _on_stdin_end(callback: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def wait() -> None:
        # Not sys.stdin: a thread blocked in it would hold its lock when the interpreter ends.
        with contextlib.suppress(OSError):
            while os.read(sys.stdin.fileno(), 4096):
                pass
        loop.call_soon_threadsafe(callback)

    threading.Thread(target=wait, name="stdin", daemon=True).start()


async def _follow_fleet(servicer: health.aio.HealthServicer, fleet: Fleet) -> None:
    async for ready in fleet.readiness():
        await _tell_health(servicer, serving=ready)


async def _tell_health(servicer: health.aio.HealthServicer, *, serving: bool) -> None:
    status = health_pb2.HealthCheckResponse
    for name in ("", SERVICE):
        await servicer.set(name, status.SERVING if serving else status.NOT_SERVING)
