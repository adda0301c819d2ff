"""Converts recipes between the contract and the engine.

In the contract, a field that is not set means the default. In the engine, such a field is None, or has the
dataclass's default if that does not depend on other fields. The table `engine.recipe` defines the fields and
their ranges. The words of a choice are those of the contract's enum: "lbfgs" for OPTIMIZER_LBFGS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.engine.recipe import FIELD, FIELDS, LAYER_FIELDS, Recipe, RecipeError, evaluations_of


def words(field: Any) -> dict[int, str]:
    """Maps the numbers of an enum field to words, without 0, which means "not set".

    Args:
        field: the descriptor of the field.
    """
    unset, *values = field.enum_type.values
    prefix = unset.name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower() for value in values}


_WORDS: Mapping[str, Mapping[int, str]] = {
    field.name: words(field) for field in pb.Recipe.DESCRIPTOR.fields if field.enum_type is not None
}
_NUMBERS = {field: {word: number for number, word in known.items()} for field, known in _WORDS.items()}


def recipe_from_proto(message: pb.Recipe) -> Recipe:
    """Converts a recipe of the contract to the engine's.

    Raises:
        RecipeError: a field is out of range or an enum value is unknown; the first of several such fields.
    """
    faults = recipe_faults(message)
    if faults:
        raise faults[0]
    values, _ = _values(message)
    return Recipe(**values)


def recipe_faults(message: pb.Recipe) -> list[RecipeError]:
    """Returns one fault for each field of a recipe that is invalid."""
    values, faults = _values(message)
    for name, value in values.items():
        if fault := FIELD[name].fault(value):
            where, remedy = fault
            faults.append(RecipeError(name + where, remedy))
    if not faults:
        try:
            Recipe(**values)
        except RecipeError as error:
            faults.append(error)
    return faults


def recipe_to_proto(recipe: Recipe) -> pb.Recipe:
    """Converts a recipe of the engine to the contract's; a field that is None is not set."""
    message = pb.Recipe()
    for field in FIELDS:
        value = getattr(recipe, field.name)
        if field.kind == "layers":
            shares = getattr(message, field.name)
            shares.extend(pb.LayerWeight(layer=layer, weight=weight) for layer, weight in value)
        elif value is not None:
            setattr(message, field.name, _NUMBERS[field.name][value] if field.words else value)
    return message


def is_draft(job: pb.Job) -> bool:
    """Whether a job has no more evaluations than the effort "draft" of its objective."""
    objective = _WORDS["objective"].get(job.recipe.objective)
    return objective is not None and job.recipe.evaluations <= evaluations_of(objective, "draft")


def _values(message: pb.Recipe) -> tuple[dict[str, Any], list[RecipeError]]:
    values: dict[str, Any] = {}
    faults: list[RecipeError] = []
    for field, value in message.ListFields():
        known = _WORDS.get(field.name)
        if field.name in LAYER_FIELDS:
            values[field.name] = tuple((share.layer, share.weight) for share in value)
        elif known is None:
            values[field.name] = value
        elif value in known:
            values[field.name] = known[value]
        elif value != 0:
            enum: Any = field.enum_type
            choice = ", ".join(word.name for word in enum.values if word.number != 0)
            faults.append(RecipeError(field.name, f"is {value}, an unknown value; give one of {choice}"))
    return values, faults
