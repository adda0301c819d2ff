"""What is minimised: an objective's terms, with their targets, for images of one size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch

from impasto_server.engine import recipe as recipes
from impasto_server.engine.losses import ContentTerm, GramTerm, Term, WassersteinTerm, total_variation
from impasto_server.engine.network import Network, Padding
from impasto_server.engine.targets import (
    StyleImage,
    TargetCache,
    content_features,
    layer_guide,
    style_statistics,
)

_FIVE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def _evenly(*layers: str) -> recipes.LayerWeights:
    return tuple((layer, 1.0) for layer in layers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What an objective looks at.

    Attributes:
        content_layers, style_layers: layers compared, and their shares, where the recipe names none.
        margin: whether the picture is painted with a margin around it that is cut off at the end. The
            edge of what a network sees always shows as a frame, whatever its convolutions are padded with.
        style_padding: of the network's convolutions when it looks at a style.
        coarse_to_fine: whether the picture grows through several sizes.
        match_palette: whether each size begins with the picture's colours brought to the styles'. Gram
            matrices see strokes well and colours badly.
        means_and_covariances: whether the style is these, by the Wasserstein distance, and not Gram matrices.
    """

    content_layers: recipes.LayerWeights
    style_layers: recipes.LayerWeights
    margin: bool = True
    style_padding: Padding = "reflect"
    coarse_to_fine: bool = True
    match_palette: bool = False
    means_and_covariances: bool = False


SHAPES: dict[recipes.Objective, Shape] = {
    "balanced": Shape(
        content_layers=_evenly("relu4_2"),
        style_layers=_evenly(*_FIVE),
        match_palette=True,
    ),
    # Gatys et al. 2016, section 3; the growing is Gatys et al. 2017, section 6.
    "gatys": Shape(
        content_layers=_evenly("relu4_2"),
        style_layers=_evenly(*_FIVE),
    ),
    # The report's program keeps every layer after its ReLU, because torchvision's ReLUs work in place.
    "report": Shape(
        content_layers=_evenly(*_FIVE),
        style_layers=_evenly(*_FIVE),
        margin=False,
        style_padding="zeros",
        coarse_to_fine=False,
    ),
    "wasserstein": Shape(
        content_layers=_evenly("relu4_2"),
        style_layers=_evenly(*_FIVE),
        match_palette=True,
        means_and_covariances=True,
    ),
}


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the content, and what it is to look like.

    Attributes:
        mask: (1, 1, H, W) in [0, 1], of the content image; None for all of it.
        styles: paintings, and their shares.
    """

    mask: torch.Tensor | None
    styles: Sequence[tuple[StyleImage, float]]


@dataclasses.dataclass(frozen=True)
class Losses:
    """One evaluation: scalars, each before its weight but for `total`."""

    total: torch.Tensor
    content: torch.Tensor
    style: torch.Tensor
    tv: torch.Tensor


class Objective:
    """The weighted sum of content loss, style loss and total variation for images of one size.

    With F, P the features of the image and of the content (C channels, N positions), G = F Fᵀ, Ĝ the Gram
    matrix of the style over its own positions (the weighted mean for several styles), w_l a layer's share:

    * balanced: content Σ_l w_l mean((F − P)²) / mean(P²); style Σ_l w_l mean((G/N − Ĝ)²) / mean(Ĝ²).
    * gatys: content Σ_l w_l ½ Σ (F − P)² (eq. 1); style Σ_l w_l E_l, w_l = 1/5,
      E_l = 1/(4 C²) Σ (G/N − Ĝ)² (eq. 4, which has N in the fraction because its images are of one size).
    * report: content Σ_l mean((F − P)²); style Σ_l mean((G − N Ĝ)²) / (C N).
    * wasserstein: content as balanced; style Σ_l w_l W₂² / (|μ̂|² + tr Σ̂), with the means and covariances
      of the features taken for those of normal distributions.

    With several parts, each has its own Ĝ and, of G and N, what its mask lets through; a part counts by its
    share of the positions.

    Args:
        recipe: resolved.
        network: in the arithmetic to compute in.
        content: (1, 3, H, W), normalised RGB in float32 (float64 with a float64 network); of a texture, any
            image of its size.
        parts: at least one.
        tile_side: if images are to be evaluated tile by tile, so are the targets.
        cache: of style statistics.

    Attributes:
        layers: what it needs of the network.
        terms: content terms, then style terms.
    """

    def __init__(
        self,
        recipe: recipes.Recipe,
        network: Network,
        content: torch.Tensor,
        parts: Sequence[Part],
        *,
        tile_side: int | None = None,
        cache: TargetCache | None = None,
    ) -> None:
        assert recipe.content_weight is not None
        assert recipe.style_weight is not None
        self.network = network
        self._weights = recipe.content_weight, recipe.style_weight, recipe.tv_weight
        self._zero = content.new_zeros(())
        self._shape = SHAPES[recipe.objective]
        # A term without weight is not computed at all.
        contents: list[Term] = []
        if recipe.content_weight:
            layers = recipe.content_layers or self._shape.content_layers
            features = content_features(network, content, [layer for layer, _ in layers], tile_side=tile_side)
            contents = [
                ContentTerm(layer, features[layer], share * _content_scale(recipe.objective, features[layer]))
                for layer, share in _shares(recipe.objective, layers)
            ]
        styles: list[Term] = []
        if recipe.style_weight:
            styles = self._style_terms(recipe, content, parts, tile_side, cache)
        self._content_count = len(contents)
        self.terms: list[Term] = [*contents, *styles]
        self.layers = {term.layer for term in self.terms}

    def losses(self, statistics: Sequence[torch.Tensor], image: torch.Tensor) -> Losses:
        """The loss of an image (1, 3, H, W) from its terms' statistics, in the terms' order."""
        values = [term.value(statistic) for term, statistic in zip(self.terms, statistics, strict=True)]
        content = sum(values[: self._content_count], start=self._zero)
        style = sum(values[self._content_count :], start=self._zero)
        content_weight, style_weight, tv_weight = self._weights
        tv = total_variation(image) if tv_weight else self._zero
        return Losses(content_weight * content + style_weight * style + tv_weight * tv, content, style, tv)

    def _style_terms(
        self,
        recipe: recipes.Recipe,
        content: torch.Tensor,
        parts: Sequence[Part],
        tile_side: int | None,
        cache: TargetCache | None,
    ) -> list[Term]:
        layers = recipe.style_layers or self._shape.style_layers
        names = [layer for layer, _ in layers]
        targets = [self._part_targets(part, names, tile_side, cache) for part in parts]
        terms: list[Term] = []
        for layer, share in _shares(recipe.objective, layers):
            of_parts = torch.stack([target[layer] for target in targets])
            guides = torch.cat([layer_guide(part.mask, layer, content) for part in parts])
            # A part too small for this layer has no positions here, and asks for nothing.
            positions = guides.sum((1, 2)).clamp_min(1e-6)
            scale = _style_scale(recipe.objective)
            scales = torch.stack(
                [scale(target, int(n)) for target, n in zip(of_parts, positions, strict=True)]
            )
            scales = scales * share * positions / positions.sum()
            if self._shape.means_and_covariances:
                terms.append(WassersteinTerm(layer, guides, positions, of_parts, scales))
            else:
                everywhere = len(parts) == 1 and parts[0].mask is None
                terms.append(GramTerm(layer, None if everywhere else guides, positions, of_parts, scales))
        return terms

    def _part_targets(
        self, part: Part, layers: Sequence[str], tile_side: int | None, cache: TargetCache | None
    ) -> dict[str, torch.Tensor]:
        """Statistics by layer: the weighted mean of the part's styles'."""
        total = sum(weight for _, weight in part.styles)
        mixed: dict[str, torch.Tensor] = {}
        for style, weight in part.styles:
            statistics = style_statistics(
                self.network,
                style,
                layers,
                padding=self._shape.style_padding,
                with_means=self._shape.means_and_covariances,
                tile_side=tile_side,
                cache=cache,
            )
            for layer, statistic in statistics.items():
                weighed = statistic * (weight / total)
                mixed[layer] = mixed[layer] + weighed if layer in mixed else weighed
        return mixed


def _shares(objective: recipes.Objective, layers: recipes.LayerWeights) -> recipes.LayerWeights:
    # The report adds its layers up; the others take a mean, and content has one layer as a rule.
    total = sum(weight for _, weight in layers)
    factor = len(layers) if objective == "report" else 1
    return tuple((layer, weight / total * factor) for layer, weight in layers)


def _content_scale(objective: recipes.Objective, target: torch.Tensor) -> float:
    if objective == "gatys":
        return 0.5
    if objective == "report":
        return 1 / target.numel()
    return 1 / max(1e-12, float(target.float().square().sum()))


def _style_scale(objective: recipes.Objective) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """The factor of Σ (G/N − Ĝ)², or of W₂², from Ĝ (or mean and mean outer product) and N."""
    if objective == "balanced":
        return lambda target, _: 1 / target.square().sum().clamp_min(1e-12)
    if objective == "gatys":
        return lambda target, _: target.new_tensor(1 / (4 * len(target) ** 2))
    if objective == "report":
        # mean((G − N Ĝ)²) / (C N) = N² / (C² · C N) Σ (G/N − Ĝ)²; style and image are of one size.
        return lambda target, positions: target.new_tensor(positions / len(target) ** 3)
    # The trace of the mean outer product is |μ̂|² + tr Σ̂.
    return lambda target, _: 1 / target[1:].trace().clamp_min(1e-12)
