"""Lets a command take a group of options as one parameter."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol, get_type_hints, runtime_checkable


@runtime_checkable
class Options(Protocol):
    """A group of options that a command takes as one value."""

    def parameters(self) -> list[inspect.Parameter]:
        """Returns a parameter for each option, in the form that Typer reads."""

    def taken(self, values: dict[str, Any]) -> Any:
        """Returns the group's value. Removes its options from `values`, by their parameters' names."""


class _DataclassOptions:
    """The options of a dataclass: one for each field."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def parameters(self) -> list[inspect.Parameter]:
        options = get_type_hints(self._kind, include_extras=True)
        return [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
                annotation=options[field.name],
            )
            for field in dataclasses.fields(self._kind)
        ]

    def taken(self, values: dict[str, Any]) -> Any:
        return self._kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(self._kind)})


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Returns the command with some parameters replaced by options.

    A parameter whose type is a dataclass becomes an option for each field. A parameter that is annotated with
    `Options` becomes those options.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Options] = {}
    # On Python 3.10 `get_type_hints` would hide the options whose default is None.
    signature = inspect.signature(command, eval_str=True)
    for name, parameter in signature.parameters.items():
        options = _options(parameter.annotation)
        if options is not None:
            groups[name] = options
            parameters += options.parameters()
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def ungrouped(**values: Any) -> None:
        whole = {name: options.taken(values) for name, options in groups.items()}
        command(**values, **whole)

    ungrouped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    # Typer also reads the type hints, and would get those of `command`.
    del ungrouped.__wrapped__
    ungrouped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return ungrouped


def _options(annotation: Any) -> Options | None:
    if dataclasses.is_dataclass(annotation):
        return _DataclassOptions(annotation)
    return next(
        (extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, Options)), None
    )
