"""Times how long the engine takes to reach the final loss of the report's program, on the same objective."""

from __future__ import annotations

import dataclasses
import time

import torch

from impasto_server.bench.pictures import Picture
from impasto_server.bench.report_program import ReportProgram
from impasto_server.engine import Network, Recipe, Scene, Session, Style, checkpoint
from impasto_server.engine.recipe import Precision

MOST_EVALUATIONS = 300
"""Number of evaluations after which the race ends without a result."""


@dataclasses.dataclass(frozen=True)
class Race:
    """A run until a loss was reached.

    Attributes:
        recipe: the recipe as it was run.
        evaluations: number of evaluations until the loss was reached.
        seconds: time until the loss was reached, with set-up.
        loss: the loss that was reached, evaluated in float32.
    """

    recipe: Recipe
    evaluations: int
    seconds: float
    loss: float


def quickest_recipe(longest_side: int, precision: Precision) -> Recipe:
    """Returns the fastest of the recipes that were tried: L-BFGS with shortened steps.

    Full steps overshoot at the beginning, where the fourth powers of the Gram matrices curve the loss most.
    """
    # Measured at 368, 384, 400, 416 and 432 px: 22 evaluations in the mean to fall by the same factor, with 0.65
    # too; 28 with 0.5 and 0.6, 25 with 0.75, 27 with 1. To start from a painting of half the size takes more.
    return Recipe(
        objective="report",
        optimizer="lbfgs",
        learning_rate=0.7,
        evaluations=MOST_EVALUATIONS,
        longest_side=longest_side,
        precision=precision,
        stop_on_plateau=False,
    )


def race(
    recipe: Recipe, content: Picture, style: Picture, network: Network, judge: ReportProgram, loss: float
) -> Race | None:
    """Paints until a loss is reached; returns None if it is not reached.

    The report's program decides, in float32. When the engine's own loss is low enough, the program computes
    the loss, without counting the time, and the run goes on if that loss is still too high.

    Args:
        recipe: how to paint.
        content, style: the pictures.
        network: the feature network on the device to use.
        judge: the report's program with the same weights and pictures.
        loss: the loss to reach.
    """
    begin = time.perf_counter()
    off_the_clock = 0.0
    session = Session(recipe, Scene(content=content.image, styles=[Style(style.image)]), network)
    for progress in session:
        # This is the loss before the last move; after the move it is usually even lower.
        if progress.loss <= loss:
            pause = time.perf_counter()
            with torch.no_grad():
                image = checkpoint.load(session.state())[0]["image"]
                reached = float(judge.loss(image.to(network.device)))
            if reached <= loss:
                return Race(session.recipe, progress.evaluation, pause - begin - off_the_clock, reached)
            off_the_clock += time.perf_counter() - pause
    return None
