"""What the server answers to its administrator's commands, on a Unix socket of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import grpc
import grpc.aio

from impasto_server.fleet.fleet import Refused
from impasto_server.fleet.machines import Machine
from impasto_server.temporary import TemporaryFolder
from impasto_server.v1 import admin_pb2, admin_pb2_grpc

_log = logging.getLogger(__name__)

ADMIN_FILE = "admin.json"
"""File in the data folder that says where the running server listens for its administrator."""

_SOCKET = "admin.sock"
# sun_path has 108 bytes; the names of the temporary folder and of the socket need 40 of them.
_MAX_PARENT_PATH = 60
# gRPC reads addresses as URIs, in which these characters have a meaning.
_NOT_IN_ADDRESSES = "%?#"

_SHOWN_NAMES = 20

T = TypeVar("T")

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class Machines(Protocol):
    """The part of a fleet that an administrator sees and changes; see `Fleet`."""

    @property
    def trouble(self) -> str: ...

    async def machines(self) -> Sequence[Machine]: ...

    def wanted_workers(self) -> tuple[int, int, int]: ...

    def drain(self, machine: str) -> None: ...

    def undrain(self, machine: str) -> None: ...


class Admin(admin_pb2_grpc.AdminServiceServicer):
    """The service `impasto_server.v1.AdminService`."""

    def __init__(self, fleet: Machines, waiting_jobs: Callable[[], int]) -> None:
        """
        Args:
            fleet: the machines.
            waiting_jobs: counts the jobs that wait for a device.
        """
        self._fleet = fleet
        self._waiting_jobs = waiting_jobs

    async def ListMachines(
        self, request: admin_pb2.ListMachinesRequest, context: Context
    ) -> admin_pb2.ListMachinesResponse:
        return await _answered(context, self._list)

    async def DrainMachine(
        self, request: admin_pb2.DrainMachineRequest, context: Context
    ) -> admin_pb2.DrainMachineResponse:
        await _answered(context, lambda: self._change(self._fleet.drain, request.machine))
        return admin_pb2.DrainMachineResponse()

    async def UndrainMachine(
        self, request: admin_pb2.UndrainMachineRequest, context: Context
    ) -> admin_pb2.UndrainMachineResponse:
        await _answered(context, lambda: self._change(self._fleet.undrain, request.machine))
        return admin_pb2.UndrainMachineResponse()

    async def _list(self) -> admin_pb2.ListMachinesResponse:
        machines = await self._fleet.machines()
        workers, wanted, most = self._fleet.wanted_workers()
        return admin_pb2.ListMachinesResponse(
            machines=[_message(machine) for machine in sorted(machines, key=lambda machine: machine.name)],
            workers=workers,
            wanted_workers=wanted,
            max_workers=most,
            waiting_jobs=self._waiting_jobs(),
            trouble=self._fleet.trouble,
        )

    async def _change(self, change: Callable[[str], None], machine: str) -> None:
        try:
            change(machine)
        except KeyError:
            names = sorted(known.name for known in await self._fleet.machines())
            raise _NoSuchMachine(machine, names) from None


class _NoSuchMachine(Exception):
    def __init__(self, machine: str, names: Sequence[str]) -> None:
        shown = list(names[:_SHOWN_NAMES])
        if len(names) > _SHOWN_NAMES:
            shown.append(f"and {len(names) - _SHOWN_NAMES} more")
        known = f"the machines are {', '.join(shown)}" if names else "there are no machines yet"
        super().__init__(f"there is no machine {machine!r}; {known}")


async def _answered(context: Context, answer: Callable[[], Awaitable[T]]) -> T:
    """Returns the answer to a call. Ends the call with a plain error if there is none."""
    try:
        return await answer()
    except _NoSuchMachine as error:
        code, message = grpc.StatusCode.NOT_FOUND, str(error)
    except Refused as error:
        code, message = grpc.StatusCode.FAILED_PRECONDITION, str(error)
    except Exception:
        _log.exception("administrator's call failed")
        code, message = grpc.StatusCode.INTERNAL, "the server failed to answer; its log says why"
    # Outside of `except`: gRPC would keep the handled exception.
    await context.abort(code, message)
    raise AssertionError("abort raises")


def _message(machine: Machine) -> admin_pb2.Machine:
    devices = [
        admin_pb2.DeviceLoad(
            name=device.name,
            state=device.state,
            jobs=device.jobs,
            places=device.places,
            memory_bytes=device.memory_bytes,
            restarts=device.restarts,
            description=device.description,
        )
        for device in machine.devices
    ]
    return admin_pb2.Machine(
        name=machine.name,
        address=machine.address,
        state=machine.state,
        devices=devices,
        resources=machine.resources,
    )


class AdminServer:
    """Serves the administrator, and tells the way in `ADMIN_FILE`."""

    def __init__(self, server: grpc.aio.Server, data_folder: Path) -> None:
        """
        Args:
            server: answers the calls.
            data_folder: folder of the server's data, in which the administrator's commands look for the file.
        """
        self._file = data_folder / ADMIN_FILE
        self._server = server
        self._folder: TemporaryFolder | None = None
        self._told = ""

    async def start(self) -> None:
        """Begins to serve. If that is impossible, logs why: callers can be served nevertheless."""
        try:
            self._folder = self._listen()
            await self._server.start()
            self._told = json.dumps({"socket": str(self._folder.path / _SOCKET)})
            _write(self._file, self._told)
        except (OSError, RuntimeError) as error:
            _log.error("administrator's commands cannot be served error=%r", str(error))

    def _listen(self) -> TemporaryFolder:
        """Binds the socket in a new folder that only this user can enter, and returns the folder.

        Raises:
            OSError: the folder cannot be made.
            RuntimeError: the socket cannot be bound.
        """
        # With systemd's PrivateTmp, other processes do not see this server's folder for temporary files. But
        # the path of the data folder can be too long or unfit, and its file system need not have sockets.
        parents = [str(self._file.parent.absolute()), tempfile.gettempdir()]
        for parent in filter(_is_fit, parents):
            with contextlib.suppress(OSError, RuntimeError):
                return self._listen_in(parent)
        return self._listen_in("/tmp")

    def _listen_in(self, parent: str) -> TemporaryFolder:
        folder = TemporaryFolder("impasto-admin-", parent)
        try:
            self._server.add_insecure_port(f"unix:{folder.path / _SOCKET}")
        except RuntimeError:
            folder.remove()
            raise
        return folder

    async def stop(self) -> None:
        """Ends all calls and removes the file, unless another server has replaced it."""
        await self._server.stop(0)
        with contextlib.suppress(OSError):
            if self._file.read_text(encoding="utf-8") == self._told:
                self._file.unlink()
        if self._folder is not None:
            self._folder.remove()


def _is_fit(parent: str) -> bool:
    """Whether gRPC can name a socket in a folder of this folder."""
    return len(os.fsencode(parent)) <= _MAX_PARENT_PATH and not set(parent) & set(_NOT_IN_ADDRESSES)


def _write(file: Path, text: str) -> None:
    """Writes a file that only this user can read, in one step."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as new:
            new.write(text)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
