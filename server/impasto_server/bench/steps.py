"""Times the steps of a painting at each of its sizes, and finds what they spend their time on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from impasto_server.bench.convolution_rate import ConvolutionRate
from impasto_server.bench.profile import time_shares
from impasto_server.bench.timing import Timing, seconds
from impasto_server.engine import Session
from impasto_server.engine.flops import convolution_flops, convolutions
from impasto_server.engine.objectives import OBJECTIVES
from impasto_server.engine.recipe import LAYERS
from impasto_server.engine.scales import plan_scales
from impasto_server.engine.weights import Architecture


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps at one size of a painting. A step is an evaluation and its move.

    Attributes:
        objective, precision: those of the recipe.
        longest_side: longer side of the picture at this size, in pixels.
        finishing: whether it is the last pass (see `Definition.finishing_share`).
        seconds: seconds of a step; the median.
        gflop: operations of its convolutions in 10⁹, with the margin, forward and backward for the image
            only.
        rate_share: these operations per second, as a share of the machine's convolution rate in this
            arithmetic.
        ceiling: this share if a step took only the best times of its convolutions.
        time_shares: shares of the time by part of the engine, as in `profile.PARTS`.
    """

    objective: str
    precision: str
    longest_side: int
    finishing: bool
    seconds: float
    gflop: float
    rate_share: float
    ceiling: float
    time_shares: dict[str, float]


def deepest_layer(objective: str) -> str:
    """Returns the last layer that an objective compares by default; the network runs no further."""
    definition = OBJECTIVES[objective]
    compared = (layer for layer, _ in (*definition.content_layers, *definition.style_layers))
    return max(compared, key=LAYERS.index)


def measured_steps(
    session: Session,
    architecture: Architecture,
    device: str,
    *,
    timed: int,
    profiled: int,
    convolution_gflops: float,
    alone: Callable[[int, int], Sequence[ConvolutionRate]],
) -> list[Steps]:
    """Paints a picture and measures its steps at each size that has enough of them.

    Args:
        session: a new painting that does not stop early.
        architecture: the architecture of its network.
        device: its device.
        timed, profiled: numbers of steps to time, and to divide by part, after the first at each size.
        convolution_gflops: the machine's convolution rate in the painting's arithmetic.
        alone: returns the rates of the network's convolutions alone in this arithmetic, in order, for an
            image of a height and a width.
    """
    recipe = session.recipe
    found = []
    for scale in plan_scales(recipe, session.size):
        # The first evaluation of a size is after the search for its targets, and chooses its kernels.
        while session.step().preparing is not None:
            pass
        left = scale.evaluations - 1
        if left >= timed + profiled:
            left -= timed + profiled
            timing = Timing.of([seconds(session.step, device) for _ in range(timed)])
            width, height = scale.painted_size
            network = convolutions(architecture, height, width, deepest_layer(recipe.objective))
            flops = convolution_flops(network)
            best = sum(rate.seconds for rate in alone(height, width)[: len(network)])
            found.append(
                Steps(
                    objective=recipe.objective,
                    precision=str(recipe.precision),
                    longest_side=max(scale.size),
                    finishing=scale.finishing,
                    seconds=timing.median,
                    gflop=flops / 1e9,
                    rate_share=flops / timing.median / 1e9 / convolution_gflops,
                    ceiling=flops / best / 1e9 / convolution_gflops,
                    time_shares=time_shares(session, device, profiled),
                )
            )
        for _ in range(left):
            session.step()
    return found
