"""Estimates the memory that a painting needs and makes it fit."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import torch

from impasto_server.engine.devices import free_gpu_bytes
from impasto_server.engine.evaluation import Method
from impasto_server.engine.windows import STRIDE

TILE_SIDES = (2048, 1536, 1024, 768, 512, 384, 256)
"""Sides of tiles to try, in pixels. The largest that fits is the fastest: it has the least overlap."""

_MIB = 1 << 20

_IMAGE = 3 * 4.0
_FIXED = 192 * _MIB
"""Bytes for everything else: workspaces of the convolutions, style targets."""


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Memory of an evaluation in bytes for each pixel, besides the image's own tensors and workspaces.

    On a GPU, `footprint.measured_footprint` measures it when a worker starts.

    Attributes:
        bfloat16, float32: by the arithmetic of the network.
    """

    bfloat16: float
    float32: float


# Measured with `keep_freed_memory` and VGG-19: whole paintings with snapshots, every objective at 512² and
# "neighbours" at 256² to 1024², with and without regions. They took at most 0.9 of the estimates. The rest is
# kept free, because the process is killed if a plan is too small.
ON_A_CPU = Footprint(bfloat16=1900.0, float32=3500.0)
"""The footprint on a CPU."""


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """How the evaluations of one scale fit into memory.

    Attributes:
        method: how the image is evaluated, at once or tile by tile.
        estimated_bytes: peak memory, without the network.
        tile_side: side of a tile without its overlap, in pixels; None if not tiled.
        history: number of pairs of images that L-BFGS remembers; 0 for Adam.
    """

    method: Method
    estimated_bytes: int
    tile_side: int | None = None
    history: int = 0


class DoesNotFit(Exception):
    """No plan fits.

    Attributes:
        needed_bytes: what the smallest plan would take.
    """

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(f"the smallest plan needs about {math.ceil(needed_bytes / _MIB)} MiB")
        self.needed_bytes = needed_bytes


def memory_plans(
    width: int,
    height: int,
    *,
    bfloat16: bool,
    history: int,
    overlap: int,
    available_bytes: int | None,
    snapshots: bool = True,
    held_bytes: int = 0,
    target_values: int = 8,
    footprint: Footprint = ON_A_CPU,
) -> list[MemoryPlan]:
    """Returns the plans that fit, from the fastest to the smallest.

    Args:
        width, height: size of the image with its margin, in pixels.
        bfloat16: whether the network computes in bfloat16.
        history: number of pairs of images that L-BFGS should remember; plans with fewer pairs are tried too.
            0 for Adam.
        overlap: overlap of tiles, in pixels.
        available_bytes: memory that may be used, without the network; None for no limit.
        snapshots: whether checkpoints that are being written use the same memory, as on a CPU.
        held_bytes: memory of the pictures in the scene.
        target_values: values that the objective's targets have for each pixel.
        footprint: memory of an evaluation on the device.

    Raises:
        DoesNotFit: no plan fits.
    """
    kept = footprint.bfloat16 if bfloat16 else footprint.float32
    pixels = width * height
    plans = []
    for pairs in dict.fromkeys((history, math.ceil(history / 3), math.ceil(history / 6))):
        # The image, the best image, the average, the gradient, what the optimiser knows of the last one, and
        # intermediate results; then L-BFGS's pairs.
        images = held_bytes + (12 + 2 * pairs) * _IMAGE * pixels
        if snapshots:
            images += (7 + 2 * pairs) * _IMAGE * pixels
        images += target_values * (2 if bfloat16 else 4) * pixels
        plans.append(MemoryPlan("plain", round(images + kept * pixels + _FIXED), None, pairs))
        for side in TILE_SIDES:
            # The last tile of a row may be half as large again.
            seen = min(width, side * 3 // 2 + 2 * overlap) * min(height, side * 3 // 2 + 2 * overlap)
            estimate = images + kept * seen + _FIXED
            plans.append(MemoryPlan("tiled", round(estimate), side, pairs))
    fitting = [plan for plan in plans if available_bytes is None or plan.estimated_bytes <= available_bytes]
    if not fitting:
        raise DoesNotFit(min(plan.estimated_bytes for plan in plans))
    return fitting


def available_memory(device: torch.device) -> int:
    """Returns the free memory of a device in bytes; on a CPU, within the limit of this process's cgroup."""
    if device.type == "cuda":
        return free_gpu_bytes(device) - torch.cuda.memory_allocated(device)
    return min(_machine_memory(), _cgroup_memory())


def _machine_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _cgroup_memory() -> int:
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except OSError:
        return 1 << 62
    return (1 << 62) if limit == "max" else max(0, int(limit) - used)


assert all(side % STRIDE == 0 for side in TILE_SIDES)
