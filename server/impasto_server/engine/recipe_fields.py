"""What a row of the recipe's table says of a field: its values, its default, and how people are told of it.

`engine.recipe` has the table. Imports nothing of the project and nothing heavy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Kind = Literal["number", "whole number", "yes or no", "choice", "layers"]

_MAX_QUOTED = 60
"""Characters of a wrong value that are told back."""


@dataclasses.dataclass(frozen=True)
class Default:
    """A default that other fields may decide.

    Attributes:
        otherwise: the default where no case holds.
        cases: what other fields have to be, and the default then; the first that holds counts. "texture"
            counts as a field too: whether there is no content.
    """

    otherwise: Any
    cases: tuple[tuple[Mapping[str, Any], Any], ...] = ()

    def value(self, known: Mapping[str, Any]) -> Any:
        """The default beside other fields.

        Args:
            known: the fields that decide, by name; one that is missing decides nothing.
        """
        for conditions, value in self.cases:
            if all(known.get(name) == wanted for name, wanted in conditions.items()):
                return value
        return self.otherwise

    @property
    def values(self) -> tuple[Any, ...]:
        """Everything that it may be."""
        return (self.otherwise, *(value for _, value in self.cases))

    @property
    def decided_by(self) -> frozenset[str]:
        """The fields that decide."""
        return frozenset(name for conditions, _ in self.cases for name in conditions)

    @property
    def words(self) -> str:
        """For people: "0.05; with lbfgs 1; with report 0.003"."""
        conditions: dict[str, list[str]] = {}
        for deciding, value in self.cases:
            known = [f"a {name}" if wanted is True else str(wanted) for name, wanted in deciding.items()]
            conditions.setdefault(_shown(value), []).append(" and ".join(known))
        return "; ".join(
            [
                _shown(self.otherwise),
                *(f"with {' or '.join(when)} {value}" for value, when in conditions.items()),
            ]
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeField:
    """A row of the recipe's table.

    Attributes:
        name: of the field, as in the contract.
        kind: what its values are.
        help: what it sets: a sentence that begins with that noun or verb and has its unit.
        default: what counts where it is not given.
        default_words: the same in words, where `default` does not say it all.
        least, most: the range of a number, in `unit`, or of the layers' shares; an infinite end is none.
        above_least: whether `least` itself is out of the range.
        unit: of a number; "" for none.
        words: what a choice, or the name of a layer, may be.
        content_words: those of them that need a content, which a texture does not have.
        fixed_by: objectives with which only the default will do.
        steerable: whether it may change while the job is painted.
        texture: whether it is for textures too.
        option: on the command line.
        metavar: how the command line's help shows a value; "" where the words or the kind do.
        file_word: the word of a choice that the command line is given as a file's name; "" for none.
        detail: whether it is one of those that few need: losses and optimiser.
    """

    kind: Kind
    help: str
    name: str = ""
    default: Default = Default(None)
    default_words: str = ""
    least: float = -math.inf
    most: float = math.inf
    above_least: bool = False
    unit: str = ""
    words: tuple[str, ...] = ()
    content_words: tuple[str, ...] = ()
    fixed_by: tuple[str, ...] = ()
    steerable: bool = False
    texture: bool = True
    option: str = ""
    metavar: str = ""
    file_word: str = ""
    detail: bool = False

    @property
    def shown_default(self) -> str:
        """The default in words."""
        return self.default_words or self.default.words

    @property
    def range(self) -> str:
        """The range in words; "" where there is none: "0 or more", "16 to 8192"."""
        least, most = _shown(self.least), _shown(self.most)
        if math.isinf(self.least):
            return ""
        if math.isinf(self.most):
            return f"more than {least}" if self.above_least else f"{least} or more"
        return f"more than {least}, at most {most}" if self.above_least else f"{least} to {most}"

    def fault(self, value: Any) -> tuple[str, str] | None:
        """What is wrong with a value.

        Returns:
            Where in the value ("", or as "[1].layer"), and what, in words that go on from the field's name;
            None if nothing is wrong.
        """
        if self.kind == "layers":
            return self._fault_of_layers(value)
        if self.kind == "choice" and value not in self.words:
            return "", f"is {_quoted(value)}; give one of {', '.join(self.words)}"
        if self.kind in ("number", "whole number") and not self._in_range(value):
            unit = f" {self.unit}" if self.unit else ""
            return "", f"is {_shown(value)}{unit}; give {self.range}"
        return None

    def _fault_of_layers(self, layers: Sequence[tuple[str, float]]) -> tuple[str, str] | None:
        if len(layers) > len(self.words):
            return "", f"has {len(layers)} layers; give at most {len(self.words)}, each once"
        for index, (layer, weight) in enumerate(layers):
            if layer not in self.words:
                return f"[{index}].layer", f"is {_quoted(layer)}; give one of {', '.join(self.words)}"
            if not self._in_range(weight):
                return f"[{index}].weight", f"is {_shown(weight)}; give {self.range}"
        if len({layer for layer, _ in layers}) < len(layers):
            return "", "name a layer twice; give each once"
        return None

    def _in_range(self, value: float) -> bool:
        above = self.least < value if self.above_least else self.least <= value
        return above and value <= self.most and math.isfinite(value)


def row(kind: Kind, help: str, **rest: Any) -> dict[str, RecipeField]:
    """The metadata of a dataclass's field that is a row of the table; its arguments are the row's."""
    return {"row": RecipeField(kind=kind, help=help, **rest)}


def rows(table: type) -> tuple[RecipeField, ...]:
    """The rows of a dataclass whose fields are rows, in their order.

    A row without an option gets one by its name. Where a row has no default, the dataclass's counts.
    """
    found = []
    for field in dataclasses.fields(table):
        about: RecipeField = field.metadata["row"]
        found.append(
            dataclasses.replace(
                about,
                name=field.name,
                default=Default(field.default) if about.default.otherwise is None else about.default,
                option=about.option or "--" + field.name.replace("_", "-"),
            )
        )
    return tuple(found)


def _quoted(text: str) -> str:
    """A text as a literal, without what would keep the rest of the sentence from being read."""
    return repr(text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and abs(value) < 1e9:
        return f"{value:.10g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
