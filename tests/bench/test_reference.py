"""The recorded final loss of the report's program."""

from __future__ import annotations

import pytest

from impasto_server.bench.pictures import demo_content, demo_style
from impasto_server.bench.reference import recorded_reference
from impasto_server.engine import Network, Recipe, Scene, Session, Style, load_weights


def test_the_recorded_reference_has_the_weights_and_pictures_of_the_bench() -> None:
    reference = recorded_reference()
    weights = load_weights("builtin")
    assert reference.weights_sha256 == weights.sha256
    assert reference.content_sha256 == demo_content().sha256
    assert reference.style_sha256 == demo_style().sha256
    assert max(reference.width, reference.height) == 400
    assert reference.steps == 2000
    assert sorted(map(int, reference.losses)) == list(range(0, 2001, 100))
    assert reference.precision == "float32"


@pytest.mark.slow
def test_the_recorded_reference_starts_with_the_loss_of_the_engine() -> None:
    """The whole run takes half an hour, but its first loss only a second."""
    reference = recorded_reference()
    session = Session(
        Recipe(objective="report", evaluations=1),
        Scene(content=demo_content().image, styles=[Style(demo_style().image)]),
        Network(load_weights("builtin")),
    )
    assert session.size == (reference.width, reference.height)
    assert session.step().loss == pytest.approx(reference.losses["0"], rel=1e-3)
