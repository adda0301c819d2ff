"""Writes the client's table of recipe fields, `client/impasto/recipe_table.py`.

    python -m impasto_server.contract.client_table           writes the file
    python -m impasto_server.contract.client_table --check   fails if the file is not up to date

The client must not need the server, so it has a copy of the table in `engine.recipe`, made here. This module
does not import the client, which cannot be imported without the file.
"""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from impasto_server.engine.recipe import DEFAULT_OBJECTIVE, FIELDS, RecipeField

FILE = Path(__file__).parents[3] / "client" / "impasto" / "recipe_table.py"
WIDTH = 110

_HEAD = '''"""The recipe's fields, with the ranges and the defaults of a server of the same version.

Written by `python -m impasto_server.contract.client_table` from the table in `impasto_server.engine.recipe`:
change it there.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, TypedDict

from impasto.recipe_fields import LayerWeights, RecipeField, pairs_of_layers, with_known_settings
'''


def text() -> str:
    """The text of the file."""
    aliases = [
        f"{_alias(field.name)} = Literal[{', '.join(_quoted(word) for word in field.words)}]"
        for field in FIELDS
        if field.kind == "choice"
    ]
    parts = [_HEAD, "\n".join(aliases) + "\n\n", *_recipe(), "", *_settings(), "", *_table()]
    return "\n".join(parts) + "\n"


def _recipe() -> Iterator[str]:
    yield "@with_known_settings"
    yield "@dataclasses.dataclass(frozen=True)"
    yield "class Recipe:"
    yield '    """How to paint. None leaves the choice to the server.'
    yield ""
    yield "    Attributes:"
    for field in FIELDS:
        of_share = " of a share" if field.kind == "layers" else ""
        help = [field.help, *([f"Range{of_share}: {field.range}."] if field.range else [])]
        help.append(f"Default: {field.shown_default}.")
        yield textwrap.fill(
            f"{_name(field)}: {' '.join(help)}",
            WIDTH,
            initial_indent=" " * 8,
            subsequent_indent=" " * 12,
            break_on_hyphens=False,
        )
    yield ""
    yield "    Raises:"
    yield "        InvalidRequest: layers are neither a mapping nor pairs."
    yield "        TypeError: a recipe has no such field; the message names the nearest one."
    yield '    """'
    yield ""
    for field in FIELDS:
        yield f"    {_name(field)}: {_type(field)} | None = None"
    yield ""
    yield "    def __post_init__(self) -> None:"
    yield "        for field in LAYER_FIELDS:"
    yield "            object.__setattr__(self, field, pairs_of_layers(field, getattr(self, field)))"
    yield ""


def _settings() -> Iterator[str]:
    yield "class Settings(TypedDict, total=False):"
    yield '    """The fields of a `Recipe` as keywords."""'
    yield ""
    for field in FIELDS:
        yield f"    {_name(field)}: {_type(field)} | None"
    yield ""


def _table() -> Iterator[str]:
    yield "_ROWS = ("
    for field in FIELDS:
        yield "    RecipeField("
        for name, value in _row(field).items():
            yield from _argument(name, value)
        yield "    ),"
    yield ")"
    yield "FIELDS: dict[str, RecipeField] = {row.name: row for row in _ROWS}"
    yield '"""The fields by name, in their order."""'
    yield 'LAYER_FIELDS = tuple(row.name for row in _ROWS if row.kind == "layers")'
    yield '"""Fields that are layers with their shares."""'
    yield "STEERABLE = tuple(row.name for row in _ROWS if row.steerable)"
    yield '"""Fields that may change while the job is painted."""'


def _row(field: RecipeField) -> dict[str, Any]:
    """A row of the client's table: the attributes of `impasto.recipe_fields.RecipeField` without defaults."""
    default = field.default.value({"objective": DEFAULT_OBJECTIVE})
    given = {
        "name": _name(field),
        "wire_name": field.name,
        "kind": field.kind,
        "help": field.help,
        "range": field.range,
        "default": field.shown_default,
        # Where fields other than the objective decide, the default is given in words only.
        "default_value": default if field.default.decided_by <= {"objective"} else None,
    }
    for name in (
        *("least", "most", "above_least", "unit", "words", "content_words", "steerable", "texture"),
        *("option", "metavar", "file_word", "detail"),
    ):
        given[name] = getattr(field, name)
    usual = {other.name: other.default for other in dataclasses.fields(RecipeField)}
    usual |= {"range": "", "default_value": None, "wire_name": given["name"]}
    return {name: value for name, value in given.items() if value != usual.get(name)}


def _argument(name: str, value: Any) -> Iterator[str]:
    line = f"        {name}={_literal(value)},"
    if len(line) <= WIDTH:
        yield line
    elif isinstance(value, str):
        # Formatted as ruff does it.
        yield f"        {name}=("
        pieces = textwrap.wrap(value, WIDTH - 16, drop_whitespace=False, break_on_hyphens=False)
        yield from (f"            {_quoted(piece)}" for piece in pieces)
        yield "        ),"
    else:
        yield f"        {name}=("
        yield from (f"            {_literal(item)}," for item in value)
        yield "        ),"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, tuple):
        items = [_literal(item) for item in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    return repr(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _name(field: RecipeField) -> str:
    """Returns a field's name in the Python client."""
    return field.python_name or field.name


def _type(field: RecipeField) -> str:
    kinds = {"number": "float", "whole number": "int", "yes or no": "bool", "layers": "LayerWeights"}
    return _alias(field.name) if field.kind == "choice" else kinds[field.kind]


def _alias(name: str) -> str:
    """The name of a choice's type, which is that of the contract's enum, such as "Color"."""
    return name.title().replace("_", "")


def main() -> None:
    """Writes the file, or checks that it is up to date."""
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text(encoding="utf-8") != text():
            sys.exit(f"{FILE} is not up to date; run `python -m {__spec__.name}`")
    elif sys.argv[1:]:
        sys.exit("unknown arguments; give --check or none")
    else:
        FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
