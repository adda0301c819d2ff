"""How quickly the engine gets to where the report's program ends, on the report's own objective."""

from __future__ import annotations

import dataclasses
import time

import torch

from impasto_server.bench.pictures import Picture
from impasto_server.bench.report_program import ReportProgram
from impasto_server.engine import Network, Recipe, Scene, Session, Style, checkpoint
from impasto_server.engine.recipe import Precision

MOST_EVALUATIONS = 300
"""After these the engine is taken not to get there."""


@dataclasses.dataclass(frozen=True)
class Race:
    """A run to a loss.

    Attributes:
        recipe: as it was run.
        evaluations: made until there.
        seconds: until there, set-up included.
        loss: there, evaluated in float32.
    """

    recipe: Recipe
    evaluations: int
    seconds: float
    loss: float


def quickest_recipe(longest_side: int, precision: Precision) -> Recipe:
    """What gets there soonest of what was tried: L-BFGS with steps of half their length. Whole ones overshoot
    at first, far from the end, where the Gram matrices' fourth powers bend the loss most."""
    return Recipe(
        objective="report",
        optimizer="lbfgs",
        learning_rate=0.5,
        evaluations=MOST_EVALUATIONS,
        longest_side=longest_side,
        precision=precision,
        stop_on_plateau=False,
    )


def race(
    recipe: Recipe, content: Picture, style: Picture, network: Network, judge: ReportProgram, loss: float
) -> Race | None:
    """Paints until a loss is reached; None if it is not.

    It is the report's program that says what the loss is, in float32. Whenever the engine believes to be
    there it is asked, off the clock, and the run goes on if it disagrees.

    Args:
        recipe: how.
        content, style: the pictures.
        network: on the device to use.
        judge: the report's program with the same weights and pictures.
        loss: to reach.
    """
    begin = time.perf_counter()
    off_the_clock = 0.0
    session = Session(recipe, Scene(content=content.image, styles=[Style(style.image)]), network)
    for progress in session:
        # What was evaluated is the image before the move; after it the loss is lower still, as a rule.
        if progress.loss <= loss:
            pause = time.perf_counter()
            with torch.no_grad():
                image = checkpoint.load(session.state())[0]["image"]
                reached = float(judge.loss(image.to(network.device)))
            if reached <= loss:
                return Race(session.recipe, progress.evaluation, pause - begin - off_the_clock, reached)
            off_the_clock += time.perf_counter() - pause
    return None
