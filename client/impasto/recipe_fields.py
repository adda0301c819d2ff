"""What is known of a recipe's fields here: the class of the rows that `recipe_table` has."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, Literal

from impasto.errors import InvalidRequest

Kind = Literal["number", "whole number", "yes or no", "choice", "layers"]

LayerWeights = Mapping[str, float] | Iterable[tuple[str, float]]
"""Layers of the feature network and their shares: `{"relu3_1": 1.0, "relu4_1": 0.5}`, or pairs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeField:
    """A field of a recipe.

    Attributes:
        name: as in `Recipe`.
        kind: what its values are.
        help: what it sets, as a sentence, with its unit.
        range: of a number, in words; "" for none.
        default: in words.
        default_value: the default of the default objective; None where it is none or depends on more.
        least, most: the range of a number, or of the layers' shares; an infinite end is none.
        above_least: whether `least` itself is out of the range.
        unit: of a number; "" for none.
        words: what a choice, or the name of a layer, may be.
        content_words: those of them that need a content, which a texture does not have.
        steerable: whether it may change while the job is painted.
        texture: whether it is for textures too.
        option: on the command line.
        metavar: how the command line's help shows a value; "" where the words or the kind do.
        file_word: the word of a choice that the command line is given as a file's name; "" for none.
        detail: whether it is one of those that few need: losses and optimiser.
    """

    name: str
    kind: Kind
    help: str
    default: str
    option: str
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

    def fault(self, value: Any) -> tuple[str, str] | None:
        """What is wrong with a value, as the server would say it.

        Returns:
            Where in the value ("", or as "[1].layer"), and what, in words that go on from the field's name;
            None if nothing is wrong.
        """
        if self.kind == "layers":
            return self._fault_of_layers(value)
        if self.kind == "choice" and value not in self.words:
            return "", f"is {value!r}; give one of {', '.join(self.words)}"
        if self.kind in ("number", "whole number") and not self._in_range(value):
            unit = f" {self.unit}" if self.unit else ""
            return "", f"is {_shown(value)}{unit}; give {self.range}"
        return None

    def values(self) -> str:
        """What a number may be, in words."""
        return f"a {self.kind}: {self.range}" if self.range else f"a {self.kind}"

    def _fault_of_layers(self, layers: Sequence[tuple[str, float]]) -> tuple[str, str] | None:
        for index, (layer, weight) in enumerate(layers):
            if layer not in self.words:
                return f"[{index}].layer", f"is {layer!r}; give one of {', '.join(self.words)}"
            if not self._in_range(weight):
                return f"[{index}].weight", f"is {_shown(weight)}; give {self.range}"
        if len({layer for layer, _ in layers}) < len(layers):
            return "", "name a layer twice; give each once"
        return None

    def _in_range(self, value: float) -> bool:
        above = self.least < value if self.above_least else self.least <= value
        return above and value <= self.most and math.isfinite(value)


def pairs_of_layers(field: str, layers: LayerWeights | None) -> tuple[tuple[str, float], ...] | None:
    """Layers with their shares as pairs; a mapping could be changed later, and cannot be hashed.

    Raises:
        InvalidRequest: they are neither a mapping nor pairs of a name and a number.
    """
    if layers is None:
        return None
    remedy = f"cannot be {layers!r}; give layers with their weights, as {{'relu4_2': 1.0}}"
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


def _shown(value: float) -> str:
    if isinstance(value, float) and abs(value) < 1e9:
        return f"{value:.10g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
