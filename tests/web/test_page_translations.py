"""The page's texts in other languages: complete, up to date, and all found."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LANGUAGES = ["de", "fr", "ja"]


def load() -> ModuleType:
    sys.path.insert(0, str(ROOT / ".ci"))
    try:
        spec = importlib.util.spec_from_file_location(
            "page_translations", ROOT / ".ci" / "page_translations.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / ".ci"))
    return module


translations = load()


def test_every_text_is_translated_into_every_language() -> None:
    assert translations.languages() == LANGUAGES
    assert translations.faults() == []


def test_the_files_are_up_to_date() -> None:
    for path, data in translations.contents().items():
        assert path.read_bytes() == data, f"run `poe translations`: {path.name} is not up to date"


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_page_loads_has_every_text(language: str) -> None:
    catalog = json.loads((translations.COMPILED / f"{language}.json").read_text("utf-8"))
    assert set(catalog) == set(translations.collected())


def test_texts_are_found_and_those_in_comments_are_not() -> None:
    source = """
        // _("a comment")
        /** `_("Seed {seed}", {seed: 3})` */
        const found = /_\\("no"/.test(text) && `${_("within")}`;
        show(_("One"), _('Two {n}', { n: 1 }), _("long " +
            "text"));
        export function _(text, values = {}) {}
    """
    assert list(translations.texts_of(source, "it.js")) == ["within", "One", "Two {n}", "long text"]


def test_texts_within_templates_are_found() -> None:
    source = """
        show(`${n} · ${_("One {n}", { n: 1 })}, ${deep ? _("don't") : f({ a: {} })} it's ${_("Two")}`,
            _("Three"));
    """
    assert list(translations.texts_of(source, "it.js")) == ["One {n}", "don't", "Two", "Three"]


@pytest.mark.parametrize("call", ["_(text)", '_("a" + text)', "_(`a ${b}`)"])
def test_a_text_that_cannot_be_found_is_refused(call: str) -> None:
    with pytest.raises(translations.Misuse, match=r"it\.js:2: _\(\) takes one plain text"):
        list(translations.texts_of(f"\n{call}", "it.js"))
