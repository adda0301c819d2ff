"""Recipes between the contract and the engine.

In the contract a field that is not set means its default; in the engine it is None, or the
dataclass's own default where that depends on nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.engine.recipe import DEFAULTS, Recipe, RecipeError

# For each enum field of the contract's Recipe: what its numbers mean to the engine. Number 0 is "not set".
_NAMES: Mapping[str, Mapping[int, str]] = {
    "objective": {
        pb.OBJECTIVE_BALANCED: "balanced",
        pb.OBJECTIVE_GATYS: "gatys",
        pb.OBJECTIVE_REPORT: "report",
        pb.OBJECTIVE_WASSERSTEIN: "wasserstein",
    },
    "optimizer": {pb.OPTIMIZER_ADAM: "adam", pb.OPTIMIZER_LBFGS: "lbfgs"},
    "effort": {pb.EFFORT_DRAFT: "draft", pb.EFFORT_STANDARD: "standard", pb.EFFORT_FINE: "fine"},
    "start": {pb.START_CONTENT: "content", pb.START_NOISE: "noise", pb.START_IMAGE: "image"},
    "precision": {
        pb.PRECISION_AUTO: "auto",
        pb.PRECISION_FLOAT32: "float32",
        pb.PRECISION_BFLOAT16: "bfloat16",
    },
    "color": {
        pb.COLOR_STYLE: "style",
        pb.COLOR_LUMINANCE: "luminance",
        pb.COLOR_MATCHED: "matched",
    },
}
_NUMBERS = {field: {name: number for number, name in names.items()} for field, names in _NAMES.items()}
_LAYERS = ("content_layers", "style_layers")


def recipe_from_proto(message: pb.Recipe) -> Recipe:
    """The engine's recipe for a recipe of the contract.

    Raises:
        RecipeError: a field is out of its range or an enum value is unknown; the first if several are.
    """
    faults = recipe_faults(message)
    if faults:
        raise faults[0]
    values, _ = _values(message)
    return Recipe(**values)


def recipe_faults(message: pb.Recipe) -> list[RecipeError]:
    """Everything that is wrong with a recipe of the contract, a fault for each field."""
    values, faults = _values(message)
    for field, value in values.items():
        try:
            Recipe(**{field: value})
        except RecipeError as fault:
            faults.append(fault)
    if not faults:
        try:
            Recipe(**values)
        except RecipeError as fault:
            faults.append(fault)
    return faults


def recipe_to_proto(recipe: Recipe) -> pb.Recipe:
    """The contract's recipe for one of the engine's; a field that is None stays unset."""
    message = pb.Recipe()
    for field, value in _fields(recipe).items():
        if field in _LAYERS:
            shares = getattr(message, field)
            shares.extend(pb.LayerWeight(layer=layer, weight=weight) for layer, weight in value)
        elif value is not None:
            setattr(message, field, _NUMBERS[field][value] if field in _NUMBERS else value)
    return message


def is_draft(job: pb.Job) -> bool:
    """Whether a job is a quick look: no more work than the effort "draft" of its objective."""
    name = _NAMES["objective"].get(job.recipe.objective)
    most = [defaults.evaluations["draft"] for objective, defaults in DEFAULTS.items() if objective == name]
    return bool(most) and job.recipe.evaluations <= most[0]


def _values(message: pb.Recipe) -> tuple[dict[str, Any], list[RecipeError]]:
    values: dict[str, Any] = {}
    faults: list[RecipeError] = []
    for field, value in message.ListFields():
        names = _NAMES.get(field.name)
        if field.name in _LAYERS:
            values[field.name] = tuple((share.layer, share.weight) for share in value)
        elif names is None:
            if isinstance(value, float) and not math.isfinite(value):
                faults.append(RecipeError(field.name, f"is {value}; give a finite number"))
            else:
                values[field.name] = value
        elif value in names:
            values[field.name] = names[value]
        elif value != 0:
            faults.append(
                RecipeError(field.name, f"has the unknown value {value}; give one of {_enum_names(field)}")
            )
    return values, faults


def _enum_names(field: Any) -> str:
    return ", ".join(value.name for value in field.enum_type.values if value.number != 0)


def _fields(recipe: Recipe) -> dict[str, Any]:
    return {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
