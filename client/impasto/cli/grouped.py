"""Options that several commands share, as dataclasses that a command takes whole."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes, in place of a parameter that is a dataclass, an option for each of its fields."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    # Not `get_type_hints`: on Python 3.10 that hides the options whose default is None.
    signature = inspect.signature(command, eval_str=True)
    for name, parameter in signature.parameters.items():
        kind = parameter.annotation
        if dataclasses.is_dataclass(kind):
            groups[name] = kind
            options = get_type_hints(kind, include_extras=True)
            parameters += [
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty
                    if field.default is dataclasses.MISSING
                    else field.default,
                    annotation=options[field.name],
                )
                for field in dataclasses.fields(kind)
            ]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=kind))

    @functools.wraps(command)
    def ungrouped(**values: Any) -> None:
        whole = {
            name: kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})
            for name, kind in groups.items()
        }
        command(**values, **whole)

    ungrouped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    # Typer asks for the type hints too, and would be told those of the command.
    del ungrouped.__wrapped__
    ungrouped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return ungrouped
