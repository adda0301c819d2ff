"""What is stored with a layer about how it was made, and the layer's name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from impasto.hosts import Choices
from impasto.hosts.translate import _


def name(titles: Sequence[str], choices: Choices) -> str:
    """Returns the name of a new layer.

    Args:
        titles: the titles of its styles.
    """
    return _("{style}, strength {strength}, seed {seed}").format(
        style=" + ".join(titles), strength=choices.strength, seed=choices.seed
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
        "source": {"kind": place.get("kind"), "layer": place.get("layer", {}).get("tattoo")},
    }
