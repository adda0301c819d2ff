from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.recipes import recipe_faults, recipe_from_proto, recipe_to_proto
from impasto_server.engine import recipe as ranges
from impasto_server.engine.objectives import OBJECTIVES
from impasto_server.engine.recipe import Recipe, RecipeError

layers = st.lists(
    st.tuples(
        st.sampled_from(["relu1_1", "relu2_2", "relu3_4", "relu4_2", "relu5_1"]), st.floats(1e-9, 1e12)
    ),
    unique_by=lambda share: share[0],
).map(tuple)

any_objective: dict[str, st.SearchStrategy[Any]] = {
    "content_weight": st.none() | st.floats(1e-9, 1e12),
    "style_weight": st.none() | st.floats(0, 1e12),
    "tv_weight": st.floats(0, 1e12),
    "optimizer": st.none() | st.sampled_from(get_args(ranges.OptimizerName)),
    "learning_rate": st.none() | st.floats(1e-9, 100),
    "evaluations": st.none() | st.integers(1, ranges.MAX_EVALUATIONS),
    "longest_side": st.none() | st.integers(ranges.MIN_SIDE, ranges.MAX_LONGEST_SIDE),
    "start": st.none() | st.sampled_from(get_args(ranges.Start)),
    "seed": st.integers(0, 2**32 - 1),
    "precision": st.none() | st.sampled_from(get_args(ranges.Precision)),
    "color": st.sampled_from(get_args(ranges.Color)),
    "averaging": st.none() | st.floats(0, 0.9999),
    "stop_on_plateau": st.none() | st.booleans(),
}
some_objectives: dict[str, st.SearchStrategy[Any]] = {
    "style_scale": st.floats(0.1, 4),
    "content_layers": layers,
    "style_layers": layers,
}


def recipes_of(objective: str) -> st.SearchStrategy[Recipe]:
    free = {
        name: values for name, values in some_objectives.items() if name not in OBJECTIVES[objective].fixed
    }
    return st.builds(Recipe, objective=st.just(objective), **any_objective, **free)


recipes = st.sampled_from(list(OBJECTIVES)).flatmap(recipes_of)


@given(recipes)
def test_a_recipe_is_unchanged_after_a_round_trip(recipe: Recipe) -> None:
    message = pb.Recipe.FromString(recipe_to_proto(recipe).SerializeToString())
    assert recipe_from_proto(message) == recipe
    assert recipe_faults(message) == []


@given(st.sampled_from(get_args(ranges.Effort)))
def test_effort_is_unchanged_after_a_round_trip(effort: ranges.Effort) -> None:
    assert recipe_from_proto(recipe_to_proto(Recipe(effort=effort))).effort == effort


def test_an_empty_message_is_the_default_recipe() -> None:
    assert recipe_from_proto(pb.Recipe()) == Recipe()
    assert recipe_from_proto(pb.Recipe(effort=pb.EFFORT_UNSPECIFIED)) == Recipe()


def test_zero_differs_from_not_set() -> None:
    recipe = recipe_from_proto(pb.Recipe(content_weight=0, seed=0))
    assert recipe.content_weight == 0
    assert recipe_from_proto(pb.Recipe()).content_weight is None


@pytest.mark.parametrize("field", ["objective", "optimizer", "effort", "start", "precision", "color"])
def test_unknown_enum_values_are_refused_with_their_field(field: str) -> None:
    message = pb.Recipe()
    setattr(message, field, 99)
    (fault,) = recipe_faults(message)
    assert fault.field == field
    assert "99" in fault.remedy
    with pytest.raises(RecipeError, match=field):
        recipe_from_proto(message)


@pytest.mark.parametrize(
    "field", ["content_weight", "style_weight", "tv_weight", "learning_rate", "style_scale", "averaging"]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
def test_nan_infinite_and_negative_numbers_are_refused(field: str, value: float) -> None:
    (fault,) = recipe_faults(pb.Recipe(**{field: value}))
    assert fault.field == field


@pytest.mark.parametrize("field", ["content_layers", "style_layers"])
@pytest.mark.parametrize(
    ("shares", "fault_at"),
    [
        ([pb.LayerWeight(layer="relu1_1", weight=1), pb.LayerWeight(layer="relu9_1", weight=1)], "[1].layer"),
        ([pb.LayerWeight(weight=1)], "[0].layer"),
        ([pb.LayerWeight(layer="relu1_1", weight=math.nan)], "[0].weight"),
        ([pb.LayerWeight(layer="relu1_1", weight=math.inf)], "[0].weight"),
        ([pb.LayerWeight(layer="relu1_1")], "[0].weight"),
        ([pb.LayerWeight(layer="relu1_1", weight=1)] * 2, ""),
    ],
)
def test_invalid_layers_are_refused(field: str, shares: list[pb.LayerWeight], fault_at: str) -> None:
    (fault,) = recipe_faults(pb.Recipe(**{field: shares}))
    assert fault.field == field + fault_at


def test_all_faults_are_found_together() -> None:
    message = pb.Recipe(content_weight=-1, longest_side=100_000, evaluations=0, optimizer=7)
    assert {fault.field for fault in recipe_faults(message)} == {
        "content_weight",
        "longest_side",
        "evaluations",
        "optimizer",
    }


def test_an_invalid_combination_of_fields_is_found() -> None:
    (fault,) = recipe_faults(pb.Recipe(content_weight=0, style_weight=0))
    assert fault.field == "style_weight"


@pytest.mark.parametrize("default", OBJECTIVES)
def test_fields_that_the_default_objective_fixes_can_be_set_for_another(
    monkeypatch: pytest.MonkeyPatch, default: str
) -> None:
    monkeypatch.setitem(Recipe.__init__.__kwdefaults__, "objective", default)
    assert Recipe().objective == default
    layers = [pb.LayerWeight(layer="relu1_1", weight=1)]
    message = pb.Recipe(
        objective=pb.OBJECTIVE_GATYS, style_layers=layers, content_layers=layers, style_scale=2
    )
    assert recipe_faults(message) == []


def test_fields_that_the_report_objective_fixes_are_refused() -> None:
    message = pb.Recipe(objective=pb.OBJECTIVE_REPORT, style_scale=2)
    (fault,) = recipe_faults(message)
    assert fault.field == "style_scale"


def test_every_field_of_the_engine_is_in_the_contract() -> None:
    names = {field.name for field in pb.Recipe.DESCRIPTOR.fields}
    assert names == {field.name for field in dataclasses.fields(Recipe)}
