"""The gateway's process: starts the server, and shuts it down in good order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from impasto.v1 import admin_pb2, admin_pb2_grpc, style_transfer_pb2, style_transfer_pb2_grpc
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import shutting_down
from impasto_server.fleet.fleet import Fleet
from impasto_server.fleet.intake import IntakeProcess
from impasto_server.fleet.local import LocalFleet
from impasto_server.fleet.on_ray.fleet import RayFleet
from impasto_server.fleet.placer import Placer
from impasto_server.fleet.program import WORKER_MODULE
from impasto_server.fleet.worker_process import ConfigurationError
from impasto_server.gateway.access import Access
from impasto_server.gateway.admin import Admin, AdminServer
from impasto_server.gateway.administration import Administration
from impasto_server.gateway.connections import raise_descriptor_limit, server_options
from impasto_server.gateway.hardware import check_devices
from impasto_server.gateway.housekeeping import keep_sweeping
from impasto_server.gateway.links import Links
from impasto_server.gateway.listening import check_protection, listen
from impasto_server.gateway.memory import give_memory_back
from impasto_server.gateway.method_names import tolerate_broken_names
from impasto_server.gateway.metrics import Metrics
from impasto_server.gateway.page import FrontEnd
from impasto_server.gateway.server_status import StatusTaker
from impasto_server.gateway.service import StyleTransfer
from impasto_server.gateway.settings import Settings
from impasto_server.gateway.styles import StyleLibrary
from impasto_server.gateway.users import watch_users
from impasto_server.jobs.registry import Registry
from impasto_server.store.blobs import make_folder
from impasto_server.store.errors import StoreError
from impasto_server.store.facade import AsyncStore
from impasto_server.store.store import Store
from impasto_server.temporary import TemporaryFolder
from impasto_server.v1 import admin_pb2_grpc as own_admin_pb2_grpc

_log = logging.getLogger(__name__)

MOCK_MODULE = "impasto_server.mock"
MOCK_MARK = "mock-server"
"""File in the data folder of a mock. A real server must not continue the jobs there."""

SERVICE = style_transfer_pb2.DESCRIPTOR.services_by_name["StyleTransfer"].full_name

ADMIN_SERVICE = admin_pb2.DESCRIPTOR.services_by_name["Admin"].full_name

# Together with the 25 seconds of a drain, 2 seconds each for stopped jobs and their last changes, and the end
# of the workers, this is less than 30 seconds.
_GRACE_SECONDS = 1.0


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM, SIGINT or, if private, the end of stdin. Prints its address to stdout as JSON.

    Raises:
        ConfigurationError: the server cannot run with these settings.
    """
    if not settings.mock and settings.ray is None:
        check_devices(settings.devices)
    tolerate_broken_names()
    give_memory_back()
    metrics = Metrics()
    links = Links()
    access = Access(settings, metrics, links)
    await check_protection(settings, uses_tokens=access.uses_tokens)
    with _store(settings) as store, _metrics_port(settings, metrics):
        fleet = _fleet(settings)
        intake = IntakeProcess(log_level=settings.log_level, log_format=settings.log_format)
        if not settings.keeps_nothing:
            links.keep_key(settings.data_folder)
        async with intake, fleet, _front_end(settings, access) as front_end:
            await _serve(settings, store, fleet, intake, access, metrics, links, front_end)
    _log.info("ended")


async def _serve(
    settings: Settings,
    store: Store,
    fleet: Fleet,
    intake: IntakeProcess,
    access: Access,
    metrics: Metrics,
    links: Links,
    front_end: FrontEnd | None,
) -> None:
    server = grpc.aio.server(interceptors=[access], options=server_options(raise_descriptor_limit()))
    registry = Registry(
        AsyncStore(store),
        metrics,
        max_jobs=settings.max_jobs,
        max_jobs_of_tenant=settings.max_jobs_per_tenant,
    )
    placer = Placer(
        fleet,
        registry,
        intake,
        metrics,
        weight_of=access.weight,
        max_resident=settings.max_resident,
        checkpoint_interval=settings.checkpoint_interval,
    )
    metrics.job_states(registry.in_state, ("queued", "running", "paused"))
    metrics.worker_restarts(lambda: fleet.restarts)
    metrics.fleet(fleet)
    status = StatusTaker(fleet, placer, registry, access, metrics.activity)
    styles = StyleLibrary(settings.styles_dir, intake)
    service = StyleTransfer(
        settings,
        fleet,
        registry,
        access,
        metrics,
        styles,
        intake,
        placer,
        links,
        lambda: _page(settings, front_end),
    )
    style_transfer_pb2_grpc.add_StyleTransferServicer_to_server(service, server)
    administration = Administration(
        status,
        registry,
        keep_results_for=settings.keep_results_for,
        caller=lambda: access.tenant().name,
    )
    admin_pb2_grpc.add_AdminServicer_to_server(administration, server)
    admin = AdminServer(
        _admin_server(settings, fleet, registry, status, metrics, links), settings.data_folder
    )
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    services = (SERVICE, ADMIN_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(services, server)
    await _tell_health(servicer, serving=False)

    told = {} if not settings.grpc else {"address": listen(server, settings)}
    if front_end is not None:
        told["web"] = front_end.url
        server.add_insecure_port(front_end.gateway)
    stop = _stop_event(fleet)
    if settings.private:
        _on_stdin_end(stop.set)
    watching = (
        None if settings.users_dir is None else asyncio.create_task(watch_users(settings.users_dir, stop.set))
    )
    await registry.take_up()
    placer.start()
    sweeping = asyncio.create_task(
        keep_sweeping(registry.store, max_age=settings.keep_results_for, max_bytes=settings.keep_bytes)
    )
    await server.start()
    if not settings.keeps_nothing:
        await admin.start()
    if front_end is not None:
        front_end.start()
    print(json.dumps(told), flush=True)
    _log.info("listening %s", " ".join(f"{key}={value}" for key, value in told.items()))
    tell_systemd("READY=1")

    health_updates = asyncio.create_task(_follow_fleet(servicer, fleet))
    fleet.failed.add_done_callback(lambda _: stop.set())
    try:
        await stop.wait()
        if fleet.failed.done():
            fleet.failed.result()
    finally:
        _log.info("shutting down")
        tell_systemd("STOPPING=1")
        health_updates.cancel()
        sweeping.cancel()
        if watching is not None:
            watching.cancel()
        await admin.stop()
        await servicer.enter_graceful_shutdown()
        registry.begin_drain()
        await placer.drain(settings.drain)
        # From here on there are no new calls. gRPC would end the open ones without saying what to do.
        stopping = asyncio.create_task(server.stop(2 * _GRACE_SECONDS + 0.5))
        await access.end_calls(shutting_down(), grace=_GRACE_SECONDS)
        await stopping
        await registry.end()


def _page(settings: Settings, front_end: FrontEnd | None) -> pb.WebPage | None:
    """Returns the server's page; None if it has none."""
    return None if front_end is None else pb.WebPage(port=front_end.port, url=settings.web_url or "")


def _admin_server(
    settings: Settings, fleet: Fleet, registry: Registry, status: StatusTaker, metrics: Metrics, links: Links
) -> grpc.aio.Server:
    """Makes the server for the administrator's commands on this machine, who needs no token."""
    server = grpc.aio.server(interceptors=[Access(settings, metrics, links, trusting=True)])
    machines = Admin(fleet, lambda: sum(job.waiting for job in registry))
    own_admin_pb2_grpc.add_AdminServiceServicer_to_server(machines, server)
    administration = Administration(
        status, registry, keep_results_for=settings.keep_results_for, caller=lambda: "on this machine"
    )
    admin_pb2_grpc.add_AdminServicer_to_server(administration, server)
    return server


@contextlib.contextmanager
def _store(settings: Settings) -> Iterator[Store]:
    """Opens the store in the data folder; a server that keeps nothing has a temporary data folder."""
    temporary = TemporaryFolder("impasto-data-") if settings.keeps_nothing else None
    folder = settings.data_folder if temporary is None else temporary.path
    try:
        try:
            make_folder(folder)
        except StoreError as error:
            cause = error.__cause__
            reason = cause.strerror if isinstance(cause, OSError) else str(error)
            raise ConfigurationError(
                f"the data folder {folder} cannot be made ({reason}); give another one with --data-dir"
            ) from error
        if temporary is None:
            _check_mark(folder, mock=settings.mock)
        try:
            store = Store(folder, quota_bytes=settings.max_stored_bytes_per_tenant or None)
        except StoreError as error:
            raise ConfigurationError(str(error)) from error
        try:
            yield store
        finally:
            store.close()
    finally:
        if temporary is not None:
            temporary.remove()


def _check_mark(folder: Path, *, mock: bool) -> None:
    """Keeps mock servers and real ones out of each other's data folders.

    Raises:
        ConfigurationError: the folder belongs to a server of the other kind.
    """
    mark = folder / MOCK_MARK
    if mock and not mark.exists():
        if any(not file.name.startswith("tokens.json") for file in folder.iterdir()):
            raise ConfigurationError(
                f"--data-dir {folder} has files, and not those of a mock server; give --mock another folder"
            )
        mark.touch()
    elif not mock and mark.exists():
        raise ConfigurationError(
            f"the data folder {folder} belongs to a mock server; give another one with --data-dir"
        )


@contextlib.asynccontextmanager
async def _front_end(settings: Settings, access: Access) -> AsyncIterator[FrontEnd | None]:
    """Opens the sockets of the front end, if the settings ask for one, and ends its process at the end."""
    if settings.web_port is None:
        if not settings.grpc:
            raise ConfigurationError("--no-grpc needs --web-port, or nobody could call; give a port")
        yield None
        return
    front_end = FrontEnd(settings, uses_tokens=access.uses_tokens)
    try:
        yield front_end
    finally:
        await front_end.stop()


@contextlib.contextmanager
def _metrics_port(settings: Settings, metrics: Metrics) -> Iterator[None]:
    if settings.metrics_port is None:
        yield
        return
    port, end = metrics.serve(settings.metrics_host, settings.metrics_port)
    _log.info("metrics address=%s:%d", settings.metrics_host, port)
    try:
        yield
    finally:
        end()


def _fleet(settings: Settings) -> Fleet:
    """Makes the fleet that the settings describe.

    Raises:
        ConfigurationError: the settings do not fit together.
    """
    arguments = _worker_arguments(settings)
    module = MOCK_MODULE if settings.mock else WORKER_MODULE
    if settings.ray is None:
        devices = ["auto"] if settings.mock else settings.devices
        return LocalFleet(
            devices,
            [*arguments, "--cpu-share", str(max(1, devices.count("cpu")))],
            max_resident=settings.max_resident,
            worker_timeout=settings.worker_timeout,
            turn_timeout=settings.turn_timeout,
            worker_module=module,
        )
    return RayFleet(
        settings.ray,
        settings.devices,
        arguments,
        ask=settings.ray_worker,
        min_workers=settings.ray_min_workers,
        max_workers=settings.ray_max_workers,
        idle_seconds=settings.ray_idle,
        folder=None if settings.keeps_nothing else settings.data_folder / "ray",
        max_resident=settings.max_resident,
        worker_timeout=settings.worker_timeout,
        turn_timeout=settings.turn_timeout,
        worker_module=module,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


def _worker_arguments(settings: Settings) -> list[str]:
    arguments = ["--log-level", settings.log_level, "--log-format", settings.log_format]
    arguments += [] if settings.memory is None else ["--memory", str(max(1, settings.memory >> 20))]
    arguments += [] if settings.weights is None else ["--weights", settings.weights]
    arguments += [] if settings.private or settings.users_dir is not None else ["--download"]
    arguments += ["--evaluation-time", str(settings.mock_evaluation_time)] if settings.mock else []
    return arguments


def tell_systemd(state: str) -> None:
    """Notifies systemd of the server's state, if it runs the server (sd_notify)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def _stop_event(fleet: Fleet) -> asyncio.Event:
    """Returns an event that SIGTERM and SIGINT set. A second signal ends the process at once."""
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
        # Not sys.stdin: a thread that waits in it would keep its lock when the interpreter ends.
        with contextlib.suppress(OSError):
            while os.read(sys.stdin.fileno(), 4096):
                pass
        loop.call_soon_threadsafe(callback)

    threading.Thread(target=wait, name="stdin", daemon=True).start()


async def _follow_fleet(servicer: health.aio.HealthServicer, fleet: Fleet) -> None:
    while True:
        try:
            async for ready in fleet.readiness():
                await _tell_health(servicer, serving=ready)
        except Exception:
            # An error that ended this loop would leave the health status as it is for ever.
            _log.exception("health status cannot be set")
            await asyncio.sleep(1)


async def _tell_health(servicer: health.aio.HealthServicer, *, serving: bool) -> None:
    status = health_pb2.HealthCheckResponse
    for name in ("", SERVICE):
        await servicer.set(name, status.SERVING if serving else status.NOT_SERVING)
