"""What the client knows about a recipe's fields: the class of the rows of `recipe_table`."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Literal, TypeVar

from impasto.errors import InvalidRequest

Kind = Literal["number", "whole number", "yes or no", "choice", "layers"]

LayerWeights = Mapping[str, float] | Iterable[tuple[str, float]]
"""Layers of the feature network and their shares: `{"relu3_1": 1.0, "relu4_1": 0.5}`, or pairs."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeField:
    """A field of a recipe.

    Attributes:
        name: its name in `Recipe`.
        wire_name: its name in the contract.
        kind: the kind of its values.
        help: what it sets, as a sentence, with its unit.
        range: the range of a number, in words; "" for none.
        default: the default, in words.
        default_value: the default with the default objective; None if it depends on more than the objective.
        least, most: the range of a number, or of the layers' shares; infinite where there is no limit.
        above_least: whether `least` itself is outside the range.
        unit: the unit of a number; "" for none.
        words: the values of a choice, or the names of the layers.
        content_words: those words that need a content, which a texture does not have.
        steerable: whether it may change while the job is painted.
        texture: whether textures have it too.
        option: its option on the command line.
        metavar: how the command line's help shows a value; "" to show the words or the kind.
        file_word: the word of a choice for which the command line takes a file's name; "" for none.
        detail: whether it belongs to the losses or the optimiser, which few people change.
    """

    name: str
    kind: Kind
    help: str
    default: str
    option: str
    wire_name: str = ""
    range: str = ""
    default_value: Any = None
    least: float = -math.inf
    most: float = math.inf
    above_least: bool = False
    unit: str = ""
    words: tuple[str, ...] = ()
    content_words: tuple[str, ...] = ()
    steerable: bool = False
    texture: bool = True
    metavar: str = ""
    file_word: str = ""
    detail: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "wire_name", self.wire_name or self.name)

    def fault(self, value: Any) -> tuple[str, str] | None:
        """Return what is wrong with a value, in the server's words.

        Returns:
            The place in the value ("", or for example "[1].layer") and the fault, as a clause that follows
            the field's name; None if nothing is wrong.
        """
        if self.kind == "layers":
            return self._fault_of_layers(value)
        if self.kind == "choice" and value not in self.words:
            return "", f"is {value!r}; give one of {', '.join(self.words)}"
        if self.kind in ("number", "whole number") and not self._in_range(value):
            unit = f" {self.unit}" if self.unit and _is_finite(value) else ""
            return "", f"is {_shown(value)}{unit}; give {self._wanted(value)}"
        return None

    def values(self) -> str:
        """The numbers that it accepts, in words."""
        return f"a {self.kind}: {self.range}" if self.range else f"a {self.kind}"

    def _fault_of_layers(self, layers: Sequence[tuple[str, float]]) -> tuple[str, str] | None:
        for index, (layer, weight) in enumerate(layers):
            if layer not in self.words:
                return f"[{index}].layer", f"is {layer!r}; give one of {', '.join(self.words)}"
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


def pairs_of_layers(field: str, layers: LayerWeights | None) -> tuple[tuple[str, float], ...] | None:
    """Return layers and their shares as pairs: a mapping could be changed later, and has no hash.

    Raises:
        InvalidRequest: they are neither a mapping nor pairs of a name and a number.
    """
    if layers is None:
        return None
    remedy = f"cannot be {layers!r}; give layers and their weights, for example {{'relu4_2': 1.0}}"
    fault = InvalidRequest(f"{field} {remedy}", fields=[(f"spec.recipe.{field}", remedy)])
    try:
        pairs = [
            (name, weight) for name, weight in (layers.items() if isinstance(layers, Mapping) else layers)
        ]
    except (TypeError, ValueError):
        raise fault from None
    if not all(isinstance(name, str) and isinstance(weight, Real) for name, weight in pairs):
        raise fault
    return tuple((name, float(weight)) for name, weight in pairs)


def with_known_settings(recipe: type[T]) -> type[T]:
    """Decorates the dataclass of recipes: a keyword that is no field gets an error that names the nearest."""
    make = recipe.__init__

    @functools.wraps(make)
    def checked(self: T, *values: Any, **settings: Any) -> None:
        check_settings(settings)
        make(self, *values, **settings)

    recipe.__init__ = checked  # type: ignore[method-assign,assignment]
    return recipe


def check_settings(settings: Iterable[str], others: Iterable[str] = (), call: str = "") -> None:
    """Check that keywords are fields of a recipe.

    Args:
        settings: the keywords.
        others: further keywords that are known.
        call: the function that takes them, for the error; "" for a recipe.

    Raises:
        TypeError: a keyword is unknown; the message names the nearest one.
    """
    from impasto.recipe_table import FIELDS

    known = [*FIELDS, *others]
    for name in settings:
        if name not in known:
            unknown = f"{call}() has no argument or setting" if call else "unknown setting"
            raise TypeError(f"{unknown} {name!r}; {_nearest(name, known)}")


def _nearest(name: str, known: Sequence[str]) -> str:
    """A clause that says which keyword could be meant."""
    from impasto.recipe_table import FIELDS

    for field in FIELDS.values():
        if name in (field.wire_name, field.option.strip("-").replace("-", "_")):
            return f"did you mean {field.name!r}?"
    matches = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {matches[0]!r}?" if matches else f"give one of {', '.join(known)}"


def _is_finite(value: float) -> bool:
    # `math.isfinite` raises OverflowError for an integer that no float can hold.
    return -math.inf < value < math.inf


def _shown(value: float) -> str:
    if isinstance(value, float) and abs(value) < 1e9:
        return f"{value:.10g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
