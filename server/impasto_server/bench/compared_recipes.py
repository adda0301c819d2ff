"""Recipes as the command line names them: `balanced`, `balanced:effort=fine:style_scale=2`."""

from __future__ import annotations

import dataclasses
from typing import Any

from impasto_server.engine.recipe import FIELD, FIELDS, LAYER_FIELDS, Effort, Recipe, RecipeError
from impasto_server.engine.recipe_fields import RecipeField

_OF_THE_SHEET = {"longest_side": "--size"}
"""Fields that all recipes of a sheet share, with their options."""

_YES_OR_NO = {"yes": True, "no": False}


@dataclasses.dataclass(frozen=True)
class NamedRecipe:
    """A recipe with its name.

    Attributes:
        name: the recipe's text on the command line: an objective with its fields.
        recipe: the recipe itself.
    """

    name: str
    recipe: Recipe


def compared_recipes(text: str, *, effort: Effort, longest_side: int) -> list[NamedRecipe]:
    """Parses recipes: objectives separated by commas, each with fields after colons.

    Args:
        text: for example `balanced,neighbours:content_weight=0.5:effort=fine`. A field is NAME=VALUE with its
            name in the recipe. Each layer is a field of its own: `style_layers=relu2_1=0.5`.
        effort: effort of the recipes that give neither an effort nor evaluations.
        longest_side: longer side of all paintings, in pixels.

    Raises:
        RecipeError: a recipe is wrong, or given twice. Its `field` begins with the recipe's name.
    """
    recipes = [_recipe(part.strip(), effort, longest_side) for part in text.split(",")]
    for number, named in enumerate(recipes):
        for earlier in recipes[:number]:
            if earlier.recipe == named.recipe:
                raise RecipeError(named.name, f"is the same recipe as {earlier.name}; give each recipe once")
    return recipes


def _recipe(name: str, effort: Effort, longest_side: int) -> NamedRecipe:
    objective, *settings = (part.strip() for part in name.split(":"))
    if FIELD["objective"].fault(objective):
        raise RecipeError(
            repr(objective), f"is not a recipe; give one of {', '.join(FIELD['objective'].words)}"
        )
    fields: dict[str, Any] = {"objective": objective, "longest_side": longest_side}
    for setting in settings:
        field, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise RecipeError(name, f"contains {setting!r}; give a field as NAME=VALUE")
        about = _field(name, field)
        if about.name in LAYER_FIELDS:
            fields[field] = (*fields.get(field, ()), _layer(name, field, value))
        elif field in fields:
            raise RecipeError(f"{name}: {field}", "is given twice; give it once")
        else:
            fields[field] = _value(name, about, value)
    if "evaluations" not in fields:
        fields.setdefault("effort", effort)
    try:
        return NamedRecipe(name, Recipe(**fields))
    except RecipeError as error:
        raise RecipeError(f"{name}: {error.field}", error.remedy) from error


def _field(recipe: str, name: str) -> RecipeField:
    """Returns the row of a field that a compared recipe may have."""
    if name in _OF_THE_SHEET:
        raise RecipeError(f"{recipe}: {name}", f"is the same for the whole sheet; use {_OF_THE_SHEET[name]}")
    if name not in FIELD or name == "objective":
        allowed = [about.name for about in FIELDS if about.name not in ("objective", *_OF_THE_SHEET)]
        raise RecipeError(
            f"{recipe}: {name}", f"is not a field that can be set here; give one of {', '.join(allowed)}"
        )
    return FIELD[name]


def _value(recipe: str, about: RecipeField, text: str) -> Any:
    """Returns the value of a field, in its type. The recipe itself checks the range."""
    where = f"{recipe}: {about.name}"
    if about.kind == "choice":
        if about.file_word and text == about.file_word:
            others = [word for word in about.words if word != text]
            raise RecipeError(where, f"is {text!r}, which needs a file; give {' or '.join(others)}")
        return text
    if about.kind == "yes or no":
        if text not in _YES_OR_NO:
            raise RecipeError(where, f"is {text!r}; give yes or no")
        return _YES_OR_NO[text]
    try:
        return int(text) if about.kind == "whole number" else float(text)
    except ValueError:
        raise RecipeError(where, f"is {text!r}; give a {about.kind}, {about.range}") from None


def _layer(recipe: str, field: str, text: str) -> tuple[str, float]:
    layer, _, share = text.partition("=")
    try:
        return layer, float(share or 1)
    except ValueError:
        raise RecipeError(f"{recipe}: {field}", f"has the share {share!r}; give a number above 0") from None
