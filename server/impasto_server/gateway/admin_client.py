"""The administrator's side of `admin`: asks a server on this machine, and words its answers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from impasto.v1 import admin_pb2 as public_admin_pb2
from impasto.v1 import admin_pb2_grpc as public_admin_pb2_grpc
from impasto_server.gateway.admin import ADMIN_FILE
from impasto_server.gateway.admin_tables import table as aligned
from impasto_server.v1 import admin_pb2, admin_pb2_grpc

_SECONDS = 10.0
_POLL_SECONDS = 0.5
_PAGE = 200

_CHANGES: dict[str, tuple[str, Callable[..., Any]]] = {
    "cancel": ("CancelAnyJob", public_admin_pb2.CancelAnyJobRequest),
    "pause": ("PauseAnyJob", public_admin_pb2.PauseAnyJobRequest),
    "resume": ("ResumeAnyJob", public_admin_pb2.ResumeAnyJobRequest),
    "hold": ("HoldJob", public_admin_pb2.HoldJobRequest),
    "release": ("ReleaseJob", public_admin_pb2.ReleaseJobRequest),
}
"""The call and the request of each change of a job."""


class AdminError(Exception):
    """A command cannot be carried out. The message says why."""


class AdminClient:
    """A connection to the server of a data folder. Use it as `with AdminClient(folder) as client:`."""

    def __init__(self, data_folder: Path) -> None:
        """
        Args:
            data_folder: folder of the server's data.

        Raises:
            AdminError: no server runs on this data folder.
        """
        self._data_folder = data_folder
        self._channel = grpc.insecure_channel(f"unix:{_socket_of(data_folder)}")
        self._stub = admin_pb2_grpc.AdminServiceStub(self._channel)
        self._jobs_stub = public_admin_pb2_grpc.AdminStub(self._channel)

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def machines(self) -> admin_pb2.ListMachinesResponse:
        """Lists the machines.

        Raises:
            AdminError: the server did not answer.
        """
        with self._plain_errors():
            answer: admin_pb2.ListMachinesResponse = self._stub.ListMachines(
                admin_pb2.ListMachinesRequest(), timeout=_SECONDS
            )
        return answer

    def drain(self, machine: str) -> None:
        """Takes a machine out of use.

        Raises:
            AdminError: there is no such machine, or the server did not answer.
        """
        with self._plain_errors():
            self._stub.DrainMachine(admin_pb2.DrainMachineRequest(machine=machine), timeout=_SECONDS)

    def undrain(self, machine: str) -> None:
        """Takes a machine into use again.

        Raises:
            AdminError: there is no such machine, or the server did not answer.
        """
        with self._plain_errors():
            self._stub.UndrainMachine(admin_pb2.UndrainMachineRequest(machine=machine), timeout=_SECONDS)

    def wait_until_drained(self, machine: str, tell: Callable[[int], None]) -> None:
        """Waits until a machine has no jobs, or has left the fleet.

        Args:
            machine: its name.
            tell: called with the number of jobs on the machine, at first and whenever it has changed, but not
                with 0.

        Raises:
            AdminError: somebody takes the machine into use again, or the server did not answer.
        """
        told = None
        while (found := find(self.machines(), machine)) is not None and found.state != "drained":
            if found.state != "draining":
                raise AdminError(f"{machine} has been taken into use again")
            # Without jobs, the machine's workers are still being given back.
            if (jobs := jobs_on(found)) not in (0, told):
                tell(jobs)
                told = jobs
            time.sleep(_POLL_SECONDS)

    def status(self) -> public_admin_pb2.ServerStatus:
        """Returns the state of the server.

        Raises:
            AdminError: the server did not answer.
        """
        with self._plain_errors():
            answer: public_admin_pb2.ServerStatus = self._jobs_stub.GetStatus(
                public_admin_pb2.GetStatusRequest(), timeout=_SECONDS
            )
        return answer

    def watch_status(self) -> Iterator[public_admin_pb2.ServerStatus]:
        """Yields the state of the server every 2 seconds.

        Raises:
            AdminError: the server ends.
        """
        with self._plain_errors():
            yield from self._jobs_stub.WatchStatus(public_admin_pb2.WatchStatusRequest())

    def jobs(self, states: Sequence[str], tenant: str | None) -> list[public_admin_pb2.TenantJob]:
        """Lists jobs, the newest first.

        Args:
            states: the states that they can have, such as "running".
            tenant: their owner; None: all tenants.

        Raises:
            AdminError: the server did not answer.
        """
        wanted = [f"JOB_STATE_{state.upper()}" for state in states]
        request = public_admin_pb2.ListAllJobsRequest(page_size=_PAGE, states=wanted, tenant=tenant)
        jobs: list[public_admin_pb2.TenantJob] = []
        with self._plain_errors():
            while True:
                page = self._jobs_stub.ListAllJobs(request, timeout=_SECONDS)
                jobs += page.jobs
                request.page_token = page.next_page_token
                if not page.next_page_token:
                    return jobs

    def change(self, action: str, name: str) -> public_admin_pb2.TenantJob:
        """Changes a job, and returns it.

        Args:
            action: "cancel", "pause", "resume", "hold" or "release".
            name: of the job.

        Raises:
            AdminError: the job cannot be changed, or the server did not answer.
        """
        call, request = _CHANGES[action]
        with self._plain_errors():
            changed: public_admin_pb2.TenantJob = getattr(self._jobs_stub, call)(
                request(name=name), timeout=_SECONDS
            )
        return changed

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            code = error.code()
            if code == grpc.StatusCode.UNAVAILABLE:
                raise AdminError(_no_server(self._data_folder)) from None
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise AdminError(f"the server did not answer within {_SECONDS:g} s; try again") from None
            raise AdminError(error.details() or code.name) from None


def _socket_of(data_folder: Path) -> str:
    file = data_folder / ADMIN_FILE
    try:
        socket = json.loads(file.read_text(encoding="utf-8"))["socket"]
        if not isinstance(socket, str):
            raise ValueError
        # A server that was killed leaves the file. Its socket is gone, or nobody listens on it.
        if not Path(socket).exists():
            raise FileNotFoundError
    except FileNotFoundError:
        raise AdminError(_no_server(data_folder)) from None
    except OSError as error:
        raise AdminError(
            f"{error.filename or file} cannot be read ({error.strerror}); run the command as the user that "
            "runs the server"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise AdminError(f"{file} is damaged; restart the server, which writes it anew") from None
    return socket


def _no_server(data_folder: Path) -> str:
    return (
        f"no server runs on the data folder {data_folder} on this machine; start one, or give another folder "
        "with --data-dir"
    )


def find(answer: admin_pb2.ListMachinesResponse, machine: str) -> admin_pb2.Machine | None:
    """Returns a machine by its name; None if there is none."""
    return next((found for found in answer.machines if found.name == machine), None)


def jobs_on(machine: admin_pb2.Machine) -> int:
    """The number of jobs on a machine."""
    return sum(device.jobs for device in machine.devices)


def what_drain_does(answer: admin_pb2.ListMachinesResponse, machine: str) -> str:
    """Says in a sentence what happens to the jobs of a machine that is being drained."""
    found = find(answer, machine)
    jobs = 0 if found is None else jobs_on(found)
    drained = f"{machine} gets no more jobs"
    others = [other for other in answer.machines if other.name != machine and other.state == "ready"]
    if not others:
        return (
            f"{drained}. No other machine is ready: jobs wait until one is, or until "
            f"`impasto-server fleet undrain {machine}`."
        )
    if not jobs:
        return f"{drained}. It has none now."
    return f"{drained}. {_counted(jobs, 'job')} will move to {_names(others)}."


def _names(machines: Sequence[admin_pb2.Machine]) -> str:
    if len(machines) > 1:
        return f"{len(machines)} other machines"
    return machines[0].name


def table(answer: admin_pb2.ListMachinesResponse) -> str:
    """Returns the machines and their devices as a table, with a summary below it."""
    if not answer.machines:
        return "\n".join(["There are no machines yet.", "", _summary(answer)])
    rows = [("machine", "address", "device", "state", "jobs", "memory", "restarts", "description")]
    for machine in answer.machines:
        start = (machine.name, machine.address or "this machine")
        if not machine.devices:
            rows.append((*start, "", machine.state, "", "", "", ""))
        for device in machine.devices:
            leaves = device.state == "leaving" and machine.state in ("draining", "drained")
            rows.append(
                (
                    *start,
                    device.name,
                    machine.state if leaves else device.state,
                    f"{device.jobs}/{device.places}",
                    f"{device.memory_bytes / 2**30:,.1f} GiB" if device.memory_bytes else "",
                    str(device.restarts),
                    device.description,
                )
            )
    return "\n".join([aligned(rows, right=(4, 5, 6)), "", _summary(answer)])


def _summary(answer: admin_pb2.ListMachinesResponse) -> str:
    most = f"at most {answer.max_workers}" if answer.max_workers else "no maximum"
    waiting = answer.waiting_jobs
    trouble = f"\n{answer.trouble[0].upper()}{answer.trouble[1:]}." if answer.trouble else ""
    return (
        f"{_counted(answer.workers, 'worker')} now, {answer.wanted_workers} wanted, {most}; "
        f"{_counted(waiting, 'job')} {'waits' if waiting == 1 else 'wait'} for a device{trouble}"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def as_data(answer: admin_pb2.ListMachinesResponse) -> dict[str, Any]:
    """Returns the answer as plain data for JSON, with the fields' names of admin.proto."""
    return {
        "machines": [
            {
                "name": machine.name,
                "address": machine.address,
                "state": machine.state,
                "devices": [
                    {
                        "name": device.name,
                        "state": device.state,
                        "jobs": device.jobs,
                        "places": device.places,
                        "memory_bytes": device.memory_bytes,
                        "restarts": device.restarts,
                        "description": device.description,
                    }
                    for device in machine.devices
                ],
                "resources": dict(machine.resources),
            }
            for machine in answer.machines
        ],
        "workers": answer.workers,
        "wanted_workers": answer.wanted_workers,
        "max_workers": answer.max_workers,
        "waiting_jobs": answer.waiting_jobs,
        "trouble": answer.trouble,
    }
