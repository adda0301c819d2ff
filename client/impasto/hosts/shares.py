"""Styles with their shares of a painting."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from impasto.hosts.styles import StyleItem, item_from_json, item_to_json

LEAST_SHARE = 1
MOST_SHARE = 1000
MOST_STYLES = 64
"""Styles of one painting that are read; no server takes as many."""


@dataclasses.dataclass(frozen=True)
class StyleShare:
    """A style, and how much of the painting it makes.

    Attributes:
        style: a style of the library.
        share: its weight relative to the other styles' shares, 1 to 1000.
    """

    style: StyleItem
    share: int = 100


def title_of(styles: Iterable[StyleShare]) -> str:
    """Return the titles of styles in one line."""
    return " + ".join(share.style.title for share in styles)


def shares_to_json(styles: Iterable[StyleShare]) -> list[dict[str, Any]]:
    """Return styles with shares as they are stored."""
    return [{**item_to_json(share.style), "share": share.share} for share in styles]


def shares_from_json(value: Any) -> tuple[StyleShare, ...]:
    """Return stored styles; empty if they cannot be read.

    Args:
        value: an object that has "styles", or "style" as older plugins stored it.
    """
    if not isinstance(value, dict):
        return ()
    stored = value.get("styles", [value.get("style")])
    shares = []
    if not isinstance(stored, list) or len(stored) > MOST_STYLES:
        return ()
    for each in stored:
        item = item_from_json(each)
        if item is None:
            return ()
        share = each.get("share", 100)
        whole = isinstance(share, int) and not isinstance(share, bool)
        shares.append(StyleShare(item, share if whole and LEAST_SHARE <= share <= MOST_SHARE else 100))
    return tuple(shares)
