"""The terms of the objectives that compare statistics of whole images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from impasto_server.engine.losses import ContentTerm, GramTerm, Term, WassersteinTerm, wide
from impasto_server.engine.objectives.definition import LayerWeights
from impasto_server.engine.objectives.objective import Part, Setting
from impasto_server.engine.targets import (
    content_features,
    layer_guide,
    layer_inner,
    piece_side,
    style_statistics,
)

StyleScale: TypeAlias = Callable[[torch.Tensor, int], torch.Tensor]
"""Computes the factor before Σ (G/N − Ĝ)², or before W₂², from Ĝ (or mean and mean outer product) and N."""


def content_terms(
    setting: Setting, layers: LayerWeights, scale: Callable[[torch.Tensor], float]
) -> list[Term]:
    """Makes the terms of Σ_l share_l · scale(P_l) · Σ (F_l − P_l)²; none if the content's weight is 0.

    Args:
        setting: what to make the terms from.
        layers: layers with their shares.
        scale: computes the factor before a layer's sum from the content's features P.
    """
    if not setting.recipe.content_weight:
        return []
    names = [layer for layer, _ in layers]
    features = content_features(setting.network, setting.content, names, tile_side=setting.tile_side)
    return [ContentTerm(layer, features[layer], share * scale(features[layer])) for layer, share in layers]


def gram_terms(setting: Setting, layers: LayerWeights, scale: StyleScale) -> list[Term]:
    """Makes the terms of Σ_l share_l · scale(Ĝ_l, N_l) · Σ (G_l/N_l − Ĝ_l)²; none if the style weight is 0.

    G = F Fᵀ is of the image, Ĝ = F Fᵀ/N of the style (the weighted mean of several styles). If the content
    has several parts, each part has its own Ĝ, and its own G and N over its mask; its terms are weighted by
    its share of the positions.

    Args:
        setting: what to make the terms from.
        layers: layers with their shares.
        scale: computes the factor before a layer's sum.
    """
    everywhere = len(setting.parts) == 1 and setting.parts[0].mask is None
    return [
        GramTerm(
            layer,
            layer_inner(layer, setting.content, setting.margin),
            None if everywhere else guides,
            positions,
            targets,
            scales,
        )
        for layer, guides, positions, targets, scales in _of_layers(setting, layers, scale, False)
    ]


def wasserstein_terms(setting: Setting, layers: LayerWeights, scale: StyleScale) -> list[Term]:
    """Makes the terms of Σ_l share_l · scale_l · W₂², otherwise like `gram_terms`.

    W₂² compares the mean and covariance of the image's features with those of the styles' features.
    """
    return [
        WassersteinTerm(layer, guides, positions, targets, scales)
        for layer, guides, positions, targets, scales in _of_layers(setting, layers, scale, True)
    ]


def mean_shares(layers: LayerWeights) -> LayerWeights:
    """Returns the layers with shares that add up to 1."""
    total = sum(weight for _, weight in layers)
    return tuple((layer, weight / total) for layer, weight in layers)


def relative(target: torch.Tensor) -> float:
    """Returns 1 / Σ P², the factor that makes a sum of squared differences a relative error."""
    return 1 / max(1e-12, float(target.to(wide(target.dtype)).square().sum()))


_OfLayer: TypeAlias = tuple[str, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _of_layers(setting: Setting, layers: LayerWeights, scale: StyleScale, with_means: bool) -> list[_OfLayer]:
    """Returns for each layer its name and, for the R parts, guides (R, H, W), positions (R,), targets and
    factors (R,)."""
    if not setting.recipe.style_weight:
        return []
    names = [layer for layer, _ in layers]
    targets = [_part_targets(setting, part, names, with_means) for part in setting.parts]
    found = []
    for layer, share in layers:
        of_parts = torch.stack([target[layer] for target in targets])
        guides = torch.cat(
            [layer_guide(part.mask, layer, setting.content, setting.margin) for part in setting.parts]
        )
        # A part that is too small for this layer has no positions here and no influence.
        positions = guides.sum((1, 2)).clamp_min(1e-6)
        scales = torch.stack([scale(target, int(n)) for target, n in zip(of_parts, positions, strict=True)])
        found.append((layer, guides, positions, of_parts, scales * share * positions / positions.sum()))
    return found


def _part_targets(
    setting: Setting, part: Part, layers: Sequence[str], with_means: bool
) -> dict[str, torch.Tensor]:
    """Returns the weighted mean of the statistics of the part's styles, by layer."""
    total = sum(weight for _, weight in part.styles)
    mixed: dict[str, torch.Tensor] = {}
    for style, weight in part.styles:
        statistics = style_statistics(
            setting.network,
            style,
            layers,
            with_means=with_means,
            tile_side=piece_side(style.image, setting.content, setting.tile_side),
            cache=setting.cache,
        )
        for layer, statistic in statistics.items():
            weighed = statistic * (weight / total)
            mixed[layer] = mixed[layer] + weighed if layer in mixed else weighed
    return mixed
