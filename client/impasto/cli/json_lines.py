"""Events and errors as lines of JSON, for scripts."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from impasto.errors import ImpastoError


def print_json(kind: str, fields: dict[str, Any]) -> None:
    """Prints a line of JSON on stdout and flushes it."""
    print(json.dumps({"event": kind, **fields}, allow_nan=False), flush=True)


def plain(value: Any) -> dict[str, Any]:
    """Returns a dataclass as a dictionary that JSON can represent."""
    return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


def plain_error(error: ImpastoError) -> dict[str, Any]:
    """Returns an error as a dictionary that JSON can represent."""
    return {
        "code": error.code,
        "message": error.message,
        "fields": [{"field": field, "message": sentence} for field, sentence in error.fields],
        "reason": error.reason,
        "retry_after": error.retry_after,
    }


def _plain(value: Any) -> Any:
    from impasto.errors import ImpastoError

    if isinstance(value, ImpastoError):
        return plain_error(value)
    if dataclasses.is_dataclass(value):
        return plain(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON cannot represent NaN or infinity.
    return value
