"""The definition of an objective: its defaults in the recipe's table, and how its loss is made.

Imports nothing heavy, because the recipe's table is made from the definitions and the gateway, which has no
torch, reads the table. An objective imports what it computes with when its terms are made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impasto_server.engine.objectives.objective import Setting, Terms

LayerWeights = tuple[tuple[str, float], ...]
"""Names of layers, with their shares."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Definition:
    """An objective.

    Attributes:
        name: name as in the contract: "balanced" for OBJECTIVE_BALANCED.
        terms: a generator that makes the terms of the loss for images of one size. If its targets take longer
            than an evaluation, it yields the share that is done, above 0 and below 1, after pieces of work
            that take about as long as one.
        content_layers, style_layers: default layers to compare, with their shares.
        defaults: the defaults that differ with this objective, by the recipe's fields; those of
            `evaluations` by effort.
        fixed: the recipe's fields that cannot be set with this objective.
        needs_content: whether it cannot paint a texture.
        coarsest: approximate longer side of the first scale, in pixels; None to paint at one size only.
        margin: pixels that are painted around the picture and then cut off, because the edge of the image
            always shows as a frame. Picture and styles both get a margin; neither's statistics include it.
        style_crop: share of a style's width and height that is cut off at each edge. The edge of a canvas or
            a frame would otherwise be painted as straight lines.
        match_palette: whether each scale begins by matching the picture's colours to those of the styles.
        palette_share: how far the colours of the shown picture are moved back to those of the styles: 0 for
            not at all, 1 for their mean and covariance. For an objective that hardly sees brightness and
            saturation and lets them drift.
        style_as_content: whether a style is resized to the size of the picture, whatever its proportions.
        target_values: values in the targets for each painted pixel, in the network's arithmetic.
        kept_by: the recipe's fields on which `Terms.kept` depends. When another field is steered, the kept
            tensors are used again.
        finer_share: evaluations at one scale, as a multiple of those at the scale before it.
        finishing_share: evaluations of the last pass at the largest size, as a multiple of those of the scale
            before it; 0 for no last pass.
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
    """Returns layers with equal shares."""
    return tuple((layer, 1.0) for layer in layers)
