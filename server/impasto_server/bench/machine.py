"""The machine and the software of a run of the bench."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
from importlib.metadata import version
from typing import Literal

import torch

from impasto_server.engine import Network, kernels
from impasto_server.engine.devices import describe_device


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, its software, and the settings of the run.

    Attributes:
        device, description: name of the device for the program, and for people.
        units: the processor's units for vectors and matrices that matter here, best first; empty for a GPU.
        kernels: what the engine uses between its convolutions on a CPU (see `engine.kernels`); "" for a GPU.
        threads: number of threads with which torch computes on the CPU.
        memory_mib: the machine's memory in MiB; None if it is not known.
        load: load average of the minute before the run; None if it is not known.
        system, python, torch, impasto: versions.
        date: date and time of the run, ISO 8601.
        precision: the meaning of precision "auto" on the device.
        weights, architecture, weights_sha256: name, architecture and SHA-256 of the network's weights.
    """

    device: str
    description: str
    units: list[str]
    kernels: str
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
        units=_units() if device == "cpu" else [],
        kernels=kernels.description() if device == "cpu" else "",
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


_UNITS = {
    "amx_bf16": "AMX with bfloat16",
    "avx512_bf16": "AVX-512 with bfloat16",
    "avx512_f": "AVX-512",
    "avx2": "AVX2",
}
"""Names for people of what torch says that a processor can do."""


def _units() -> list[str]:
    # Older versions of torch do not say it.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return [name for capability, name in _UNITS.items() if capabilities.get(capability)]


def _memory_mib() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    except (AttributeError, OSError, ValueError):
        return None
