"""Machines and their devices as an administrator sees them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceLoad:
    """A device and its worker.

    Attributes:
        key: unique name of the worker.
        name: of the device: "cpu" or "cuda:0"; "MACHINE/cuda:0" in a fleet of several machines.
        state: "ready", "starting", "silent" (it does not answer) or "leaving" (its jobs move to others).
        jobs: number of jobs on it.
        places: maximum number of jobs.
        memory_bytes: memory that jobs can use; 0 while the worker is not ready.
        restarts: number of restarts of the worker.
        description: of the device, in words; empty while the worker is not ready.
    """

    key: str
    name: str
    state: str
    jobs: int
    places: int
    memory_bytes: int
    restarts: int
    description: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine of the fleet.

    Attributes:
        name: unique.
        address: its IP address; empty for the gateway's machine.
        state: "ready", "joining" (no worker is ready on it), "draining" (its jobs move to others) or
        "drained".
        devices: those for which there is a worker.
        resources: what Ray says that it has, by Ray's name; empty without Ray.
    """

    name: str
    address: str
    state: str
    devices: Sequence[DeviceLoad]
    resources: Mapping[str, float]
