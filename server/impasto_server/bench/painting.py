"""How long the engine takes to paint, and for each evaluation on the way."""

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
        longest_side: of the picture there, in pixels.
        painted_width, painted_height: what an evaluation sees, the margin too, in pixels.
        seconds: of an evaluation and its move. The first, which computes the targets, is left out.
    """

    longest_side: int
    painted_width: int
    painted_height: int
    seconds: Timing


@dataclasses.dataclass(frozen=True)
class Painting:
    """A painting that was made.

    Attributes:
        seconds: from the decoded images to the picture.
        evaluations: that were made.
        stages: coarse to fine; sizes with a single evaluation are left out.
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
        recipe: what to do.
        content, style: the pictures.
        network: on the device to use.
        auto_precision: what the recipe's precision "auto" means.
        on_progress: told each evaluation.
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
    """Notes the size of the image that a session's network was last given, for as long as a `with` lasts.

    Attributes:
        width, height: in pixels; 0 before the first.
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
