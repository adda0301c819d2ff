"""Changes of a recipe while the job is painted."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from impasto_server.engine.recipe import FIELDS, Recipe, RecipeError, recipe_from_dict, updated

OTHERS = {"objective": "gatys", "longest_side": 32, "start": "noise", "seed": 7, "style_scale": 2.0}
RECIPE = Recipe(objective="balanced").resolve(64, 48)


@pytest.mark.parametrize("name", [field.name for field in FIELDS if not field.steerable])
def test_a_field_that_cannot_be_steered_is_refused(name: str) -> None:
    update = dataclasses.replace(RECIPE, **{name: OTHERS[name]})
    with pytest.raises(RecipeError, match=f"{name} cannot change while the job is painted"):
        updated(RECIPE, update, (64, 48), texture=False)


STEERED = Recipe(
    objective="balanced",
    content_weight=2.0,
    style_weight=3.0,
    tv_weight=1.0,
    optimizer="adam",
    learning_rate=0.5,
    evaluations=9,
    precision="float32",
    color="matched",
    content_layers=(("relu4_1", 1.0),),
    style_layers=(("relu1_1", 1.0),),
    averaging=0.5,
    stop_on_plateau=False,
).resolve(64, 48)


@pytest.mark.parametrize("name", [field.name for field in FIELDS if field.steerable])
def test_a_field_that_can_be_steered_is_changed(name: str) -> None:
    update = dataclasses.replace(RECIPE, **{name: getattr(STEERED, name)})
    assert name == "effort" or update != RECIPE
    if name == "averaging":
        update = dataclasses.replace(update, optimizer="adam")
    assert updated(RECIPE, update, (64, 48), texture=False) == update


def test_a_recipe_is_unchanged_after_a_checkpoint() -> None:
    kept = dataclasses.asdict(STEERED)
    kept["style_layers"] = [list(share) for share in kept["style_layers"]]
    assert recipe_from_dict(kept) == STEERED


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ((("relu1_1", 1.0),) * 2, "name a layer twice"),
        ((("relu1_1", 1.0),) * 1000, "has 1000 layers; give at most"),
        ((("x" * 1000, 1.0),), f"is '{'x' * 60}…'; give one of relu1_1"),
    ],
)
def test_wrong_layers_are_refused_with_a_short_sentence(layers: Any, told: str) -> None:
    with pytest.raises(RecipeError) as refused:
        Recipe(style_layers=layers)
    assert told in refused.value.remedy
    assert len(refused.value.remedy) < 500
