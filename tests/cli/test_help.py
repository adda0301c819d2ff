"""What the help of every command says: texts in one form, with every default, at two widths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from impasto.cli import app
from support.command_line import Impasto


def commands() -> Iterator[tuple[list[str], Any]]:
    group: Any = get_command(app)
    for name, command in group.commands.items():
        if name == "plugin":
            yield from (([name, inner], found) for inner, found in command.commands.items())
        else:
            yield [name], command


COMMANDS = list(commands())


def options(command: Any) -> list[Any]:
    return [
        parameter
        for parameter in command.params
        if parameter.opts[0].startswith("-") and not parameter.hidden and parameter.name != "help"
    ]


@pytest.mark.parametrize(("names", "command"), COMMANDS, ids=lambda value: str(value))
def test_every_help_text_is_a_sentence_and_says_the_default(names: list[str], command: Any) -> None:
    assert re.match(r"[A-Z].*\.$", command.help)
    for option in options(command):
        assert re.match(r"[A-Z].*\.$", option.help), option.opts
        if not option.required:
            assert re.search(r"Default: .+\.$|Required", option.help), option.opts


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_shows_no_types_of_python_and_cuts_nothing_off(
    impasto: Impasto, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for names, command in COMMANDS:
        outcome = impasto(*names, "--help")
        assert outcome.code == 0
        assert not re.search(r"<\w|\bTEXT\b.*\bTEXT\b|\[x|list\[|<bool>|…$", outcome.out), outcome.out
        for option in options(command):
            assert max(option.opts, key=len) in outcome.out
        assert all(len(line) <= columns for line in outcome.out.splitlines())


def test_help_shows_arguments_as_they_are_given(impasto: Impasto) -> None:
    assert "impasto stylize [OPTIONS] CONTENT STYLE..." in impasto("stylize", "--help").out
    assert "impasto plugin build [OPTIONS] HOST" in impasto("plugin", "build", "--help").out
