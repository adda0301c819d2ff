"""The rows of the recipe's table: the values and the default of a field, and its texts for people.

The table itself is in `engine.recipe`. Imports nothing of the project and nothing heavy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Kind = Literal["number", "whole number", "yes or no", "choice", "layers"]

_MAX_QUOTED = 60
"""Characters of a wrong value that an error quotes."""


@dataclasses.dataclass(frozen=True)
class Default:
    """A default that can depend on other fields.

    Attributes:
        otherwise: the default if no case applies.
        cases: values of other fields, and the default with these; the first case that applies counts.
            "texture" counts as a field too: whether a texture is painted, without a content.
    """

    otherwise: Any
    cases: tuple[tuple[Mapping[str, Any], Any], ...] = ()

    def value(self, known: Mapping[str, Any]) -> Any:
        """Returns the default for values of other fields.

        Args:
            known: values by the field's name; a case with a field that is missing does not apply.
        """
        for conditions, value in self.cases:
            if all(known.get(name) == wanted for name, wanted in conditions.items()):
                return value
        return self.otherwise

    @property
    def values(self) -> tuple[Any, ...]:
        """All values that the default can have."""
        return (self.otherwise, *(value for _, value in self.cases))

    @property
    def decided_by(self) -> frozenset[str]:
        """Names of the fields on which the default depends."""
        return frozenset(name for conditions, _ in self.cases for name in conditions)

    @property
    def words(self) -> str:
        """The default for people to read: "0.05; 1 with lbfgs; 0.003 with report"."""
        conditions: dict[str, list[str]] = {}
        for deciding, value in self.cases:
            known = [f"a {name}" if wanted is True else str(wanted) for name, wanted in deciding.items()]
            conditions.setdefault(_shown(value), []).append(" and ".join(known))
        return "; ".join(
            [
                _shown(self.otherwise),
                *(f"{value} with {' or '.join(when)}" for value, when in conditions.items()),
            ]
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeField:
    """A row of the recipe's table.

    Attributes:
        name: the field's name, as in the contract.
        kind: the kind of its values.
        help: one or more sentences that begin with the noun or verb that the field sets, with its unit.
        default: the value if none is given.
        default_words: the default in words, if those of `default` are not enough; otherwise "".
        least, most: the range of a number, in `unit`, or of the layers' shares; infinite for no bound.
        above_least: whether `least` itself is out of the range.
        unit: the unit of a number; "" for none.
        words: the possible values of a choice, or the possible names of a layer.
        content_words: the words that need a content, which a texture does not have.
        fixed_by: objectives with which the field must have its default.
        steerable: whether it may change while the job is painted.
        texture: whether it applies to textures too.
        option: the option on the command line.
        metavar: the value's name in the command line's help; "" to use the words or the kind.
        python_name: the Python client's name of the field; "" for `name`.
        file_word: the word of a choice for which the command line takes the name of a file; "" for none.
        detail: whether it is one of the fields that few people need: losses and optimiser.
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
    python_name: str = ""
    file_word: str = ""
    detail: bool = False

    @property
    def shown_default(self) -> str:
        """The default in words."""
        return self.default_words or self.default.words

    @property
    def range(self) -> str:
        """The range in words, "0 or more" or "16 to 8192"; "" if there is none."""
        least, most = _shown(self.least), _shown(self.most)
        if math.isinf(self.least):
            return ""
        if math.isinf(self.most):
            return f"more than {least}" if self.above_least else f"{least} or more"
        return f"more than {least}, at most {most}" if self.above_least else f"{least} to {most}"

    def fault(self, value: Any) -> tuple[str, str] | None:
        """Checks a value.

        Returns:
            The place in the value ("", or for example "[1].layer"), and what is wrong there and what to do,
            in words that follow the field's name; None if nothing is wrong.
        """
        if self.kind == "layers":
            return self._fault_of_layers(value)
        if self.kind == "choice" and value not in self.words:
            return "", f"is {_quoted(value)}; give one of {', '.join(self.words)}"
        if self.kind in ("number", "whole number") and not self._in_range(value):
            unit = f" {self.unit}" if self.unit and _is_finite(value) else ""
            return "", f"is {_shown(value)}{unit}; give {self._wanted(value)}"
        return None

    def _fault_of_layers(self, layers: Sequence[tuple[str, float]]) -> tuple[str, str] | None:
        if len(layers) > len(self.words):
            return "", f"has {len(layers)} layers; give at most {len(self.words)}, each once"
        for index, (layer, weight) in enumerate(layers):
            if layer not in self.words:
                return f"[{index}].layer", f"is {_quoted(layer)}; give one of {', '.join(self.words)}"
            if not self._in_range(weight):
                return f"[{index}].weight", f"is {_shown(weight)}; give {self._wanted(weight)}"
        if len({layer for layer, _ in layers}) < len(layers):
            return "", "name a layer twice; give each once"
        return None

    def _wanted(self, wrong: float) -> str:
        """What to give in place of a number: "0 or more" alone would not exclude infinity."""
        return self.range if _is_finite(wrong) else f"a finite number: {self.range}"

    def _in_range(self, value: float) -> bool:
        above = self.least < value if self.above_least else self.least <= value
        return above and value <= self.most and math.isfinite(value)


def row(kind: Kind, help: str, **rest: Any) -> dict[str, RecipeField]:
    """Returns the metadata of a dataclass field that is a row of the table; takes the row's arguments."""
    return {"row": RecipeField(kind=kind, help=help, **rest)}


def rows(table: type) -> tuple[RecipeField, ...]:
    """Returns the rows of a dataclass whose fields are rows, in the order of the fields.

    A row without an option gets one from the field's name, and a row without a default gets the default of
    the dataclass.
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
    """Returns a text as a literal, shortened so that the rest of the sentence stays readable."""
    return repr(text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…")


def _is_finite(value: float) -> bool:
    # `math.isfinite` raises OverflowError for an integer that no float can hold.
    return -math.inf < value < math.inf


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and abs(value) < 1e9:
        return f"{value:.10g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
