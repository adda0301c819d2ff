"""Times a painting with the engine, and its evaluations at each size."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Literal

from impasto_server.bench.pictures import Picture
from impasto_server.bench.timing import Timing
from impasto_server.engine import Network, Progress, Recipe, Scene, Session, Style


@dataclasses.dataclass(frozen=True)
class Stage:
    """The evaluations at one size of a painting.

    Attributes:
        longest_side: longer side of the picture at this size, in pixels.
        painted_width, painted_height: size of an evaluation in pixels, with the margin.
        seconds: time of an evaluation and its move, without the first, which computes the targets.
    """

    longest_side: int
    painted_width: int
    painted_height: int
    seconds: Timing


@dataclasses.dataclass(frozen=True)
class Painting:
    """The times of a painting.

    Attributes:
        seconds: time from the decoded images to the picture.
        evaluations: number of evaluations made.
        planned_bytes: estimate of its memory, without the network.
        stages: the sizes, from coarse to fine, without those that have only one evaluation.
    """

    seconds: float
    evaluations: int
    planned_bytes: int
    stages: list[Stage]


def paint(
    recipe: Recipe,
    content: Picture,
    style: Picture,
    network: Network,
    *,
    auto_precision: Literal["float32", "bfloat16"],
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Painting:
    """Paints a picture with the engine and times it.

    Args:
        recipe: how to paint.
        content, style: the pictures.
        network: the feature network on the device to use.
        auto_precision: the meaning of the recipe's precision "auto".
        on_progress: called after each evaluation.
    """
    begin = time.perf_counter()
    session = Session(
        recipe,
        Scene(content=content.image, styles=[Style(style.image)]),
        network,
        auto_precision=auto_precision,
    )
    steps: dict[int, list[float]] = {}
    painted: dict[int, tuple[int, int]] = {}
    last: Progress | None = None
    before = session.painted_size
    for progress in session:
        if last is not None and last.scale == progress.scale:
            side = max(progress.width, progress.height)
            steps.setdefault(side, []).append(progress.seconds - last.seconds)
            painted[side] = before
        before = session.painted_size
        last = progress
        on_progress(progress)
    session.picture()
    seconds = time.perf_counter() - begin
    assert last is not None
    stages = [Stage(side, *painted[side], Timing.of(of_side)) for side, of_side in steps.items()]
    return Painting(seconds, last.evaluation, session.plan.estimated_bytes, stages)
