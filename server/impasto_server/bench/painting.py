"""Times a painting with the engine, and its evaluations at each size."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Literal

import torch

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
        stages: the sizes, from coarse to fine, without those that have only one evaluation.
    """

    seconds: float
    evaluations: int
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
    with SeenSize(network, session) as seen:
        for progress in session:
            if last is not None and last.scale == progress.scale:
                side = max(progress.width, progress.height)
                steps.setdefault(side, []).append(progress.seconds - last.seconds)
                painted[side] = seen.width, seen.height
            last = progress
            on_progress(progress)
    session.picture()
    seconds = time.perf_counter() - begin
    assert last is not None
    stages = [Stage(side, *painted[side], Timing.of(of_side)) for side, of_side in steps.items()]
    return Painting(seconds, last.evaluation, stages)


class SeenSize:
    """Records the size of the last image that a session's network has seen, during a `with` block.

    Attributes:
        width, height: size in pixels; 0 before the first image.
    """

    def __init__(self, network: Network, session: Session) -> None:
        dtype = torch.bfloat16 if session.recipe.precision == "bfloat16" else network.dtype
        self._network = network.in_dtype(dtype)
        self.width = self.height = 0

    def __enter__(self) -> SeenSize:
        self._hook = self._network.register_forward_pre_hook(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._hook.remove()

    def _note(self, network: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        self.height, self.width = arguments[0].shape[2:]
