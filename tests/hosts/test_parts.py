"""The controller's parts that need no service: sizes, choices, storage, words."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.hosts import (
    COLORS,
    EFFORTS,
    Choices,
    FolderStorage,
    labelled,
    plan,
    seed_range,
    words,
)
from impasto.hosts.choices import MIDDLE_CONTENT_WEIGHT, from_json
from impasto.recipe import FIELDS
from impasto_server.engine.recipe import FIELD, Recipe

SIDES = st.integers(1, 20_000)


@given(SIDES, SIDES, st.integers(16, 4096), st.none() | st.integers(16, 4096))
def test_a_size_keeps_the_proportions_and_the_limits(
    width: int, height: int, longest: int, most: int | None
) -> None:
    if max(width, height) < 16:
        with pytest.raises(ValueError, match="too few"):
            plan(width, height, longest, most=most)
        return
    size = plan(width, height, longest, most=most)
    limit = min(longest, most or longest)
    assert 1 <= size.painted_width <= width
    assert 1 <= size.painted_height <= height
    assert 16 <= size.longest_side <= limit
    assert size.longest_side == min(limit, max(width, height))
    assert abs(size.painted_width * height - size.painted_height * width) <= max(width, height)
    assert size.enlarged == (max(width, height) > limit)


def test_a_size_has_a_sentence() -> None:
    assert plan(800, 600, 1024).sentence == "Painted at 800 × 600."
    assert plan(8000, 6000, 1024).sentence == "Painted at 1024 × 768, enlarged to 8000 × 6000."


def test_the_middle_strength_is_the_servers_own_default() -> None:
    assert Choices(strength=50).content_weight == MIDDLE_CONTENT_WEIGHT
    assert Recipe().resolve(64, 64).content_weight == MIDDLE_CONTENT_WEIGHT


def test_more_strength_means_less_content_weight() -> None:
    weights = [Choices(strength=strength).content_weight for strength in range(101)]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] == pytest.approx(8 * MIDDLE_CONTENT_WEIGHT, rel=1e-3)
    assert weights[100] == pytest.approx(MIDDLE_CONTENT_WEIGHT / 8, rel=1e-3)


def test_only_what_changed_is_steered() -> None:
    assert Choices().steering(Choices()) == {}
    assert Choices(seed=4, size=99).steering(Choices()) == {}
    assert Choices(effort="fine", strength=0).steering(Choices()) == {
        "content_weight": pytest.approx(8 * MIDDLE_CONTENT_WEIGHT, rel=1e-3),
        "effort": "fine",
    }


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "strength",
                "effort",
                "evaluations",
                "color",
                "size",
                "stroke_size",
                "longest_side",
                "seed",
                "other",
            ]
        ),
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    )
    | st.none()
    | st.lists(st.integers())
)
def test_stored_choices_are_always_valid(values: object) -> None:
    choices = from_json(values)
    assert 0 <= choices.strength <= 100
    assert 0 <= choices.seed < 2**32
    assert choices.settings()
    for name, value in {**choices.settings(), "size": choices.size}.items():
        assert value is None or FIELDS[name].fault(value) is None


def test_the_size_that_an_older_plugin_kept_is_used() -> None:
    assert from_json({"longest_side": 640}).size == 640
    assert from_json({"longest_side": 640, "size": 768}).size == 768


def test_each_effort_and_colour_has_a_label_and_a_meaning() -> None:
    assert [word for word, _, _ in labelled(EFFORTS)] == list(FIELD["effort"].words)
    assert [word for word, _, _ in labelled(COLORS)] == list(FIELD["color"].words)
    for _, label, meaning in [*labelled(EFFORTS), *labelled(COLORS)]:
        assert label
        assert meaning
    assert labelled(["new"]) == [("new", "New", "")]


def test_the_seed_fits_the_widget_and_the_server() -> None:
    assert seed_range(2**31 - 1) == (0, 2**31 - 1)
    assert seed_range(2**40) == (0, 2**32 - 1)


def test_only_the_user_can_read_the_stored_files(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "impasto")
    assert storage.read("server.json") is None
    storage.remove("server.json")
    storage.write("server.json", b"token")
    storage.write("styles/abc", b"style")
    assert (storage.read("server.json"), storage.read("styles/abc")) == (b"token", b"style")
    for path in (tmp_path / "impasto").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert stat.S_IMODE((tmp_path / "impasto").stat().st_mode) == 0o700
    storage.remove("styles/abc")
    assert storage.read("styles/abc") is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (59.5, "60 s"), (89, "89 s"), (95, "about 2 min"), (7200, "about 2 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


def test_importing_impasto_hosts_needs_only_python() -> None:
    program = (
        "import sys, impasto.hosts\n"
        "found = [m for m in ('grpc', 'google.protobuf', 'numpy', 'PIL', 'PyQt5', 'gi', 'torch')"
        " if m in sys.modules]\n"
        "sys.exit(' '.join(found) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
