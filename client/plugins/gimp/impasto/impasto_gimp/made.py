"""What is stored with a layer about how it was made, and the layer's name."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

from impasto.hosts import Choices, StyleShare
from impasto.hosts.controller import LARGEST_SEED
from impasto.hosts.told import cut
from impasto.hosts.translate import _
from impasto_gimp import images
from impasto_gimp.content import Part

LONGEST = 80
"""Characters of the titles in a layer's name."""


def name(titles: Sequence[str], choices: Choices) -> str:
    """Returns the name of a new layer.

    Args:
        titles: the titles of its styles.
    """
    return _("{style}, strength {strength}, seed {seed}").format(
        style=cut(" + ".join(titles), LONGEST), strength=choices.strength, seed=choices.seed
    )


def record(
    styles: Sequence[dict[str, Any]], choices: Choices, job: Any, place: dict[str, Any]
) -> dict[str, Any]:
    """Returns how a layer was made, as JSON values.

    Args:
        styles: key, title and share of each style.
        job: what the server says about the job.
        place: notes about where the result goes; what was painted is found with them.
    """
    return {
        "style": styles[0]["title"] if styles else "",
        "styles": list(styles),
        "choices": dataclasses.asdict(choices),
        "job": job,
        "source": {
            "kind": place.get("kind"),
            "layer": place.get("layer", {}).get("tattoo"),
            "part": place.get("source"),
            # In another image, the layer's number is another layer's.
            "document": place.get("document"),
        },
    }


def described(styles: Sequence[StyleShare]) -> list[dict[str, Any]]:
    """Returns styles as `record` has them."""
    return [{"key": share.style.key, "title": share.style.title, "share": share.share} for share in styles]


def is_second(part: Part, styles: list[dict[str, Any]], choices: Choices) -> bool:
    """Returns whether the image has a painting of this very part with these styles and choices already.

    Args:
        styles: the styles as `described` returns them.
    """
    for layer in images.layers(part.image):
        how = images.made(layer) or {}
        source = how.get("source")
        if (
            isinstance(source, dict)
            and source.get("part") == part.source
            and how.get("styles") == styles
            and how.get("choices") == dataclasses.asdict(choices)
        ):
            return True
    return False


def fresh(part: Part, styles: list[dict[str, Any]], choices: Choices) -> Choices:
    """Returns choices with a new seed where the same painting would come out a second time."""
    while is_second(part, styles, choices):
        choices = dataclasses.replace(choices, seed=random.randrange(LARGEST_SEED + 1))
    return choices
