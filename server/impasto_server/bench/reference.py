"""Where the report's program ends: its loss after 2000 steps, recorded or computed afresh.

As written the program takes hours. The engine's recipe `report` makes the same steps (a test shows it) and is
what the loss is computed with.
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
"""Steps of the report's program."""

LONGEST_SIDE = 400
"""Of its image, in pixels."""

_EVERY = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """A run of the report's objective with the report's optimiser, in float32.

    Attributes:
        width, height: of the image in pixels.
        losses: by the number of steps made before: "0", "100", …, the last being the end.
        content, content_sha256, style, style_sha256: the image files.
        weights, weights_sha256: of the feature network.
        precision: of its arithmetic.
        torch: version.
        date: when it was made, ISO 8601.
        made_with: how, in a sentence.
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
        """How many there were."""
        return max(map(int, self.losses))

    @property
    def final_loss(self) -> float:
        """After the last of them."""
        return self.losses[str(self.steps)]


def recorded_reference() -> Reference:
    """The reference that comes with the bench: the built-in weights and the demo pair."""
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
    """Makes the report's steps with the engine. 2000 of them at 400 px take about half an hour on two cores.

    Args:
        network: in float32.
        content, style: the images.
        steps: how many.
        longest_side: of the image, in pixels.
        on_step: told the steps made and the loss there.
    """
    # An evaluation gives the loss before its move: the loss after the last move takes one more.
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
