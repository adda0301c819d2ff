"""The recipes of `--compare`."""

from __future__ import annotations

import pytest

from impasto_server.bench.compared_recipes import compared_recipes
from impasto_server.engine.recipe import FIELDS, Recipe, RecipeError


def recipes(text: str) -> dict[str, Recipe]:
    return {named.name: named.recipe for named in compared_recipes(text, effort="draft", longest_side=64)}


def test_recipes_are_separated_by_commas() -> None:
    assert recipes("balanced,gatys, wasserstein") == {
        "balanced": Recipe(objective="balanced", effort="draft", longest_side=64),
        "gatys": Recipe(objective="gatys", effort="draft", longest_side=64),
        "wasserstein": Recipe(objective="wasserstein", effort="draft", longest_side=64),
    }


def test_fields_follow_after_colons() -> None:
    (recipe,) = recipes("balanced:effort=fine:style_scale=2 : tv_weight=1e-3:color=matched").values()
    assert recipe == Recipe(
        objective="balanced",
        effort="fine",
        style_scale=2.0,
        tv_weight=1e-3,
        color="matched",
        longest_side=64,
    )


def test_every_kind_of_field_can_be_set() -> None:
    text = "gatys:seed=7:stop_on_plateau=no:start=noise:content_weight=0.5:evaluations=9"
    (recipe,) = recipes(text + ":style_layers=relu1_1=0.25:style_layers=relu2_1").values()
    assert recipe == Recipe(
        objective="gatys",
        seed=7,
        stop_on_plateau=False,
        start="noise",
        content_weight=0.5,
        evaluations=9,
        style_layers=(("relu1_1", 0.25), ("relu2_1", 1.0)),
        longest_side=64,
    )


def test_the_same_objective_can_be_compared_with_other_fields() -> None:
    assert list(recipes("balanced,balanced:content_weight=2")) == ["balanced", "balanced:content_weight=2"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("balanced,blotchy", "'blotchy' is not a recipe; give one of balanced, gatys"),
        ("", "'' is not a recipe; give one of balanced"),
        ("balanced,", "'' is not a recipe; give one of"),
        (
            "balanced:contrast=2",
            "balanced:contrast=2: contrast is not a field that can be set here; give .*style_scale",
        ),
        ("balanced:objective=gatys", "objective is not a field that can be set here"),
        ("balanced:longest_side=99", "longest_side is the same for the whole sheet; use --size"),
        ("balanced:effort", "balanced:effort contains 'effort'; give a field as NAME=VALUE"),
        ("balanced:", "contains ''; give a field as NAME=VALUE"),
        ("balanced:effort=much", "effort is 'much'; give one of draft, standard, fine"),
        ("balanced:style_scale=9", "balanced:style_scale=9: style_scale is 9; give 0.1 to 4"),
        ("balanced:style_scale=nan", "style_scale is nan; give a finite number: 0.1 to 4"),
        ("balanced:style_scale=big", "style_scale is 'big'; give a number, 0.1 to 4"),
        ("balanced:style_scale=", "style_scale is ''; give a number"),
        ("balanced:evaluations=2.5", "evaluations is '2.5'; give a whole number, 1 to 100000"),
        ("balanced:stop_on_plateau=maybe", "stop_on_plateau is 'maybe'; give yes or no"),
        ("balanced:start=image", "start is 'image', which needs a file; give content or noise"),
        ("balanced:seed=1:seed=2", "seed is given twice"),
        ("balanced:style_layers=relu9_9", r"style_layers\[0\].layer is 'relu9_9'; give one of relu1_1"),
        ("balanced:style_layers=relu1_1=much", "style_layers has the share 'much'"),
        ("balanced:effort=draft:evaluations=5", "effort cannot be combined with a number of evaluations"),
        ("report:style_scale=2", "style_scale is fixed by the objective report"),
        ("gatys,balanced,gatys", "gatys is the same recipe as gatys; give each recipe once"),
        ("gatys,gatys:effort=draft", "gatys:effort=draft is the same recipe as gatys"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_allowed_values(text: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipes(text)


def test_an_unknown_field_is_refused_with_all_known_fields() -> None:
    with pytest.raises(RecipeError) as caught:
        recipes("balanced:x=1")
    for about in FIELDS:
        assert (about.name in caught.value.remedy) == (about.name not in ("objective", "longest_side"))
