"""What the figures were taken on and with."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
from importlib.metadata import version
from typing import Literal

import torch

from impasto_server.engine import Network
from impasto_server.engine.devices import describe_device


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, its software, and what was asked of it.

    Attributes:
        device, description: name of the device, and what it is.
        threads: that torch computes with on the CPU.
        memory_mib: of the machine; None if it cannot be told.
        load: processes that wanted a CPU in the minute before; None if it cannot be told.
        system, python, torch, impasto: versions.
        date: when, ISO 8601.
        precision: what "auto" means on the device.
        weights, architecture, weights_sha256: of the feature network.
    """

    device: str
    description: str
    threads: int
    memory_mib: float | None
    load: float | None
    system: str
    python: str
    torch: str
    impasto: str
    date: str
    precision: str
    weights: str
    architecture: str
    weights_sha256: str


def this_machine(device: str, precision: Literal["float32", "bfloat16"], network: Network) -> Machine:
    """Describes this machine."""
    return Machine(
        device=device,
        description=describe_device(device),
        threads=torch.get_num_threads(),
        memory_mib=_memory_mib(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        system=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        impasto=version("impasto"),
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        precision=precision,
        weights=network.weights_name,
        architecture=network.architecture,
        weights_sha256=network.sha256,
    )


def _memory_mib() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    except (AttributeError, OSError, ValueError):
        return None
