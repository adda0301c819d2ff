"""Measurements of time, with their spread."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

import torch

UNSTEADY = 0.15
"""Spread above which a measurement counts as unsteady."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """A summary of several measurements.

    Attributes:
        median, best: the median and the smallest, in seconds or in the unit of the measurements.
        spread: distance of the quartiles, as a share of the median; 0 for a single measurement.
        count: number of measurements.
    """

    median: float
    best: float
    spread: float
    count: int

    @classmethod
    def of(cls, measurements: Sequence[float]) -> Timing:
        """Summarises at least one measurement."""
        spread = 0.0
        median = statistics.median(measurements)
        if len(measurements) > 1:
            low, _, high = statistics.quantiles(measurements, n=4, method="inclusive")
            spread = (high - low) / median
        return cls(median, min(measurements), spread, len(measurements))


def seconds(work: Callable[[], object], device: str) -> float:
    """Returns the wall time in seconds of some work on a device, until the device has finished it."""
    synchronize(device)
    begin = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - begin


def synchronize(device: str) -> None:
    """Waits until a device has finished its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()
