"""What there is to say of an objective: its row in the recipe's table, and how its loss is made.

Imports nothing heavy: the recipe's table is made from the definitions, and a front door without torch reads
it. What an objective computes with is imported when its terms are made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impasto_server.engine.objectives.objective import Setting, Terms

LayerWeights = tuple[tuple[str, float], ...]
"""Layers by name, and their shares."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Definition:
    """An objective.

    Attributes:
        name: as in the contract: "balanced" for OBJECTIVE_BALANCED.
        terms: makes the terms of the loss for images of one size. What it yields on the way is the share
            that is done, above 0 and below 1, after pieces of work that take about as long as an evaluation;
            an objective whose targets take no longer than that yields nothing.
        content_layers, style_layers: layers compared, and their shares, where the recipe names none.
        defaults: the recipe's fields that have a default of their own with this objective; of `evaluations`
            by effort.
        fixed: the recipe's fields that cannot be set with this objective.
        needs_content: whether a texture cannot be painted with it.
        coarsest: longer side, in pixels, that a painting grows from, or a little above; None for a painting
            of one size.
        margin: pixels painted around the picture and cut off. The edge of what a network sees always shows
            as a frame. Picture and styles are continued by it alike, and it counts in neither's statistics.
        style_crop: share of a style's width and height that is cut off at each edge. A canvas's edge or a
            frame would be painted as straight lines.
        match_palette: whether each size begins with the picture's colours brought to the styles'.
        palette_share: how far what is shown is brought back to the styles' colours: 0 not at all, 1 to their
            mean and covariance. An objective that hardly sees brightness and saturation lets them drift.
        style_as_content: whether a style is brought to the size of what is painted, whatever its proportions.
        target_values: that the targets have for each pixel painted, in the network's arithmetic.
        kept_by: the recipe's fields that decide what its terms keep of the image that a size began with
            (`Terms.kept`); any other may be steered without keeping anew.
        finer_share: evaluations at one size, in proportion to those at the size before it.
        finishing_share: evaluations of a last pass at the largest size, in proportion to those of the pass
            before it; 0 for no such pass.
    """

    name: str
    terms: Callable[[Setting], Generator[float, None, Terms]]
    content_layers: LayerWeights
    style_layers: LayerWeights
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    needs_content: bool = False
    coarsest: int | None = 128
    margin: int = 16
    style_crop: float = 0.0
    match_palette: bool = False
    palette_share: float = 0.0
    style_as_content: bool = False
    # The content's features at one layer of block 4: 512 channels at an 8th of each side.
    target_values: int = 8
    kept_by: frozenset[str] = frozenset()
    finer_share: float = 0.42
    finishing_share: float = 0.0


def evenly(*layers: str) -> LayerWeights:
    """Layers of equal shares."""
    return tuple((layer, 1.0) for layer in layers)
