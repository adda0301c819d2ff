"""The help of every command: texts in one form, with every default, at three widths."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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


ALL_HELP = """
import sys
from impasto.cli import app
for names in sys.argv[1:]:
    try:
        app([*names.split(), "--help"], prog_name="impasto")
    except SystemExit as ended:
        print(f"={ended.code}=")
"""


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_shows_no_types_of_python_and_cuts_nothing_off(columns: int) -> None:
    names = [" ".join(names) for names, _ in COMMANDS]
    # In a new process, because the form of the help depends on the width at the start.
    shown = subprocess.run(
        [sys.executable, "-c", ALL_HELP, *names],
        env={**os.environ, "COLUMNS": str(columns), "TERMINAL_WIDTH": str(columns)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert not re.search(r"<\w|\[x|list\[|bool", shown)
    assert all(len(line) <= columns for line in shown.splitlines())
    *helps, rest = shown.split("=0=\n")
    assert not rest
    for text, (_, command) in zip(helps, COMMANDS, strict=True):
        for option in options(command):
            assert max(option.opts, key=len) in text


def test_help_shows_arguments_as_they_are_given(impasto: Impasto) -> None:
    assert "impasto stylize [OPTIONS] CONTENT STYLE..." in impasto("stylize", "--help").out
    assert "impasto plugin build [OPTIONS] HOST" in impasto("plugin", "build", "--help").out


@pytest.mark.parametrize(("names", "command"), COMMANDS, ids=lambda value: str(value))
def test_help_says_recipe_as_the_option_does(names: list[str], command: Any) -> None:
    texts = [command.help, *(option.help for option in options(command))]
    assert not [text for text in texts if "objective" in text]


def test_help_names_the_sidecar_as_it_is_written(impasto: Impasto) -> None:
    help = " ".join(impasto("demo", "--help").out.replace("│", " ").split())
    assert "Write a JSON file beside the picture too (result.json for result.png), which says how it" in help
