"""The kinds of values that settings have: how each is read from text or TOML, and shown."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from impasto_server.fleet.on_ray.ask import Ask


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of values.

    Attributes:
        metavar: the placeholder for a value in help texts.
        read: makes a value from the text of an option or variable, or from TOML. Raises a ValueError that
            says what to give.
        show: writes a value as text that `read` accepts.
    """

    metavar: str
    read: Callable[[Any], Any]
    show: Callable[[Any], str] = str


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZES |= {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def _with_unit(value: Any, units: Mapping[str, float]) -> float:
    """Reads a number with its unit, and converts it to the unit whose factor is 1.

    A number without a unit is refused because it is ambiguous, except 0, which is the same in every unit.

    Raises:
        ValueError: the value is not a number with a known unit. The error has no message.
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
    """Whole numbers from `least` to `most`, both included."""

    def read(value: Any) -> int:
        upward = f"from {least} to {most:g}" if most < math.inf else f"of at least {least}"
        wanted = f"give a whole number {upward}"
        try:
            number = int(str(value))
        except ValueError:
            raise ValueError(wanted) from None
        if isinstance(value, bool) or not least <= number <= most:
            raise ValueError(wanted)
        return number

    return Kind("N", read)


def text(what: str) -> Kind:
    """Text that is not empty.

    Args:
        what: what the text stands for, with its article, such as "an address".
    """

    def read(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError(f"give {what}")
        return value

    return Kind("TEXT", read)


def _path(value: Any) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError("give a path")
    return Path(value).expanduser()


_DEVICE = re.compile(r"cpu|mps|cuda(:[0-9]{1,4})?")


def _devices(value: Any) -> str:
    names = value.split(",") if isinstance(value, str) else []
    if value != "auto" and not (names and all(_DEVICE.fullmatch(name) for name in names)):
        raise ValueError("give auto, or a comma-separated list of cpu, mps, cuda and cuda:N")
    return str(value)


def _yes(value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False}
    words |= {"off": False}
    try:
        return words[str(value).lower()]
    except KeyError:
        raise ValueError("give true or false") from None


_RAY = re.compile(r"auto|local|(ray://)?(\[[0-9A-Fa-f:.]+\]|[\w.-]+):[0-9]{1,5}")


def _ray(value: Any) -> str:
    if not isinstance(value, str) or not _RAY.fullmatch(value):
        raise ValueError("give auto, local, HOST:PORT or ray://HOST:PORT")
    return value


_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?"
_ORIGIN = re.compile(rf"https?://{_HOST}")
_URL = re.compile(rf"https?://{_HOST}(/[A-Za-z0-9._~-]+)*/?")


def _origins(value: Any) -> tuple[str, ...]:
    origins = value.split(",") if isinstance(value, str) else []
    if not origins or not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError("give origins such as https://example.org or http://localhost:8000, without a path")
    return tuple(origin.lower() for origin in origins)


def _url(value: Any) -> str:
    if not isinstance(value, str) or not _URL.fullmatch(value):
        raise ValueError("give an address such as https://example.org/impasto/")
    return value if value.endswith("/") else f"{value}/"


def one_of(*words: str) -> Kind:
    """One of several words."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"give one of {', '.join(words)}")
        return str(value)

    return Kind("|".join(words), read)


def bounded(kind: Kind, least: float, most: float = math.inf) -> Kind:
    """Times or sizes from `least` to `most`, both included, in seconds or bytes."""

    def read(value: Any) -> Any:
        amount = kind.read(value)
        if not least <= amount <= most:
            upward = f" to {kind.show(most)}" if most < math.inf else " or more"
            raise ValueError(f"give {kind.show(least)}{upward}")
        return amount

    return dataclasses.replace(kind, read=read)


_RESOURCE = re.compile(r"[A-Za-z_][\w.:/-]*")


def _ask(value: Any) -> Ask:
    wanted = "give amounts such as gpu=1,cpu=4,memory=8GiB,NAME=1"
    amounts: dict[str, float] = {}
    memory = 0
    for part in str(value).split(","):
        name, equals, amount = (piece.strip() for piece in part.partition("="))
        if (
            not equals
            or not _RESOURCE.fullmatch(name)
            or name.lower() in {known.lower() for known in amounts}
        ):
            raise ValueError(wanted)
        if name.lower() == "memory":
            if memory:
                raise ValueError(wanted)
            memory = _size(amount)
            continue
        try:
            amounts[name] = float(amount)
        except ValueError:
            raise ValueError(wanted) from None
        if not 0 < amounts[name] <= 1e6 or (amounts[name] > 1 and amounts[name] % 1):
            raise ValueError(f"{name}={amount} cannot be asked for; give a whole number, or a share of 1")
    gpu, cpu = amounts.pop("gpu", 0.0), amounts.pop("cpu", 0.0)
    if gpu > 1:
        raise ValueError("a worker paints on one GPU; give gpu=1, or a share of 1")
    if not (gpu or cpu):
        raise ValueError("a worker paints on a GPU or on cores; give gpu=1 or cpu=N, and what else it needs")
    return Ask(gpu, cpu, memory, amounts)


def _show_ask(ask: Ask | None) -> str:
    if ask is None:
        return "auto"
    amounts = {"gpu": ask.gpu, "cpu": ask.cpu} | dict(ask.custom)
    parts = [f"{name}={amount:g}" for name, amount in amounts.items() if amount]
    return ",".join(parts + ([f"memory={_show_size(ask.memory)}"] if ask.memory else []))


DEVICES = Kind("DEVICES", _devices)
"""Devices to paint on. Only the form of the names is checked: only a worker knows which devices exist."""
PATH = Kind("PATH", _path)
ORIGINS = Kind("URL", _origins, ",".join)
"""Origins of web pages."""
URL = Kind("URL", _url)
"""Address of a folder of a web site, which ends with "/"."""
RAY = Kind("ADDRESS", _ray)
"""Address of a Ray cluster."""
DURATION = Kind("TIME", _duration, _show_duration)
"""Times in seconds."""
SIZE = Kind("SIZE", _size, _show_size)
"""Sizes in bytes."""
YES = Kind("", _yes, lambda value: "yes" if value else "no")
ASK = Kind("AMOUNTS", lambda value: None if value == "auto" else _ask(value), _show_ask)
"""What one worker asks a machine for; "auto" is None."""
