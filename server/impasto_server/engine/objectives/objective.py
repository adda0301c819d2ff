"""The objective at one scale of a painting: the weighted sum of its terms."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping, Sequence

import torch

from impasto_server.engine.losses import Term, total_variation
from impasto_server.engine.network import Network
from impasto_server.engine.objectives import OBJECTIVES
from impasto_server.engine.recipe import Recipe
from impasto_server.engine.targets import StyleImage, TargetCache


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the content, and the paintings that it should look like.

    Attributes:
        mask: (1, 1, H, W) in [0, 1], the part of the content image; None for all of it.
        styles: paintings with their shares.
    """

    mask: torch.Tensor | None
    styles: Sequence[tuple[StyleImage, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """Everything from which the terms of an objective are made.

    Attributes:
        recipe: resolved recipe.
        network: the feature network, in the arithmetic to compute in.
        content: (1, 3, H, W), normalised RGB in float32 (float64 with a float64 network), with the margin;
            for a texture, any image of its size.
        start: (1, 3, H, W): the image with which this scale begins.
        parts: at least one part of the content.
        margin: pixels around the picture that are cut off in the end.
        coarsest: whether this is the first scale.
        finishing: whether this is the last pass (see `Definition.finishing_share`).
        tile_side: side of a tile in pixels, if images and targets are evaluated tile by tile; otherwise None.
        cache: cache of style targets.
        kept: `Terms.kept` of an earlier call for the same painting at the same scale.
    """

    recipe: Recipe
    network: Network
    content: torch.Tensor
    start: torch.Tensor
    parts: Sequence[Part]
    margin: int = 0
    coarsest: bool = True
    finishing: bool = False
    tile_side: int | None = None
    cache: TargetCache | None = None
    kept: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Terms:
    """The terms that an objective adds up.

    Attributes:
        content, style: terms of the content loss and of the style loss.
        kept: tensors that a checkpoint needs to make the same terms again, because they depend on an image
            that has changed since.
    """

    content: list[Term]
    style: list[Term]
    kept: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Losses:
    """The losses of one evaluation, scalars: the weighted total, and its parts without their weights."""

    total: torch.Tensor
    content: torch.Tensor
    style: torch.Tensor
    tv: torch.Tensor


class Objective:
    """The weighted sum of content loss, style loss and total variation for images of one size.

    Attributes:
        network: the feature network of its terms.
        layers: the network's layers that its terms need.
        terms: content terms, then style terms.
        kept: `Terms.kept`.
    """

    def __init__(self, recipe: Recipe, network: Network, terms: Terms, zero: torch.Tensor) -> None:
        """
        Args:
            recipe: resolved recipe.
            network: the feature network, in the arithmetic to compute in.
            terms: terms of the loss.
            zero: scalar 0 of the losses' type, on their device.
        """
        assert recipe.content_weight is not None
        assert recipe.style_weight is not None
        assert recipe.tv_weight is not None
        self.network = network
        self._weights = recipe.content_weight, recipe.style_weight, recipe.tv_weight
        self._zero = zero
        self._content_count = len(terms.content)
        self.terms: list[Term] = [*terms.content, *terms.style]
        self.layers = {layer for term in self.terms for layer in term.layers}
        self.kept = terms.kept

    def losses(self, statistics: Sequence[torch.Tensor], image: torch.Tensor) -> Losses:
        """Returns the losses of an image (1, 3, H, W) from its statistics, given in the terms' order."""
        values = [term.value(statistic) for term, statistic in zip(self.terms, statistics, strict=True)]
        content = sum(values[: self._content_count], start=self._zero)
        style = sum(values[self._content_count :], start=self._zero)
        content_weight, style_weight, tv_weight = self._weights
        tv = total_variation(image) if tv_weight else self._zero
        # Without terms the weight must be 0: it may be infinite in the losses' arithmetic, and 0 · ∞ is NaN.
        if not self._content_count:
            content_weight = 0.0
        if self._content_count == len(values):
            style_weight = 0.0
        return Losses(content_weight * content + style_weight * style + tv_weight * tv, content, style, tv)


def preparation(setting: Setting) -> Generator[float, None, Objective]:
    """Makes the recipe's objective; yields the share that is done, as `Definition.terms` does."""
    terms = yield from OBJECTIVES[setting.recipe.objective].terms(setting)
    return Objective(setting.recipe, setting.network, terms, setting.content.new_zeros(()))


def prepared(setting: Setting) -> Objective:
    """Makes the recipe's objective at once."""
    steps = preparation(setting)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            objective: Objective = end.value
            return objective
