"""The machines of a fleet, as an administrator sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DEVICE_STATES = ("ready", "starting", "silent", "leaving", "lost")
"""The states of a device; see `DeviceLoad`."""


@dataclass(frozen=True, kw_only=True)
class DeviceLoad:
    """A device, its worker, and the jobs on it.

    Attributes:
        key: unique name of the worker.
        name: of the device: "cpu" or "cuda:0"; in a fleet of several machines with the machine's name before
            it ("render1/cuda:0").
        state: "ready", "starting", "silent" (the worker does not answer), "leaving" (its jobs move to other
            devices) or "lost" (no worker can be started on it for now).
        jobs: number of jobs on it.
        places: maximum number of jobs on it.
        memory_bytes: memory that jobs can use, in bytes; 0 if it is not known yet.
        restarts: number of restarts of the worker.
        description: such as "NVIDIA H100"; empty if it is not known yet.
    """

    key: str
    name: str
    state: str
    jobs: int
    places: int
    memory_bytes: int
    restarts: int
    description: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine and its devices.

    Attributes:
        name: unique in the fleet; the name of the host if the fleet has only this machine.
        address: IP address; empty for this machine.
        state: "ready", "joining" (no worker is ready on it yet), "unused" (it needs no worker now),
            "draining" (its jobs move to other machines) or "drained" (it has no jobs and gets none).
        devices: its devices, each with one worker.
        resources: amounts of Ray's resources, by name; empty if the fleet does not run on Ray.
    """

    name: str
    address: str
    state: str
    devices: Sequence[DeviceLoad]
    resources: Mapping[str, float]
