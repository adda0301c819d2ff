"""The machine's convolution rate: the speed of the network's convolutions when they run alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from impasto_server.bench.timing import seconds
from impasto_server.engine.flops import Convolution

LONG_ENOUGH = 0.005
"""Seconds beside which the time to start work on a device does not count. A GPU needs microseconds for a
convolution, and as long to be told to do it."""


@dataclasses.dataclass(frozen=True)
class ConvolutionRate:
    """The speed of one convolution, forward and backward for its input.

    Attributes:
        name: name of the convolution.
        dtype: "float32" or "bfloat16".
        forward_seconds, backward_seconds: the best of several measurements.
        gflops: operations per second of both directions together, in 10⁹.
    """

    name: str
    dtype: str
    forward_seconds: float
    backward_seconds: float
    gflops: float

    @property
    def seconds(self) -> float:
        """Time of both directions together."""
        return self.forward_seconds + self.backward_seconds


def convolution_rate(
    convolution: Convolution, dtype: torch.dtype, device: str, repeats: int
) -> ConvolutionRate:
    """Times a convolution in the layout that the engine uses, channels last.

    Args:
        convolution: the convolution.
        dtype: the arithmetic.
        device: the device.
        repeats: number of measurements of each direction; the best counts. A measurement is the mean of as
            many calls as take about `LONG_ENOUGH`.
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        values = torch.randn(shape, generator=generator).to(device, dtype)
        return values.contiguous(memory_format=torch.channels_last)

    features = random(1, convolution.channels_in, convolution.height, convolution.width)
    weight = random(convolution.channels_out, convolution.channels_in, 3, 3)
    gradient = random(1, convolution.channels_out, convolution.height, convolution.width)
    bias = torch.zeros(convolution.channels_out, device=device, dtype=dtype)

    def forward() -> torch.Tensor:
        return F.conv2d(features, weight, bias, padding=1)

    def backward() -> object:
        return torch.ops.aten.convolution_backward(
            gradient, features, weight, None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1, (True, False, False)
        )

    with torch.no_grad():
        forward_seconds, backward_seconds = (
            best_seconds(work, device, repeats) for work in (forward, backward)
        )
    return ConvolutionRate(
        name=convolution.name,
        dtype=str(dtype).removeprefix("torch."),
        forward_seconds=forward_seconds,
        backward_seconds=backward_seconds,
        gflops=2 * convolution.forward_flops / (forward_seconds + backward_seconds) / 1e9,
    )


def best_seconds(work: Callable[[], object], device: str, repeats: int) -> float:
    """Returns the best of several measurements of some work; for `repeats`, see `convolution_rate`."""
    # The first call chooses and compiles the kernels.
    work()
    calls = max(1, round(LONG_ENOUGH / seconds(work, device)))

    def work_often() -> None:
        for _ in range(calls):
            work()

    return min(seconds(work_often, device) for _ in range(repeats)) / calls


def convolution_rates(
    network: Sequence[Convolution], dtypes: Sequence[torch.dtype], device: str, repeats: int
) -> list[ConvolutionRate]:
    """Times every convolution of a network in each arithmetic."""
    return [
        convolution_rate(convolution, dtype, device, repeats) for dtype in dtypes for convolution in network
    ]
