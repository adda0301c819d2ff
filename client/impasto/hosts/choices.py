"""What an artist chooses, and the recipe's fields that follow from it."""

from __future__ import annotations

import dataclasses
from typing import Any

from impasto.recipe import FIELDS

EFFORTS = FIELDS["effort"].words
COLORS = FIELDS["color"].words
SIZES = (512, 768, 1024, 1536, 2048, 3072)
MIDDLE_CONTENT_WEIGHT: float = FIELDS["content_weight"].default_value
"""The content weight at strength 50: the default of the default objective."""
MOST_EVALUATIONS = int(FIELDS["evaluations"].most)
STROKE_SIZES = (round(100 * FIELDS["style_scale"].least), round(100 * FIELDS["style_scale"].most))
"""Smallest and largest stroke size, in percent."""
STRENGTH_SPAN = 8.0
"""Factor between the content weights at strengths 0 and 50, and between those at 50 and 100."""


@dataclasses.dataclass(frozen=True)
class Choices:
    """How to paint, in an artist's terms.

    Attributes:
        strength: strength of the style, 0 to 100: the content weight as artists see it. The content weight is
            `MIDDLE_CONTENT_WEIGHT` · `STRENGTH_SPAN` ^ ((50 - strength) / 50): at 0, where the content counts
            most, 8 times as much as at 50; at 100, where the style counts most, an eighth.
        effort: "draft", "standard" or "fine".
        evaluations: number of evaluations in place of the effort's; 0 for as many as the effort says.
        color: the colours of the result: the style's ("style"), or the content's, by painting only its
            lightness ("luminance") or by matching the style's colours to it first ("matched").
        size: longer side of the painting in pixels, at most; a larger part is painted at this size, and its
            picture is enlarged.
        stroke_size: size of the styles' strokes in percent of their own: the recipe's style scale.
        seed: seed of everything random.
    """

    strength: int = 50
    effort: str = FIELDS["effort"].default_value
    evaluations: int = 0
    color: str = FIELDS["color"].default_value
    size: int = 1024
    stroke_size: int = 100
    seed: int = FIELDS["seed"].default_value

    @property
    def content_weight(self) -> float:
        """The recipe's content weight."""
        weight = MIDDLE_CONTENT_WEIGHT * STRENGTH_SPAN ** ((50 - self.strength) / 50)
        return float(f"{weight:.4g}")

    def settings(self, *, texture: bool = False) -> dict[str, Any]:
        """Returns the recipe's fields, except the size. Effort or evaluations: the other one is None.

        Args:
            texture: whether a texture is made. It has no content, so there is neither a strength nor a choice
                of colours.
        """
        fields = {
            "content_weight": self.content_weight,
            "effort": None if self.evaluations else self.effort,
            "evaluations": self.evaluations or None,
            "color": self.color,
            "style_scale": self.stroke_size / 100,
            "seed": self.seed,
        }
        if texture:
            del fields["content_weight"], fields["color"]
        return fields

    def steering(self, before: Choices, *, texture: bool = False) -> dict[str, Any]:
        """Returns the recipe's fields that differ from before and can change during painting."""
        now, then = self.settings(texture=texture), before.settings(texture=texture)
        return {name: now[name] for name in now if FIELDS[name].steerable and now[name] != then[name]}

    def steered(self, wanted: Choices) -> Choices:
        """Returns these choices with those of `wanted` that can change during painting."""
        return dataclasses.replace(self, **{name: getattr(wanted, name) for name in STEERABLE})


STEERABLE = ("strength", "effort", "evaluations", "color")
"""The choices that can change during painting."""


def seed_range(largest: int) -> tuple[int, int]:
    """Return the smallest and the largest seed.

    Args:
        largest: the largest number that the host's widget can hold.
    """
    return int(FIELDS["seed"].least), min(largest, int(FIELDS["seed"].most))


def from_json(values: Any) -> Choices:
    """Return stored choices. Any that cannot be read gets its default."""
    default = Choices()
    if not isinstance(values, dict):
        return default
    # Older plugins kept the size under its name in the contract.
    values = {"size": values.get("longest_side"), **values}

    def whole(name: str, least: float, most: float) -> int:
        value = values.get(name)
        usable = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return int(value if usable else getattr(default, name))

    def in_range(name: str) -> int:
        return whole(name, FIELDS[name].least, FIELDS[name].most)

    return Choices(
        strength=whole("strength", 0, 100),
        effort=values["effort"] if values.get("effort") in EFFORTS else default.effort,
        evaluations=whole("evaluations", 0, MOST_EVALUATIONS),
        color=values["color"] if values.get("color") in COLORS else default.color,
        size=in_range("size"),
        stroke_size=whole("stroke_size", *STROKE_SIZES),
        seed=in_range("seed"),
    )
