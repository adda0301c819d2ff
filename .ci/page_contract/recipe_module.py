"""The table of the recipe's fields, as a module for the page."""

from __future__ import annotations

import json
import math
from typing import Any

from impasto_server.engine.recipe import FIELDS, RecipeField

_HEAD = """\
// The fields of a recipe: ranges, defaults, help. `poe page-contract` writes this file from the table in
// server/impasto_server/engine/recipe.py: change it there.

/**
 * @typedef {object} RecipeField
 * @property {string} name Its name in JSON.
 * @property {"number" | "whole number" | "yes or no" | "choice" | "layers"} kind Kind of its values.
 * @property {string} help What it sets, in English.
 * @property {string} range The range of a number in words, "0.1 to 4".
 * @property {string} default The default in words, "0.3; 1 with gatys or report".
 * @property {unknown} [value] The default, unless one of `cases` applies.
 * @property {{when: Record<string, unknown>, value: unknown}[]} [cases] Values of other fields,
 *   and the default with these; the first that applies counts.
 * @property {number} [least] Smallest value of a number.
 * @property {boolean} [aboveLeast] Whether the value must be above `least`.
 * @property {number} [most] Largest value of a number.
 * @property {string} [unit] Unit of a number.
 * @property {string[]} [words] Values of a choice as in JSON, or names of layers.
 * @property {string[]} [fixedBy] Objectives that fix the field, as in JSON.
 * @property {boolean} [steerable] Whether it may change while the job is painted.
 * @property {boolean} [photographOnly] Whether it does not apply to textures.
 * @property {boolean} [detail] Whether few people need it.
 */

/** @type {RecipeField[]} */
export const RECIPE_FIELDS = """


def text() -> str:
    """The text of `recipe_table.js`."""
    table = json.dumps([_row(field) for field in FIELDS], indent=2, ensure_ascii=False)
    return f"{_HEAD}{table};\n"


def _row(field: RecipeField) -> dict[str, Any]:
    kinds = {other.name: other for other in FIELDS}

    def as_json(value: Any, of: RecipeField = field) -> Any:
        return f"{of.name}_{value}".upper() if of.kind == "choice" else value

    row: dict[str, Any] = {
        "name": _camel(field.name),
        "kind": field.kind,
        "help": field.help,
        "range": field.range,
        "default": field.shown_default,
    }
    if field.kind != "layers":
        row["value"] = as_json(field.default.value({}))
    if field.default.cases:
        row["cases"] = [
            {
                "when": {
                    _camel(name): as_json(wanted, kinds[name]) if name in kinds else wanted
                    for name, wanted in conditions.items()
                },
                "value": as_json(value),
            }
            for conditions, value in field.default.cases
        ]
    if math.isfinite(field.least):
        row["least"] = field.least
    if math.isfinite(field.most):
        row["most"] = field.most
    objective = kinds["objective"]
    rest = {
        "aboveLeast": field.above_least,
        "unit": field.unit,
        "words": [as_json(word) for word in field.words],
        "fixedBy": [as_json(name, objective) for name in field.fixed_by],
        "steerable": field.steerable,
        "photographOnly": not field.texture,
        "detail": field.detail,
    }
    return row | {name: value for name, value in rest.items() if value}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
