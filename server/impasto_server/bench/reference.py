"""The final loss of the report's program, after 2000 steps: recorded, or computed again.

The original program takes hours. The loss is computed with the engine's recipe `report` instead, which makes
the same steps, as a test shows.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable
from importlib import resources

import torch

from impasto_server.bench.pictures import Picture
from impasto_server.engine import Network, Recipe, Scene, Session, Style

STEPS = 2000
"""Number of steps of the report's program."""

LONGEST_SIDE = 400
"""Longer side of its image in pixels."""

_EVERY = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """A run of the report's objective with the report's optimiser, in float32.

    Attributes:
        width, height: size of the image in pixels.
        losses: losses by the number of steps made: "0", "100", …; the last one is the final loss.
        content, content_sha256, style, style_sha256: names and SHA-256 of the image files.
        weights, weights_sha256: name and SHA-256 of the network's weights.
        precision: arithmetic of the network.
        torch: version of torch.
        date: date of the run, ISO 8601.
        made_with: the function and the device of the run.
    """

    width: int
    height: int
    losses: dict[str, float]
    content: str
    content_sha256: str
    style: str
    style_sha256: str
    weights: str
    weights_sha256: str
    precision: str
    torch: str
    date: str
    made_with: str

    @property
    def steps(self) -> int:
        """Number of steps of the run."""
        return max(map(int, self.losses))

    @property
    def final_loss(self) -> float:
        """Loss after the last step."""
        return self.losses[str(self.steps)]


def recorded_reference() -> Reference:
    """Returns the reference that comes with the bench, for the built-in weights and the demo pair."""
    text = (resources.files("impasto_server.bench") / "data" / "report_reference.json").read_text("utf-8")
    return Reference(**json.loads(text))


def compute_reference(
    network: Network,
    content: Picture,
    style: Picture,
    *,
    steps: int = STEPS,
    longest_side: int = LONGEST_SIDE,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Reference:
    """Makes the report's steps with the engine. 2000 steps at 400 px take about half an hour on two cores.

    Args:
        network: the feature network in float32.
        content, style: the pictures.
        steps: number of steps.
        longest_side: longer side of the image in pixels.
        on_step: called with the number of steps made and the loss after them.
    """
    # One more evaluation, because an evaluation gives the loss before its move.
    session = Session(
        Recipe(objective="report", evaluations=steps + 1, longest_side=longest_side, precision="float32"),
        Scene(content=content.image, styles=[Style(style.image)]),
        network,
    )
    losses = {}
    for progress in session:
        step = progress.evaluation - 1
        on_step(step, progress.loss)
        if step % _EVERY == 0 or step == steps:
            losses[str(step)] = progress.loss
    return Reference(
        width=session.size[0],
        height=session.size[1],
        losses=losses,
        content=content.name,
        content_sha256=content.sha256,
        style=style.name,
        style_sha256=style.sha256,
        weights=network.weights_name,
        weights_sha256=network.sha256,
        precision="float32",
        torch=torch.__version__,
        date=datetime.date.today().isoformat(),
        made_with=f"impasto_server.bench.reference.compute_reference on {network.device.type}",
    )
