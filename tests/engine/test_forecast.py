"""Forecasts of the time that a painting takes."""

from __future__ import annotations

import dataclasses
import math

import pytest
from PIL import Image

from impasto_server.engine import Network, Recipe, Scene, Session, Style
from impasto_server.engine.canvas import painted_box, resized_box
from impasto_server.engine.forecast import Paces, Sizes, Speed, Work, measured_speeds, works
from impasto_server.engine.scales import plan_scales
from support.random_networks import picture

SPEEDS = {"float32": Speed(0.0, 1e-9), "bfloat16": Speed(0.0, 0.5e-9)}
WORK = Work("balanced", "float32", 256 * 256, 1e9, times=3)


def all_works(recipe: Recipe, size: tuple[int, int] = (256, 192)) -> list[Work]:
    recipe = dataclasses.replace(recipe.resolve(*size), precision=recipe.precision or "float32")
    scales = plan_scales(recipe, size)
    return works(recipe, scales, [None] * len(scales), Sizes(size, size, [(300, 200)]), "vgg16")


def test_seconds_are_counted_from_the_operations() -> None:
    assert Paces(SPEEDS).seconds([WORK]) == 3.0
    assert Paces(SPEEDS).seconds([dataclasses.replace(WORK, precision="bfloat16")]) == 1.5
    assert Paces({"float32": Speed(0.5, 1e-9)}).seconds([WORK]) == 4.5


def test_what_really_happened_corrects_the_next_forecast() -> None:
    paces = Paces(SPEEDS)
    paces.note(WORK, 6.0)
    assert paces.seconds([WORK]) == pytest.approx(6.0)
    assert paces.seconds([dataclasses.replace(WORK, times=1)]) == pytest.approx(2.0)
    # The newest measurement counts half.
    paces.note(WORK, 24.0)
    assert paces.seconds([WORK]) == pytest.approx(12.0)


def test_the_correction_of_the_most_similar_size_counts() -> None:
    paces = Paces(SPEEDS)
    paces.note(dataclasses.replace(WORK, pixels=64 * 64), 12.0)
    paces.note(dataclasses.replace(WORK, pixels=512 * 512), 6.0)
    assert paces.seconds([dataclasses.replace(WORK, pixels=100 * 100)]) == pytest.approx(12.0)
    assert paces.seconds([dataclasses.replace(WORK, pixels=4096 * 4096)]) == pytest.approx(6.0)


def test_other_work_corrects_work_that_was_never_done() -> None:
    paces = Paces(SPEEDS)
    paces.note(WORK, 6.0)
    assert paces.seconds([dataclasses.replace(WORK, kind="gatys")]) == pytest.approx(6.0)


def test_a_device_without_an_arithmetic_has_no_forecast_for_it() -> None:
    speeds = {"float32": SPEEDS["float32"], "bfloat16": Speed(0.0, math.inf)}
    paces, unknown = Paces(speeds), dataclasses.replace(WORK, precision="bfloat16")
    assert paces.seconds([unknown]) == math.inf
    paces.note(unknown, 2.0)
    assert paces.seconds([unknown]) == math.inf
    assert paces.seconds([WORK]) == 3.0


def test_more_work_takes_longer() -> None:
    paces = Paces(SPEEDS)

    def seconds(size: tuple[int, int] = (256, 192), **fields: object) -> float:
        return paces.seconds(all_works(Recipe(longest_side=max(size), **fields), size))  # type: ignore[arg-type]

    assert seconds(effort="draft") < seconds() < seconds(effort="fine")
    assert seconds() < seconds((512, 384))
    assert seconds(precision="bfloat16") < seconds(precision="float32")
    assert seconds(objective="balanced", evaluations=80) < seconds(objective="wasserstein", evaluations=80)


def test_tiles_cost_what_they_overlap_and_a_first_pass() -> None:
    size = 512, 512
    for objective, factor in (("neighbours", 1.0), ("balanced", 1.5)):
        recipe = Recipe(objective=objective, precision="float32", longest_side=512).resolve(*size)  # type: ignore[arg-type]
        scales = plan_scales(recipe, size)[-1:]
        sizes = Sizes(size, size, [size])
        whole, tiled = (works(recipe, scales, [side], sizes, "vgg16")[1] for side in (None, 256))
        assert tiled.operations > 1.2 * factor * whole.operations


def test_the_network_is_measured(network: Network) -> None:
    speeds = measured_speeds(network, {"float32": 1.0, "bfloat16": 4.0})
    assert speeds["bfloat16"].pace == pytest.approx(4 * speeds["float32"].pace)
    assert 0 < speeds["float32"].pace < 1e-6
    assert speeds["float32"].overhead >= 0


def test_a_painting_tells_how_long_its_work_took(network: Network) -> None:
    paces = Paces(SPEEDS)
    recipe = Recipe(precision="float32", evaluations=9, longest_side=140)
    scene = Scene(content=picture(140, 100), styles=[Style(picture(90, 120, 1))])
    session = Session(recipe, scene, network, paces=paces)
    *_, progress = session
    scales = plan_scales(session.recipe, session.size)
    work = works(
        session.recipe, scales, [None] * len(scales), scene.sizes(scene.canvas(session.recipe)), "vgg16"
    )
    # Some time is spent between the pieces of work.
    assert 0.5 * progress.seconds < paces.seconds(work) <= progress.seconds


@pytest.mark.parametrize("size", [(200, 150), (640, 480), (100, 700), (333, 77)])
def test_the_box_of_a_resized_selection_is_that_of_the_mask(size: tuple[int, int]) -> None:
    full = 320, 240
    mask = Image.new("L", size)
    box = size[0] // 5, size[1] // 3, size[0] // 5 + 13, size[1] // 3 + 21
    mask.paste(255, box)
    assert resized_box(box, size, full) == mask.resize(full, Image.Resampling.BOX).getbbox()


def test_the_painted_box_stays_within_the_picture() -> None:
    left, top, right, bottom = painted_box((0, 100, 10, 110), (320, 240))
    assert (left, right > 10) == (0, True)
    assert 0 <= top < 100 < 110 < bottom <= 240
