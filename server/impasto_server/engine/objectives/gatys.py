"""The objective "gatys": Gatys, Ecker, Bethge 2016 (Image Style Transfer Using Convolutional Neural
Networks), equations 1 to 7. Painting from coarse to fine is from Gatys et al. 2017, section 6."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from impasto_server.engine.objectives.definition import Definition, evenly

if TYPE_CHECKING:
    import torch

    from impasto_server.engine.objectives.objective import Setting, Terms

# Section 3.
CONTENT_LAYERS = evenly("relu4_2")
STYLE_LAYERS = evenly("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def terms(setting: Setting) -> Generator[float, None, Terms]:
    """Makes the terms: content Σ_l w_l ½ Σ (F − P)² (eq. 1); style Σ_l w_l 1/(4 C²) Σ (G/N − Ĝ)² (eq. 4).

    F and P are the features of the image and of the content (C channels, N positions), G = F Fᵀ, Ĝ is the
    style's Gram matrix divided by its own number of positions, w_l is a layer's share. Eq. 4 has N in its
    first factor, because its images are of one size.
    """
    from impasto_server.engine.objectives.objective import Terms
    from impasto_server.engine.objectives.terms import content_terms, gram_terms, mean_shares

    yield from ()
    content, style = map(mean_shares, setting.recipe.compared_layers)
    return Terms(
        content_terms(setting, content, lambda _: 0.5),
        gram_terms(setting, style, _quarter),
    )


def _quarter(target: torch.Tensor, positions: int) -> torch.Tensor:
    return target.new_tensor(1 / (4 * len(target) ** 2))


DEFINITION = Definition(
    name="gatys",
    terms=terms,
    content_layers=CONTENT_LAYERS,
    style_layers=STYLE_LAYERS,
    defaults={"content_weight": 1.0, "style_weight": 1e7},
)
