"""What an artist chooses, and what of it the server is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from impasto.recipe import FIELDS

EFFORTS = FIELDS["effort"].words
COLORS = FIELDS["color"].words
SIZES = (512, 768, 1024, 1536, 2048, 3072)
MIDDLE_CONTENT_WEIGHT: float = FIELDS["content_weight"].default_value
"""Of the objective that is the server's default."""
STRENGTH_SPAN = 8.0
"""How many times the middle weight the content has at strength 0; a fraction of as much at 100."""


@dataclasses.dataclass(frozen=True)
class Choices:
    """How to paint, in an artist's terms.

    Attributes:
        strength: of the style against the content, 0 to 100. The content's weight in the recipe is
            `MIDDLE_CONTENT_WEIGHT` · `STRENGTH_SPAN` ^ ((50 - strength) / 50): eight times the middle one at
            0, where the photograph counts most, an eighth of it at 100, where nearly all is style.
        effort: "draft", "standard" or "fine".
        color: whose colours the result has: "style"; or the content's, by painting its lightness only
            ("luminance") or by matching the style's colours to it first ("matched").
        size: longer side of the painting in pixels, at most; a larger part is painted at this size, and its
            picture is enlarged.
        seed: of everything random.
    """

    strength: int = 50
    effort: str = FIELDS["effort"].default_value
    color: str = FIELDS["color"].default_value
    size: int = 1024
    seed: int = FIELDS["seed"].default_value

    @property
    def content_weight(self) -> float:
        """What the strength is in the recipe."""
        weight = MIDDLE_CONTENT_WEIGHT * STRENGTH_SPAN ** ((50 - self.strength) / 50)
        return float(f"{weight:.4g}")

    def settings(self) -> dict[str, Any]:
        """Fields of the recipe, but for the size."""
        return {
            "content_weight": self.content_weight,
            "effort": self.effort,
            "color": self.color,
            "seed": self.seed,
        }

    def steering(self, before: Choices) -> dict[str, Any]:
        """Fields of the recipe that can be changed in a running job, and are other than they were."""
        now, then = self.settings(), before.settings()
        return {name: now[name] for name in now if FIELDS[name].steerable and now[name] != then[name]}


_LABELS = {
    "draft": ("Draft", "A quick look"),
    "standard": ("Standard", "A good picture"),
    "fine": ("Fine", "The last bit of quality, at two and a half times the work or more"),
    "style": ("Of the style", "The palette is the painting's"),
    "luminance": ("My own (lightness painted)", "Only lightness is painted; your colours are put back"),
    "matched": ("My own (style matched)", "The style's colours are first matched to yours"),
}


def labelled(words: Sequence[str]) -> list[tuple[str, str, str]]:
    """`EFFORTS` or `COLORS` for a widget: each word with its label, and what it means."""
    return [(word, *_LABELS.get(word, (word.capitalize(), ""))) for word in words]


def seed_range(largest: int) -> tuple[int, int]:
    """The least and the largest seed.

    Args:
        largest: what the host's widget can hold.
    """
    return int(FIELDS["seed"].least), min(largest, int(FIELDS["seed"].most))


def from_json(values: Any) -> Choices:
    """Choices as they were kept; whatever of them cannot be understood is the default."""
    default = Choices()
    if not isinstance(values, dict):
        return default
    # Older plug-ins kept the size under its name in the contract.
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
        color=values["color"] if values.get("color") in COLORS else default.color,
        size=in_range("size"),
        seed=in_range("seed"),
    )
