"""Help and usage errors without Python's words for types."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from impasto.cli.json_lines import print_json
from impasto.cli.sources import remember
from impasto.cli.values import quoted
from impasto.cli.words import clean

_ARGUMENTS = "impasto.arguments"
"""Where the context keeps the command line."""


class _Unexpected(typer.BadParameter):
    """There are more arguments than a command takes. The message is complete."""


class PlainCommand(TyperCommand):
    """A command whose help shows no types: they say nothing that the help texts do not say."""

    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)
        for param in params:
            if isinstance(param, TyperArgument):
                param.display_type_rich = _no_type  # type: ignore[method-assign]
            elif getattr(param, "is_flag", False):
                param.metavar = ""
        return params

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments. Says in plain words which arguments are too many."""
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            arguments = [str(param.metavar) for param in self.params if isinstance(param, TyperArgument)]
            raise _Unexpected(
                f"unexpected argument{'s' if len(rest) > 1 else ''} {', '.join(map(quoted, rest))}; "
                f"`{ctx.command_path}` takes {'only ' + ' '.join(arguments) if arguments else 'no arguments'}"
            )
        remember(ctx)
        return rest

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Shows arguments as other programs do: CONTENT, not {CONTENT}."""
        braces = {ord("{"): None, ord("}"): None}
        return [piece.translate(braces) for piece in super().collect_usage_pieces(ctx)]


class PlainGroup(TyperGroup):
    """A group of commands that tells a wrong value in a line: the option, what is wrong, and what to do."""

    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.find_root().meta.setdefault(_ARGUMENTS, list(args))
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            # An argument that is missing has no message. Typer shows the usage, which is what helps then.
            unexpected = isinstance(error, _Unexpected)
            if not unexpected and (not error.message or error.param is None):
                raise
            arguments = ctx.find_root().meta.get(_ARGUMENTS, [])
            message = error.message if unexpected else f"{_name(error.param, arguments)} {_plain(error)}"
            if "--json" in arguments:
                fields = {"code": "INVALID_ARGUMENT", "message": message, "fields": [], "reason": ""}
                print_json("error", {**fields, "retry_after": None, "exit_code": 2})
            else:
                print(clean(f"Error: {message}"), file=sys.stderr)
            raise typer.Exit(2) from None


def _name(param: Any, arguments: list[str]) -> str:
    """Returns what the user wrote: an option, the variable that stands for it, or an argument."""
    options = [name for name in param.opts if name.startswith("-")]
    if not options:
        return str(param.metavar or param.name)
    variable = param.envvar
    given = any(text.partition("=")[0] in options for text in arguments)
    if isinstance(variable, str) and variable in os.environ and not given:
        return variable
    return str(max(options, key=len))


def _plain(error: typer.BadParameter) -> str:
    # Our own parsers raise clauses. Typer itself parses only flags, which have a value in a variable.
    if error.message.startswith(("is ", "has ", "cannot ")):
        return str(error.message)
    return "is neither yes nor no; set it to 1 or 0"


def _no_type(ctx: Any) -> str:
    return ""
