"""The recipe's fields as options of the commands, made from their table."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from impasto.cli.options import LOSSES, PAINTING
from impasto.errors import InvalidRequest
from impasto.recipe import FIELDS, RecipeField, Settings


@dataclasses.dataclass(frozen=True)
class GivenRecipe:
    """What a command was told of the recipe.

    Attributes:
        values: of the options, by the recipe's field; None where one is not given.
    """

    values: Mapping[str, Any]

    @property
    def start_image(self) -> Path | None:
        """The picture to start from, if `--start` names a file."""
        start = self.values.get("start")
        return None if start is None or start in _names(FIELDS["start"]) else Path(start)

    def settings(self, names: dict[str, str], path: str = "spec.recipe") -> Settings:
        """The recipe's fields that are given.

        Args:
            names: is told what the user calls the fields of the request.
            path: where the recipe stands in the request.

        Raises:
            InvalidRequest: some are out of their ranges.
        """
        settings: Settings = {}
        faults: list[tuple[str, str]] = []
        for name, value in self.values.items():
            field = FIELDS[name]
            if value is None or value == [] or (field.file_word and value not in _names(field)):
                continue
            if field.kind == "layers":
                value = _layers(field, value, names, path)
            settings[name] = value  # type: ignore[literal-required]
            if fault := field.fault(value):
                where, remedy = fault
                faults.append((f"{path}.{field.wire_name}{where}", remedy))
        if faults:
            raise InvalidRequest("; ".join(f"{field} {remedy}" for field, remedy in faults), fields=faults)
        return settings


class RecipeOptions:
    """Options for some of the recipe's fields: `grouped` puts them in the place of a parameter.

    Args:
        fields: of the recipe.
        texture: whether the command makes a texture, which has no content.
    """

    def __init__(self, fields: Iterable[RecipeField], *, texture: bool = False) -> None:
        self._fields = tuple(field for field in fields if field.texture or not texture)
        if texture:
            self._fields = tuple(
                field for field in self._fields if not field.words or len(_words(field, texture=True)) > 1
            )
        self._texture = texture

    def parameters(self) -> list[inspect.Parameter]:
        """A parameter for each option."""
        return [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=_annotation(field, texture=self._texture),
            )
            for field in self._fields
        ]

    def taken(self, values: dict[str, Any]) -> GivenRecipe:
        """What was given of its options; takes it out of `values`."""
        return GivenRecipe({field.name: values.pop(field.name) for field in self._fields})


def _annotation(field: RecipeField, *, texture: bool) -> Any:
    words = _words(field, texture=texture)
    kind: Any = {"number": float, "whole number": int, "yes or no": bool, "layers": list[str]}.get(field.kind)
    metavar = field.metavar or None
    if field.file_word:
        kind, metavar = str, "|".join([*(word for word in words if word != field.file_word), "FILE"])
    elif field.kind == "choice":
        kind = Literal[words]
    elif field.kind == "layers":
        metavar = "NAME[=SHARE]"
    option = field.option
    if field.kind == "yes or no":
        option += "/" + option.replace("--", "--no-", 1)
    help = typer.Option(
        option,
        metavar=metavar,
        help=_help(field),
        show_default=False,
        rich_help_panel=LOSSES if field.detail else PAINTING,
    )
    return Annotated[kind | None, help]


def _help(field: RecipeField) -> str:
    parts = [field.help]
    if field.kind == "layers":
        parts.append(f"Give one as {field.words[-1]}=0.5, or without a share for 1; repeat it for several.")
    if field.range:
        parts.append(f"Range{' of a share' if field.kind == 'layers' else ''}: {field.range}.")
    return " ".join([*parts, f"Default: {field.default}."])


def _words(field: RecipeField, *, texture: bool) -> tuple[str, ...]:
    return tuple(word for word in field.words if not (texture and word in field.content_words))


def _names(field: RecipeField) -> list[str]:
    """The words of a choice that the command line knows by these names: the others are files."""
    return [word for word in field.words if word != field.file_word]


def _layers(
    field: RecipeField, texts: list[str], names: dict[str, str], path: str
) -> list[tuple[str, float]]:
    """What several `--content-layer` or `--style-layer` mean: names and shares."""
    layers = []
    for i, text in enumerate(texts):
        names[f"{path}.{field.name}[{i}]"] = f"{field.option} {text}"
        name, _, share = text.partition("=")
        try:
            layers.append((name, float(share or 1)))
        except ValueError:
            raise InvalidRequest(f"{field.option} {text}: {share!r} is not a number") from None
    return layers


Painted = Annotated[GivenRecipe, RecipeOptions(FIELDS.values())]
"""How a photograph is painted."""
PaintedTexture = Annotated[GivenRecipe, RecipeOptions(FIELDS.values(), texture=True)]
"""How a texture is painted."""
Steered = Annotated[GivenRecipe, RecipeOptions(field for field in FIELDS.values() if field.steerable)]
"""What can be changed of a job while it runs."""
Tried = Annotated[
    GivenRecipe,
    RecipeOptions(FIELDS[name] for name in ("size", "effort", "evaluations", "seed", "precision")),
]
"""What can be said of a first try."""
