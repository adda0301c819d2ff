"""The objective "report": the formula of the course report's program, to the letter. A test compares it with
a transcription of that program."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from impasto_server.engine.objectives.definition import Definition, evenly

if TYPE_CHECKING:
    import torch

    from impasto_server.engine.objectives.objective import Setting, Terms

# The program keeps every layer after its ReLU, because torchvision's ReLUs work in place.
LAYERS = evenly("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def terms(setting: Setting) -> Generator[float, None, Terms]:
    """Makes the terms: content Σ_l mean((F − P)²); style Σ_l mean((F Fᵀ − S Sᵀ)²) / (C N).

    F, P and S are the features of the image, of the content and of the style (C channels, N positions).
    """
    from impasto_server.engine.objectives.objective import Terms
    from impasto_server.engine.objectives.terms import content_terms, gram_terms

    yield from ()
    return Terms(
        content_terms(setting, LAYERS, lambda target: 1 / target.numel()),
        gram_terms(setting, LAYERS, _mean_over_positions),
    )


def _mean_over_positions(target: torch.Tensor, positions: int) -> torch.Tensor:
    # mean((G − N Ĝ)²) / (C N) = N² / (C² · C N) Σ (G/N − Ĝ)²; style and image are of one size.
    return target.new_tensor(positions / len(target) ** 3)


DEFINITION = Definition(
    name="report",
    terms=terms,
    content_layers=LAYERS,
    style_layers=LAYERS,
    defaults={
        "content_weight": 1.0,
        "style_weight": 100.0,
        "optimizer": "adam",
        "learning_rate": 0.003,
        "evaluations": {"draft": 500, "standard": 2000, "fine": 5000},
        "longest_side": 400,
        "precision": "float32",
        "averaging": 0.0,
        "stop_on_plateau": False,
    },
    fixed=frozenset({"style_scale", "content_layers", "style_layers"}),
    needs_content=True,
    coarsest=None,
    margin=0,
    style_as_content=True,
)
