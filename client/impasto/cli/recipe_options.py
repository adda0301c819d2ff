"""The recipe's fields as options of the commands, made from the recipe's table."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from impasto.cli.field_names import recipe_for_objective
from impasto.cli.options import LOSSES, PAINTING, option
from impasto.cli.values import number, one_of, quoted, whole_number, word_or_file
from impasto.errors import InvalidRequest
from impasto.recipe import FIELDS, RecipeField, Settings

_FORMER_OPTIONS = {"stop_on_plateau": "--plateau/--no-plateau"}
"""Options of fields by their former names, which still work but are not in the help."""


@dataclasses.dataclass(frozen=True)
class GivenRecipe:
    """The recipe's options that were given to a command.

    Attributes:
        values: the options' values by the recipe's fields; None for an option that was not given.
        texture: whether the command makes a texture.
    """

    values: Mapping[str, Any]
    texture: bool = False

    @property
    def start_image(self) -> Path | None:
        """The picture to start from, if `--start` names a file."""
        start = self.values.get("start")
        return None if start is None or start in _names(FIELDS["start"]) else Path(start)

    def settings(self, names: dict[str, str], path: str = "spec.recipe") -> Settings:
        """Returns the recipe's fields that are given.

        Args:
            names: gets the options that stand for fields of the request.
            path: path of the recipe in the request.

        Raises:
            InvalidRequest: values are out of their ranges, or exclude each other.
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
            if fault := self._fault(field, value):
                where, clause = fault
                faults.append((f"{path}.{field.wire_name}{where}", clause))
        if settings.get("effort") is not None and settings.get("evaluations") is not None:
            faults.append((f"{path}.effort", "cannot be given together with --evaluations; give one of them"))
        if faults:
            raise InvalidRequest("; ".join(f"{field} {clause}" for field, clause in faults), fields=faults)
        return settings

    def _fault(self, field: RecipeField, value: Any) -> tuple[str, str] | None:
        if self.texture and field.file_word and value in field.content_words:
            words = [word for word in _names(field) if word not in field.content_words]
            return "", f"is {value!r}, but a texture has no content; give {', '.join(words)} or a file"
        return field.fault(value)


class RecipeOptions:
    """Options for some of the recipe's fields; `grouped` replaces a parameter by them.

    Args:
        fields: fields of the recipe.
        texture: whether the command makes a texture, which has no content.
        steering: whether the command changes a job.
    """

    def __init__(
        self, fields: Iterable[RecipeField], *, texture: bool = False, steering: bool = False
    ) -> None:
        self._fields = tuple(field for field in fields if field.texture or not texture)
        if texture:
            self._fields = tuple(
                field for field in self._fields if not field.words or len(_words(field, texture=True)) > 1
            )
        self._texture = texture
        self._steering = steering

    def parameters(self) -> list[inspect.Parameter]:
        """Returns a parameter for each option."""
        annotations = {field.name: self._annotation(field) for field in self._fields}
        for name, former in self._former():
            annotations[_former_parameter(name)] = Annotated[
                bool | None, option(former, help="Former name.", hidden=True)
            ]
        return [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in annotations.items()
        ]

    def taken(self, values: dict[str, Any]) -> GivenRecipe:
        """Returns the values of its options and removes them from `values`."""
        given = {field.name: values.pop(field.name) for field in self._fields}
        for name, _ in self._former():
            former = values.pop(_former_parameter(name))
            given[name] = former if given[name] is None else given[name]
        return GivenRecipe(given, texture=self._texture)

    def _former(self) -> list[tuple[str, str]]:
        shown = {field.name for field in self._fields}
        return [(name, former) for name, former in _FORMER_OPTIONS.items() if name in shown]

    def _annotation(self, field: RecipeField) -> Any:
        words = _words(field, texture=self._texture)
        kind: Any = {"number": float, "whole number": int, "yes or no": bool, "layers": list[str]}
        names = field.option
        if field.kind == "yes or no":
            names += "/" + names.replace("--", "--no-", 1)
        described = option(
            names,
            metavar=_metavar(field),
            parser=_parser(field, words),
            help=self._help(field, words),
            panel=LOSSES if field.detail else PAINTING,
        )
        return Annotated[kind.get(field.kind, str) | None, described]

    def _help(self, field: RecipeField, words: tuple[str, ...]) -> str:
        parts = [field.help]
        if field.kind == "layers":
            parts.append(
                f"Give a layer and its share, {field.words[-1]}=0.5, or a layer alone for a share of 1. "
                "Repeat the option for several layers."
            )
        elif field.file_word:
            names = ", ".join(word for word in words if word != field.file_word)
            parts.append(f"One of: {names}, or a file.")
        elif field.kind == "choice":
            parts.append(f"One of {', '.join(words[:-1])} or {words[-1]}.")
        if field.range:
            parts.append(f"Range{' of a share' if field.kind == 'layers' else ''}: {field.range}.")
        return recipe_for_objective(" ".join([*parts, f"Default: {self._default(field)}."]))

    def _default(self, field: RecipeField) -> str:
        if self._steering:
            return "unchanged"
        of_texture = re.search(r"; ([\w.]+) with a texture", field.default)
        if of_texture is None:
            return field.default
        return of_texture[1] if self._texture else field.default.replace(of_texture[0], "")


def _metavar(field: RecipeField) -> str | None:
    if field.file_word:
        return "NAME|FILE"
    if field.kind == "layers":
        return "LAYER"
    return "NAME" if field.kind == "choice" else field.metavar or None


def _parser(field: RecipeField, words: tuple[str, ...]) -> Callable[[str], Any] | None:
    if field.file_word:
        return word_or_file([word for word in words if word != field.file_word])
    if field.kind == "choice":
        return one_of(words)
    if field.kind == "number":
        return number(field.values())
    return whole_number(field.values()) if field.kind == "whole number" else None


def _former_parameter(name: str) -> str:
    return f"former_{name}"


def _words(field: RecipeField, *, texture: bool) -> tuple[str, ...]:
    return tuple(word for word in field.words if not (texture and word in field.content_words))


def _names(field: RecipeField) -> list[str]:
    """Returns the words of a choice that are not files."""
    return [word for word in field.words if word != field.file_word]


def _layers(
    field: RecipeField, texts: list[str], names: dict[str, str], path: str
) -> list[tuple[str, float]]:
    """Returns the names and shares in several `--content-layer` or `--style-layer`."""
    layers = []
    for i, text in enumerate(texts):
        names[f"{path}.{field.name}[{i}]"] = f"{field.option} {text}"
        names[f"{path}.{field.name}[{i}].layer"] = field.option
        name, equals, share = text.partition("=")
        if not name:
            raise InvalidRequest(f"{field.option} {text} names no layer; give one: {field.words[-1]}=0.5")
        try:
            layers.append((name, float(share) if equals else 1.0))
        except ValueError:
            raise InvalidRequest(
                f"{field.option} {text}: the share is {quoted(share)}; give a number: {name}=0.5"
            ) from None
    return layers


Painted = Annotated[GivenRecipe, RecipeOptions(FIELDS.values())]
"""How a photograph is painted."""
PaintedTexture = Annotated[GivenRecipe, RecipeOptions(FIELDS.values(), texture=True)]
"""How a texture is painted."""
Steered = Annotated[
    GivenRecipe, RecipeOptions((field for field in FIELDS.values() if field.steerable), steering=True)
]
"""The fields that can change while a job runs."""
Tried = Annotated[
    GivenRecipe,
    RecipeOptions(FIELDS[name] for name in ("size", "effort", "evaluations", "seed", "precision")),
]
"""The fields that suit a first try."""
