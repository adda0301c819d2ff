"""What a worker asks a machine of a Ray cluster for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

# Ray counts in ten-thousandths.
_LEAST = 1e-4


@dataclasses.dataclass(frozen=True)
class Ask:
    """What one worker asks a machine for.

    Attributes:
        gpu: number of GPUs: 1, or a share of one; 0 to paint on the CPU.
        cpu: number of cores; 0 for none in particular.
        memory: main memory in bytes; 0 for none in particular.
        custom: amounts of resources that an administrator has named.
    """

    gpu: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    custom: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def as_ray(self) -> dict[str, float]:
        """Returns the amounts by Ray's names."""
        amounts = {"GPU": self.gpu, "CPU": self.cpu, "memory": float(self.memory)} | dict(self.custom)
        return {name: amount for name, amount in amounts.items() if amount}

    def bundles(self, workers: int) -> list[dict[str, int]]:
        """Returns what the autoscaler must have room for, in whole numbers, which is all that it takes.

        Workers that ask for shares are put together until they fill a whole.
        """
        shares = [amount for amount in self.as_ray().values() if amount < 1]
        together = int(1 / max(shares) + _LEAST) if shares else 1
        bundle = {name: math.ceil(together * amount - _LEAST) for name, amount in self.as_ray().items()}
        return [bundle] * -(-workers // together)

    def fits(self, free: Mapping[str, float]) -> bool:
        """Whether it fits into amounts by Ray's names."""
        return all(free.get(name, 0.0) + _LEAST >= amount for name, amount in self.as_ray().items())
