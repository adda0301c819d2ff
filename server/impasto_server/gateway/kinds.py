"""What the values of settings are: how each kind is read from text or TOML, and shown."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a setting's values are.

    Attributes:
        metavar: how help shows one.
        read: a value from a flag's or a variable's text, or from TOML; raises ValueError with a sentence.
        show: a value as one would write it.
    """

    metavar: str
    read: Callable[[Any], Any]
    show: Callable[[Any], str] = str


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZES |= {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def _with_unit(value: Any, units: Mapping[str, float]) -> float:
    """A number and its unit as so many of the unit that is 1.

    A bare number is refused, since nobody can know what its reader takes it for; but for 0, which is the same
    in every unit.

    Raises:
        ValueError: it is nothing of the kind; without a sentence.
    """
    found = re.fullmatch(r"\s*([\d.]+)\s*([a-z]*)\s*", str(value).lower())
    if found is None or found[2] not in ("", *units):
        raise ValueError
    number = float(found[1])
    if number and not found[2]:
        raise ValueError
    return number * units.get(found[2], 1)


def _duration(value: Any) -> float:
    try:
        return _with_unit(value, _UNITS)
    except ValueError:
        raise ValueError("give a time with its unit, such as 7d or 30s") from None


def _show_duration(seconds: float) -> str:
    for unit in ("d", "h", "min"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _size(value: Any) -> int:
    try:
        return int(_with_unit(value, _SIZES))
    except (OverflowError, ValueError):
        raise ValueError("give a size with its unit, such as 500MiB or 20GiB") from None


def _show_size(size: int) -> str:
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit.lower()] == 0:
            return f"{size // _SIZES[unit.lower()]}{unit}"
    return f"{size}B" if size else "0"


def whole(least: int, most: float = math.inf) -> Kind:
    """Whole numbers, both ends included."""

    def read(value: Any) -> int:
        wanted = f"give a whole number from {least}" + (f" to {most:g}" if most < math.inf else " up")
        try:
            number = int(str(value))
        except ValueError:
            raise ValueError(wanted) from None
        if isinstance(value, bool) or not least <= number <= most:
            raise ValueError(wanted)
        return number

    return Kind("N", read)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("give a text")
    return value


_DEVICE = re.compile(r"cpu|mps|cuda(:[0-9]{1,4})?")


def _devices(value: Any) -> str:
    names = value.split(",") if isinstance(value, str) else []
    if value != "auto" and not (names and all(_DEVICE.fullmatch(name) for name in names)):
        raise ValueError("give auto, or of cpu, mps, cuda and cuda:N one or several with commas")
    return str(value)


def _yes(value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False}
    words |= {"off": False}
    try:
        return words[str(value).lower()]
    except KeyError:
        raise ValueError("give true or false") from None


def one_of(*words: str) -> Kind:
    """Some words and no other."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"give one of {', '.join(words)}")
        return str(value)

    return Kind("|".join(words), read)


def bounded(kind: Kind, least: float, most: float = math.inf) -> Kind:
    """Times or sizes from `least` to `most`, both included; in seconds or bytes."""

    def read(value: Any) -> Any:
        amount = kind.read(value)
        if not least <= amount <= most:
            upward = f" to {kind.show(most)}" if most < math.inf else " or more"
            raise ValueError(f"give {kind.show(least)}{upward}")
        return amount

    return dataclasses.replace(kind, read=read)


TEXT = Kind("TEXT", _text)
DEVICES = Kind("DEVICES", _devices)
"""What to paint on: the form of the names; which there are, only a worker knows."""
PATH = Kind("PATH", lambda value: Path(_text(value)).expanduser())
DURATION = Kind("TIME", _duration, _show_duration)
"""Seconds."""
SIZE = Kind("SIZE", _size, _show_size)
"""Bytes."""
YES = Kind("", _yes, lambda value: "yes" if value else "no")
