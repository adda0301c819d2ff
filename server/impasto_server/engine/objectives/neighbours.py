"""The objective "neighbours": every place of the picture is to look like the place of a painting that is
nearest to it (Kolkin, Kucera, Paris, Sýkora, Shechtman, Shakhnarovich 2022: Neural Neighbor Style Transfer,
arXiv 2203.13215)."""

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
"""Content weight at which what is looked for is half the content's and half the picture's so far."""

TARGET_VALUES = 250
"""Values held for each pixel: 2,688 of a place's target for 16 pixels, and what is searched."""


def terms(setting: Setting) -> Generator[float, None, Terms]:
    """The mean over all places i of 1 − cos(t_i, φ_i), φ_i the picture's hypercolumn and t_i the direction of
    the painting's hypercolumn that is nearest to (1 − a) φ(start) + a φ(content). There is no content term:
    a = w / (w + `HALF_WEIGHT`), w the content's weight; at the coarsest size a = 1.

    In the last pass each layer finds its own nearest place, of the picture alone (a = 0), and the loss is the
    mean over the layers, too ("feature splitting", section 4 of the paper): strokes get crisp, and noise that
    the mean over a place does not see goes."""
    from impasto_server.engine.neighbours import neighbour_terms

    return (yield from neighbour_terms(setting))


DEFINITION = Definition(
    name="neighbours",
    terms=terms,
    content_layers=(),
    style_layers=evenly(*LAYERS),
    fixed=frozenset({"content_layers", "style_layers"}),
    coarsest=64,
    # Cosines hold brightness and saturation badly. All the way back would dull the picture.
    match_palette=True,
    palette_share=0.7,
    style_crop=0.025,
    target_values=TARGET_VALUES,
    kept_by=frozenset({"content_weight", "color", "precision"}),
    finer_share=0.75,
    finishing_share=0.6,
    # Means over a place's pixels do not see noise within it, which would grow with every evaluation.
    defaults={"tv_weight": 0.005, "evaluations": {"draft": 40, "standard": 80, "fine": 250}},
)
