"""A fleet without workers, for tests of what an administrator sees; and the server of its administrator."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc.aio

from impasto_server.fleet.machines import DeviceLoad, Machine
from impasto_server.gateway.admin import Admin, AdminServer
from impasto_server.v1 import admin_pb2_grpc
from support.server_process import PATIENCE


def device(name: str, **changes: object) -> DeviceLoad:
    """A ready device with two jobs."""
    load = DeviceLoad(
        key=name,
        name=name,
        state="ready",
        jobs=2,
        places=8,
        memory_bytes=70 << 30,
        restarts=0,
        description="a test",
    )
    return dataclasses.replace(load, **changes)  # type: ignore[arg-type]


def machine(name: str, *devices: DeviceLoad, **changes: object) -> Machine:
    """A ready machine."""
    made = Machine(name=name, address="10.0.0.1", state="ready", devices=devices, resources={"GPU": 1.0})
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


class FakeFleet:
    """Two machines with one device each, and a third that joins.

    Attributes:
        by_name: the machines.
        broken: whether every question fails.
    """

    def __init__(self) -> None:
        self.by_name = {
            "render1": machine("render1", device("render1/cuda:0")),
            "render2": machine("render2", device("render2/cuda:0", restarts=1), address="10.0.0.2"),
            "render3": machine("render3", address="10.0.0.3", state="joining"),
        }
        self.broken = False

    async def machines(self) -> list[Machine]:
        if self.broken:
            raise OSError("no contact to the head")
        return list(self.by_name.values())

    trouble = "the Ray cluster head:6379 cannot be reached (no answer)"

    def wanted_workers(self) -> tuple[int, int, int]:
        return 2, 3, 0

    def drain(self, machine: str) -> None:
        self._change(machine, "draining", "leaving")

    def undrain(self, machine: str) -> None:
        self._change(machine, "ready", "ready")

    def remove_jobs(self, name: str) -> None:
        """Makes a machine drained."""
        self._change(name, "drained", "leaving", jobs=0)

    def _change(self, name: str, state: str, device_state: str, **changes: object) -> None:
        if name not in self.by_name:
            raise KeyError(list(self.by_name))
        found = self.by_name[name]
        devices = [dataclasses.replace(d, state=device_state, **changes) for d in found.devices]  # type: ignore[arg-type]
        self.by_name[name] = dataclasses.replace(found, state=state, devices=devices)


@contextlib.contextmanager
def serving(fleet: FakeFleet, data: Path) -> Iterator[None]:
    """Serves the administrator of a fleet in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> AdminServer:
        answering = grpc.aio.server()
        admin_pb2_grpc.add_AdminServiceServicer_to_server(Admin(fleet, lambda: 5), answering)
        server = AdminServer(answering, data)
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
