"""The controller's parts that need no service: sizes, choices, storage, words."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.hosts import (
    Choices,
    FolderStorage,
    Recent,
    StyleItem,
    StyleShare,
    plan,
    seed_range,
    setting,
    settings,
    words,
)
from impasto.hosts.choices import MIDDLE_CONTENT_WEIGHT, STEERABLE, from_json
from impasto.hosts.memory import Memory
from impasto.hosts.settings import check_choices
from impasto.hosts.shares import shares_from_json
from impasto.recipe import FIELDS
from impasto_server.engine.recipe import FIELD, Recipe

SIDES = st.integers(1, 20_000)


@given(SIDES, SIDES, st.integers(16, 4096), st.none() | st.integers(16, 4096))
def test_a_size_keeps_the_proportions_and_the_limits(
    width: int, height: int, longest: int, most: int | None
) -> None:
    limit = min(longest, most or longest)
    if min(width, height) < 16 or round(min(width, height) * min(1, limit / max(width, height))) < 16:
        with pytest.raises(ValueError, match="too few"):
            plan(width, height, longest, most=most)
        return
    size = plan(width, height, longest, most=most)
    assert 16 <= size.painted_width <= width
    assert 16 <= size.painted_height <= height
    assert 16 <= size.longest_side <= limit
    assert size.longest_side == min(limit, max(width, height))
    assert abs(size.painted_width * height - size.painted_height * width) <= max(width, height)
    assert size.enlarged == (max(width, height) > limit)


def test_a_narrow_part_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="on each side"):
        plan(9000, 15, 1024)
    with pytest.raises(ValueError, match=r"512 px are too few .* at least 600 px"):
        plan(1200, 32, 512)
    assert min(plan(1200, 32, 600).painted_width, plan(1200, 32, 600).painted_height) == 16
    with pytest.raises(ValueError, match="less narrow"):
        plan(1200, 32, 512, most=599)
    with pytest.raises(ValueError, match="less narrow"):
        plan(20_000, 17, 1024)


def test_a_size_has_a_sentence() -> None:
    assert plan(800, 600, 1024).sentence == "Will be painted at 800 × 600."
    assert plan(8000, 6000, 1024).sentence == "Will be painted at 1024 × 768, enlarged to 8000 × 6000."


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


def test_every_choice_has_a_setting_with_its_texts() -> None:
    assert sorted(each.name for each in settings()) == sorted(field.name for field in fields(Choices))
    for each in settings():
        assert each.label[0].isupper()
        assert not {":", "&", "_"} & set(each.label)
        assert each.tip.endswith(".")
        assert each.kind in ("slider", "number", "choice", "size", "seed")
        assert each.steerable == (each.name in STEERABLE)
        default = getattr(Choices(), each.name)
        if each.kind == "choice":
            assert default in [word.value for word in each.words]
            assert all(word.label and word.tip for word in each.words)
        else:
            assert each.least <= default <= each.most
        assert setting(each.name) == each
    assert [word.value for word in setting("effort").words] == list(FIELD["effort"].words)
    assert [word.value for word in setting("color").words] == list(FIELD["color"].words)
    with pytest.raises(KeyError):
        setting("longest_side")
    check_choices(Choices())


def test_steerable_choices_are_the_contracts() -> None:
    steered = Choices(
        strength=1, effort="fine", evaluations=3, color="matched", size=99, stroke_size=40, seed=3
    ).steering(Choices())
    assert set(steered) == {"content_weight", "effort", "evaluations", "color"}
    for name in set(Choices().settings()) - set(steered):
        assert not FIELDS[name].steerable


def test_evaluations_replace_the_effort() -> None:
    assert Choices(effort="fine").settings()["evaluations"] is None
    by_number = Choices(effort="fine", evaluations=30)
    assert (by_number.settings()["effort"], by_number.settings()["evaluations"]) == (None, 30)
    assert by_number.steering(Choices(effort="fine")) == {"effort": None, "evaluations": 30}
    assert Choices(effort="draft").steering(by_number) == {"effort": "draft", "evaluations": None}


def test_what_older_plugins_stored_gets_the_defaults() -> None:
    storage = FolderStorage(Path("unused"))
    kept = {
        "recents.json": [{"style": {"key": "styles/a", "title": "A"}, "choices": {"strength": 60}}],
        "jobs.json": [
            {
                "id": "1" * 32,
                "address": "studio:50051",
                "name": "jobs/1",
                "title": "A on flower.kra [11111111]",
                "style": {"key": "styles/a", "title": "A"},
                "choices": {"longest_side": 640},
            }
        ],
    }
    storage.read = lambda key: json.dumps(kept.get(key)).encode()  # type: ignore[method-assign]
    memory = Memory(storage)
    styles = (StyleShare(StyleItem("styles/a", "A")),)
    assert memory.recents == [Recent(styles, Choices(strength=60))]
    (job,) = memory.jobs
    assert (job.styles, job.choices, job.bits, job.texture) == (styles, Choices(size=640), 8, False)
    assert job.label == "A on flower.kra"


@pytest.mark.parametrize(
    ("stored", "share"), [(1, 1), (1000, 1000), (0, 100), (1001, 100), (True, 100), ("5", 100), (None, 100)]
)
def test_a_stored_share_that_is_out_of_range_gets_the_default(stored: object, share: int) -> None:
    (read,) = shares_from_json({"styles": [{"key": "styles/a", "title": "A", "share": stored}]})
    assert read.share == share


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
