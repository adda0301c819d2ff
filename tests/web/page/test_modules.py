"""The page's modules against what they repeat from elsewhere."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest

from impasto.hosts import choices
from support.browser import PageServer

OpenPage = Callable[..., Any]


def test_the_settings_are_those_of_the_plugins(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    found = page.evaluate(
        "import(new URL('js/settings.js', document.baseURI)).then((module) => ({ ...module }))"
    )
    default = choices.Choices()
    assert found["DEFAULTS"] == {
        "strength": default.strength,
        "effort": default.effort.upper(),
        "evaluations": default.evaluations,
        "color": default.color.upper(),
        "size": 0,
        "strokeSize": default.stroke_size,
        "seed": default.seed,
        "objective": "NEIGHBOURS",
    }
    assert found["LARGEST_OWN_SIZE"] == default.size
    # The plugins paint parts of a picture, which are small by themselves; photographs may be painted smaller.
    assert tuple(found["SIZES"]) == (256, *choices.SIZES)
    assert tuple(found["STROKE_SIZES"]) == choices.STROKE_SIZES
    assert found["MOST_EVALUATIONS"] == choices.MOST_EVALUATIONS
    assert found["LARGEST_SEED"] == choices.seed_range(2**40)[1]


@pytest.mark.parametrize("strength", [0, 1, 37, 50, 99, 100])
def test_a_strength_is_the_content_weight_of_the_plugins(
    server: PageServer, open_page: OpenPage, strength: int
) -> None:
    page = open_page(server.url)
    weight, back = page.evaluate(
        """(strength) => import(new URL("js/settings.js", document.baseURI)).then(
            ({ contentWeight, choicesOf }) => {
                const weight = contentWeight(strength);
                return [weight, choicesOf({ contentWeight: weight }).strength];
            })""",
        strength,
    )
    assert weight == pytest.approx(choices.Choices(strength=strength).content_weight, rel=1e-3)
    assert back == strength


def test_sha256_without_the_browsers_own(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    for length in (0, 1, 55, 56, 64, 1000, 70_000):
        data = random.Random(length).randbytes(length)
        found = page.evaluate(
            """(data) => import(new URL("js/sha256.js", document.baseURI)).then(
                ({ sha256 }) => sha256(Uint8Array.from(data)))""",
            list(data),
        )
        assert found == hashlib.sha256(data).hexdigest()
