"""Options that several commands share, which a command takes as one parameter."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol, get_type_hints, runtime_checkable


@runtime_checkable
class Options(Protocol):
    """Options that a command takes as one value."""

    def parameters(self) -> list[inspect.Parameter]:
        """A parameter for each option, as Typer reads it."""

    def taken(self, values: dict[str, Any]) -> Any:
        """The value; takes what was given of the options, by their parameters' names, out of `values`."""


class _DataclassOptions:
    """An option for each field of a dataclass."""

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
    """A command that takes several options in place of some of its parameters: in place of one that is a
    dataclass, an option for each of its fields; in place of one that is annotated with `Options`, those.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Options] = {}
    # Not `get_type_hints`: on Python 3.10 that hides the options whose default is None.
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
    # Typer asks for the type hints too, and would be told those of the command.
    del ungrouped.__wrapped__
    ungrouped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return ungrouped


def _options(annotation: Any) -> Options | None:
    if dataclasses.is_dataclass(annotation):
        return _DataclassOptions(annotation)
    return next(
        (extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, Options)), None
    )
