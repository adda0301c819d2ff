"""The objective "neighbours": every place of the picture should look like the most similar place of a
painting (Kolkin, Kucera, Paris, Sýkora, Shechtman, Shakhnarovich 2022: Neural Neighbor Style Transfer, arXiv
2203.13215)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from impasto_server.engine.objectives.definition import Definition, evenly

if TYPE_CHECKING:
    from impasto_server.engine.objectives.objective import Setting, Terms

LAYERS = (
    *("relu1_1", "relu1_2", "relu2_1", "relu2_2"),
    *("relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2", "relu4_3"),
)
HALF_WEIGHT = 0.15
"""Content weight at which the search looks for an equal mixture of the content and the picture so far."""

TARGET_VALUES = 250
"""Values in memory for each pixel: 2,688 in a place's target for 16 pixels, and those of the search."""


def terms(setting: Setting) -> Generator[float, None, Terms]:
    """Makes the term: the mean of 1 − cos(t_i, φ_i) over all places i.

    φ_i is the picture's hypercolumn, and t_i is the direction of the painting's hypercolumn that is nearest
    to (1 − a) φ(start) + a φ(content). There is no content term: a = w / (w + `HALF_WEIGHT`), where w is the
    content's weight. At the coarsest scale, a = 1 unless w = 0.

    In the last pass, each layer finds its own nearest place for the picture alone (a = 0), and the loss is
    also a mean over the layers ("feature splitting", section 4 of the paper). This makes strokes crisp and
    removes noise that a mean over a whole place does not see.
    """
    from impasto_server.engine.neighbours import neighbour_terms

    return (yield from neighbour_terms(setting))


DEFINITION = Definition(
    name="neighbours",
    terms=terms,
    content_layers=(),
    style_layers=evenly(*LAYERS),
    fixed=frozenset({"content_layers", "style_layers"}),
    coarsest=64,
    # Cosines preserve brightness and saturation badly. A share of 1 would make the picture dull.
    match_palette=True,
    palette_share=0.7,
    style_crop=0.025,
    target_values=TARGET_VALUES,
    kept_by=frozenset({"content_weight", "color", "precision"}),
    finer_share=0.75,
    finishing_share=0.6,
    # A mean over a place's pixels does not see noise within the place, which would grow with each evaluation.
    defaults={"tv_weight": 0.005, "evaluations": {"draft": 40, "standard": 80, "fine": 250}},
)
