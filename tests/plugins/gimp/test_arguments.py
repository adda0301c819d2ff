"""The arguments of the procedure, with a fake GIMP."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from impasto_server.engine.recipe import FIELD

PLUGIN = Path(__file__).parents[3] / "client" / "plugins" / "gimp" / "impasto" / "impasto.py"


class Choice:
    """Stands for `Gimp.Choice`."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def add(self, word: str, number: int, label: str, help: str) -> None:
        assert number == len(self.words)
        assert label
        assert help
        self.words.append(word)


class Procedure:
    """Stands for `Gimp.ImageProcedure`: keeps the arguments by their names."""

    def __init__(self) -> None:
        self.arguments: dict[str, tuple[Any, ...]] = {}

    def __getattr__(self, call: str) -> Any:
        def called(*given: Any) -> None:
            if call.endswith("_argument"):
                name, _label, _help, *rest, _flags = given
                self.arguments[name] = tuple(rest)

        return called


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plugin's program, as GIMP loads it."""
    gimp = MagicMock()
    gimp.PlugIn = type("PlugIn", (), {"__gtype__": None})
    gimp.Choice.new = Choice
    gimp.ImageProcedure.new = lambda *_: Procedure()
    repository = types.SimpleNamespace(Gegl=MagicMock(), Gimp=gimp, GLib=MagicMock(), GObject=MagicMock())
    monkeypatch.setitem(sys.modules, "gi", MagicMock(repository=repository))
    monkeypatch.setitem(sys.modules, "gi.repository", repository)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("gimp_plugin", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_arguments_have_the_ranges_and_words_of_the_recipe(plugin: Any) -> None:
    arguments = plugin.Plugin().do_create_procedure("a name").arguments
    assert arguments["size"] == (FIELD["longest_side"].least, FIELD["longest_side"].most, 1024)
    assert arguments["seed"] == (0, 2**31 - 1, 0)
    assert arguments["strength"] == (0, 100, 50)
    assert arguments["stroke-size"] == (10, 400, 100)
    assert arguments["evaluations"] == (0, FIELD["evaluations"].most, 0)
    for name in ("effort", "color"):
        choice, default = arguments[name]
        assert choice.words == list(FIELD[name].words)
        assert default == FIELD[name].default.otherwise


def test_without_the_client_there_is_still_a_procedure_to_say_so(
    plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("choices", "settings", "translate"):
        monkeypatch.setitem(sys.modules, f"impasto.hosts.{name}", None)
    assert plugin.Plugin().do_create_procedure("a name").arguments == {}
