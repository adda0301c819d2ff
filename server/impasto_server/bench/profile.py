"""Measures which operators take the time of an evaluation."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from impasto_server.bench.timing import seconds, synchronize

MOST = 10
"""Maximum number of operators in the result."""


class _OperatorTimes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Times every operator that reaches a kernel, one at a time."""

    def __init__(self, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        begin = time.perf_counter()
        result = operator(*args, **(kwargs or {}))
        synchronize(self._device)
        # "aten.convolution_backward.default"
        self.seconds[str(operator).split(".")[1]] += time.perf_counter() - begin
        return result


def time_shares(work: Callable[[], object], device: str) -> dict[str, float]:
    """Returns the shares of the time of some work by operator, largest first.

    The rest of the time is spent between the operators.

    Args:
        work: the work, which is done once.
        device: the device of the work.
    """
    with _OperatorTimes(device) as times:
        total = seconds(work, device)
    largest = sorted(times.seconds.items(), key=lambda item: -item[1])[:MOST]
    return {operator: spent / total for operator, spent in largest}
