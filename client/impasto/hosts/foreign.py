"""JSON from somebody else: from a document or a file that another person made."""

from __future__ import annotations

import json
from typing import Any

MOST_DEPTH = 32
"""Deepest nesting that is taken. Nothing of Impasto's is nested half as deeply."""

MOST_VALUES = 10**6
"""Most values that are taken; each needs far more memory than its bytes."""


def foreign_json(data: bytes, most_bytes: int, most_depth: int | None = MOST_DEPTH) -> Any:
    """Return a JSON value; None if it cannot be read, is too large, or is nested too deeply.

    Python reads a nesting that it cannot write again, or not from everywhere.

    Args:
        most_bytes: largest size that is read.
        most_depth: deepest nesting that is taken; None if each part of the value is checked later.
    """
    # Pictures are in base64, which has none of these characters.
    if len(data) > most_bytes or sum(map(data.count, (b",", b"[", b"{"))) > MOST_VALUES:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if most_depth is None or is_shallow(value, most_depth) else None


def is_shallow(value: Any, most: int = MOST_DEPTH) -> bool:
    """Return whether a value's nesting is at most `most` deep."""
    level = [value]
    for _depth in range(most + 1):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
        if not below:
            return True
        level = below
    return False
