"""Where the values of options come from: the command line or the environment."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

_WRITTEN: ContextVar[Mapping[str, str]] = ContextVar("_WRITTEN")


def remember(context: Any) -> None:
    """Remembers the sources of a command's options, from Typer's context after parsing."""
    found = {}
    for param in context.command.params:
        source = getattr(context.get_parameter_source(param.name), "name", "")
        if source == "COMMANDLINE":
            found[param.name] = str(max(param.opts, key=len))
        elif source == "ENVIRONMENT":
            found[param.name] = str(param.envvar)
    _WRITTEN.set(found)


def written(parameter: str) -> str | None:
    """Returns how the user set an option: "--ca", or "IMPASTO_CA"; None if the option has its default.

    Args:
        parameter: name of the option's parameter: "ca".
    """
    return _WRITTEN.get({}).get(parameter)
