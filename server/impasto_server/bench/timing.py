"""Time, and how steady it was."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

import torch

UNSTEADY = 0.15
"""From this spread on a machine was not quiet."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Several measurements of one thing.

    Attributes:
        median, best: in seconds, or whatever was measured; the best is the smallest.
        spread: distance of the quartiles, as a share of the median; 0 for a single measurement.
        count: how many there were.
    """

    median: float
    best: float
    spread: float
    count: int

    @classmethod
    def of(cls, measurements: Sequence[float]) -> Timing:
        """Sums measurements up; at least one."""
        spread = 0.0
        median = statistics.median(measurements)
        if len(measurements) > 1:
            low, _, high = statistics.quantiles(measurements, n=4, method="inclusive")
            spread = (high - low) / median
        return cls(median, min(measurements), spread, len(measurements))


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall time of some work on a device, until it is really done."""
    synchronize(device)
    begin = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - begin


def synchronize(device: str) -> None:
    """Waits for a device to finish what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()
