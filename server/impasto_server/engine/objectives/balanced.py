"""The objective "balanced": every term is a relative error, so that a weight means the same at every size and
for every network."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from impasto_server.engine.objectives.definition import Definition, evenly

if TYPE_CHECKING:
    import torch

    from impasto_server.engine.objectives.objective import Setting, Terms

CONTENT_LAYERS = evenly("relu4_2")
STYLE_LAYERS = evenly("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def terms(setting: Setting) -> Generator[float, None, Terms]:
    """Makes the terms: content Σ_l w_l mean((F − P)²) / mean(P²); style Σ_l w_l mean((G/N − Ĝ)²) / mean(Ĝ²).

    F and P are the features of the image and of the content, G = F Fᵀ is over the N positions of the image,
    Ĝ is the style's Gram matrix divided by its own number of positions, w_l is a layer's share.
    """
    from impasto_server.engine.objectives.objective import Terms
    from impasto_server.engine.objectives.terms import content_terms, gram_terms, mean_shares, relative

    yield from ()
    content, style = map(mean_shares, setting.recipe.compared_layers)
    return Terms(
        content_terms(setting, content, relative),
        gram_terms(setting, style, _relative),
    )


def _relative(target: torch.Tensor, positions: int) -> torch.Tensor:
    return 1 / target.square().sum().clamp_min(1e-12)


DEFINITION = Definition(
    name="balanced",
    terms=terms,
    content_layers=CONTENT_LAYERS,
    style_layers=STYLE_LAYERS,
    # Gram matrices capture strokes well but colours badly.
    match_palette=True,
    style_crop=0.025,
)
