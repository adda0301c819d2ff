"""Finds out without torch, whose import takes seconds, which devices this machine cannot have."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from impasto_server.fleet.worker_process import ConfigurationError
from impasto_server.visible_gpus import VARIABLE, gpu_number, visible_gpus

_NVIDIA, _DISPLAY = "0x10de", "0x03"
# Device files of AMD's GPUs, which torch also calls "cuda", and of WSL on Windows.
_AMD, _WSL = "dev/kfd", "dev/dxg"


def check_devices(
    devices: Sequence[str],
    root: Path = Path("/"),
    platform: str = sys.platform,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Refuses devices that this machine certainly does not have. A worker can still refuse the others.

    Args:
        devices: names, or "auto".
        root: folder that contains `dev`, `proc` and `sys`.
        platform: as `sys.platform`.
        environment: environment variables, among them CUDA_VISIBLE_DEVICES.

    Raises:
        ConfigurationError: a device does not exist, or CUDA_VISIBLE_DEVICES names a GPU twice.
    """
    gpus = _gpus(root)
    because = ""
    kinds = {device.partition(":")[0] for device in devices}
    if platform != "darwin" and not (root / _AMD).exists() and kinds & {"auto", "cuda"}:
        try:
            visible = visible_gpus(environment)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        if visible is not None and gpus != 0:
            # CUDA reads until the first number that no GPU has.
            real = itertools.takewhile(lambda e: not e.isdigit() or gpus is None or int(e) < gpus, visible)
            gpus, because = len(list(real)), f", because {VARIABLE} is {environment[VARIABLE]!r}"
    for device in devices:
        kind = device.partition(":")[0]
        missing = kind == "mps" and platform != "darwin"
        if kind == "cuda" and gpus is not None:
            missing = gpu_number(device) >= gpus
        if missing:
            there = [f"cuda:{i}" for i in range(gpus or 0)] + ["mps"] * (platform == "darwin") + ["cpu"]
            raise ConfigurationError(
                f"there is no device {device!r} here; there is {', '.join(there)}{because}"
            )


def _gpus(root: Path) -> int | None:
    """Returns the maximum number of GPUs that "cuda" can mean; None if it is not known."""
    if any((root / path).exists() for path in (_AMD, _WSL)):
        return None
    # Each of the three can be incomplete: a container has only device files, and some machines make those, or
    # load the driver, only when a GPU is first used.
    files = [path for path in (root / "dev").glob("nvidia*") if re.fullmatch(r"nvidia[0-9]+", path.name)]
    driver = list((root / "proc/driver/nvidia/gpus").glob("*"))
    cards = [path for path in (root / "sys/bus/pci/devices").glob("*") if _is_nvidia_gpu(path)]
    return max(len(files), len(driver), len(cards))


def _is_nvidia_gpu(card: Path) -> bool:
    try:
        vendor = (card / "vendor").read_text(encoding="ascii").strip()
        return vendor == _NVIDIA and (card / "class").read_text(encoding="ascii").startswith(_DISPLAY)
    except OSError:
        return False
