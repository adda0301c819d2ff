"""The objective "wasserstein": like "balanced", but the style loss compares the means and covariances of the
features, as those of normal distributions, by the Wasserstein-2 distance."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from impasto_server.engine.objectives.balanced import CONTENT_LAYERS, STYLE_LAYERS
from impasto_server.engine.objectives.definition import Definition

if TYPE_CHECKING:
    import torch

    from impasto_server.engine.objectives.objective import Setting, Terms


def terms(setting: Setting) -> Generator[float, None, Terms]:
    """Makes the terms: content as in "balanced"; style Σ_l w_l W₂² / (|μ̂|² + tr Σ̂).

    w_l is a layer's share, μ̂ and Σ̂ are the mean and the covariance of the style's features.
    """
    from impasto_server.engine.objectives.objective import Terms
    from impasto_server.engine.objectives.terms import content_terms, mean_shares, relative, wasserstein_terms

    yield from ()
    content, style = map(mean_shares, setting.recipe.compared_layers)
    return Terms(
        content_terms(setting, content, relative),
        wasserstein_terms(setting, style, _relative),
    )


def _relative(target: torch.Tensor, positions: int) -> torch.Tensor:
    # The trace of the mean outer product is |μ̂|² + tr Σ̂.
    return 1 / target[1:].trace().clamp_min(1e-12)


DEFINITION = Definition(
    name="wasserstein",
    terms=terms,
    content_layers=CONTENT_LAYERS,
    style_layers=STYLE_LAYERS,
    match_palette=True,
    style_crop=0.025,
)
