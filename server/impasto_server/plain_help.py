"""Help and usage errors of `impasto-server` in plain words, without those of typer and its libraries."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# Typer has no public name for the error of a wrong command line.
_UsageError: type[Any] = typer.BadParameter.__bases__[0]

_REWORDED = (
    (r"Got unexpected extra argument\(s\) \((.*)\)", r"`{command}` does not take {0!r}; leave it out"),
    (r"No such command '([^']*)'.*", r"there is no command {0!r}; `{command} --help` lists the commands"),
    (r"No such option:? '?([^' ]*)'?.*", r"there is no option {0}; `{command} --help` lists the options"),
    (r"Option '(.*)' requires .*", r"{0} needs a value; give one after it"),
    (r"Option '(.*)' does not take a value\.?", r"{0} takes no value; leave the value out"),
    (r"Missing (?:argument|option) '([^']*)'.*", r"{0} is missing; `{command} --help` describes it"),
)
"""Typer's messages, and ours. {0} is the first group of the pattern."""


class _PlainHelp:
    """A command whose help has our texts only: no types of Python, and no notes of typer about defaults."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments, options = [], []
        for param in self.get_params(ctx):  # type: ignore[attr-defined]
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                arguments.append((param.metavar, param.help))
            else:
                options.append((record[0], param.help))
        for title, records in (("Arguments", arguments), ("Options", options)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def get_short_help_str(self, limit: int = 45) -> str:
        """Returns the first sentence of the help, as long as it is."""
        return str(super().get_short_help_str(limit=sys.maxsize))  # type: ignore[misc]

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Shows arguments as other programs do: NAME, not {NAME}."""
        braces = {ord("{"): None, ord("}"): None}
        pieces = super().collect_usage_pieces(ctx)  # type: ignore[misc]
        return [piece.translate(braces) for piece in pieces]


class PlainCommand(_PlainHelp, TyperCommand):
    """A command with plain help."""


class PlainGroup(_PlainHelp, TyperGroup):
    """A group of commands with plain help."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class PlainProgram(PlainGroup):
    """The group of all commands. Says in one line what is wrong with a command line, and ends with code 2."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().make_context(*args, **extra)
        except _UsageError as error:
            raise _told(error) from None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            raise _told(error) from None


def _told(error: Any) -> BaseException:
    """Prints a usage error. Returns what to raise instead of it."""
    text = error.format_message()
    if isinstance(error, typer.BadParameter) and error.message:
        named = error.param_hint or (max(error.param.opts, key=len) if error.param else "the command line")
        text = f"{named} {error.message}"
    else:
        # Errors of the parser have no context.
        command = "impasto-server" if error.ctx is None else error.ctx.command_path
        if error.ctx is not None and text == error.ctx.get_help():
            # A group without a command shows its help.
            shown: BaseException = error
            return shown
        for pattern, words in _REWORDED:
            if found := re.fullmatch(pattern, text, re.DOTALL):
                text = words.format(found[1], command=command)
                break
    print(f"impasto-server: {text}", file=sys.stderr, flush=True)
    return typer.Exit(2)


# Parsers of values. Their errors continue the option's name: "--size" and "is 'x'; give 16 to 8192 pixels".


def number(least: float, most: float, wanted: str) -> Callable[[str], float]:
    """Returns a parser of numbers from `least` to `most`; `wanted` says in an error what to give."""

    def parse_number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise _wrong(text, wanted)
        return value

    return parse_number


def share(text: str) -> float:
    """Parses a weight: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise _wrong(text, "a finite number above 0")
    return value


def whole_number(least: int, most: int, wanted: str) -> Callable[[str], int]:
    """Returns a parser of whole numbers from `least` to `most`; `wanted` says in an error what to give."""

    def parse_whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _wrong(text, wanted) from None
        if not least <= value <= most:
            raise _wrong(text, wanted)
        return value

    return parse_whole_number


def one_of(*words: str) -> Callable[[str], str]:
    """Returns a parser that accepts these words only."""

    def parse_word(text: str) -> str:
        if text not in words:
            raise _wrong(text, f"one of {', '.join(words)}")
        return text

    return parse_word


def _wrong(text: str, wanted: str) -> typer.BadParameter:
    return typer.BadParameter(f"is {repr(text) if text else 'empty'}; give {wanted}")
