"""The plugins' texts in other languages: complete, up to date, and not bypassed."""

from __future__ import annotations

import ast
import gettext
import importlib.util
import io
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from impasto.cli import plugins
from impasto.hosts import translate, words
from support.told_errors import TOLD

ROOT = Path(__file__).parents[2]
LANGUAGES = ("de", "fr", "ja")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("translations", ROOT / ".ci" / "translations.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["translations"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


translations = load()


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    yield
    translate.use(["en"])


# The files.


def test_every_text_is_translated_into_every_language() -> None:
    assert set(LANGUAGES) <= set(translations.languages())
    assert translations.faults() == []


def test_the_files_are_up_to_date() -> None:
    for path, data in translations.contents().items():
        assert path.read_bytes() == data, f"run `poe translations`: {path.name} is not up to date"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_keeps_what_surrounds_its_text(language: str) -> None:
    entries = translations.parsed((translations.LOCALE / f"{language}.po").read_text("utf-8"))
    for text, entry in entries.items():
        made = entry.translation
        assert made.strip() == made or text.strip() != text, text
        assert text.count("\n") == made.count("\n"), text
        assert ("…" in text) == ("…" in made), text
        ends = made.endswith((".", "。", "!", "！", "?", "？", "”", "“", "»", "」", "…"))
        assert not text.endswith((".", "!", "?")) or ends or "{" in made[-12:], text
        assert not re.search(r"\s[!?:;]", made) or language == "fr", text


@pytest.mark.parametrize(
    ("language", "short"),
    [
        ("de", "Unter studio:50051 antwortet kein Server."),
        ("fr", "Aucun serveur ne répond à studio:50051."),
        ("ja", "studio:50051 のサーバーが応答しません。"),
    ],
)
def test_an_error_in_another_language(language: str, short: str) -> None:
    from impasto.errors import Unreachable

    translate.use([language])
    assert words.short(Unreachable("gone"), "studio:50051") == short


@pytest.mark.parametrize("language", LANGUAGES)
def test_short_sentences_are_short_in_every_language(language: str) -> None:
    for error, address, *_ in TOLD:
        translate.use([language])
        said = words.short(error, address, styles=["Starry", "Mine"], areas=["Sky"])
        assert len(said) <= 70, said


def test_sentences_are_joined_as_the_language_does() -> None:
    translate.use(["ja"])
    assert words.joined("一。", "", "二。") == "一。二。"
    translate.use(["de"])
    assert words.joined("Eins.", "Zwei.", "Drei.") == "Eins. Zwei. Drei."


@pytest.mark.parametrize("host", plugins.HOSTS)
def test_a_plugin_has_the_translations_in_its_package(host: plugins.HostName, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(plugins.build(host, vendored=tmp_path))) as package:
        packed = {name.rpartition("/")[2]: name for name in package.namelist() if "/locale/" in name}
        assert set(packed) - {""} == {f"{language}.mo" for language in translations.languages()}
        for name, path in packed.items():
            if name:
                assert package.read(path) == (translations.LOCALE / name).read_bytes()


# The language.


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (["de"], "Abgebrochen."),
        (["de_AT.UTF-8"], "Abgebrochen."),
        (["de-CH"], "Abgebrochen."),
        (["xx", "fr_CA@euro"], "Annulé."),
        (["en_GB", "de"], "Cancelled."),
        (["C.UTF-8"], "Cancelled."),
        (["xx"], "Cancelled."),
        ([], "Cancelled."),
        (["../../etc/passwd", "de"], "Abgebrochen."),
    ],
)
def test_the_first_language_with_a_translation_is_used(wanted: list[str], said: str) -> None:
    translate.use(wanted)
    assert translate._("Cancelled.") == said


def test_a_text_without_translation_stays_english_and_nothing_stays_nothing() -> None:
    translate.use(["de"])
    assert translate._("Xyzzy") == "Xyzzy"
    assert translate._("") == ""


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"LANGUAGE": "de:fr", "LANG": "en_US.UTF-8"}, "Abgebrochen."),
        ({"LANG": "fr_FR.UTF-8"}, "Annulé."),
        ({"LC_ALL": "C", "LANG": "fr_FR.UTF-8"}, "Cancelled."),
        ({"LC_MESSAGES": "ja_JP", "LANG": "fr_FR.UTF-8"}, "キャンセルしました。"),
    ],
)
def test_the_language_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(translate, "_now", None)
    assert translate._("Cancelled.") == said


# The tool.


def test_a_file_of_translations_is_read_as_it_is_written() -> None:
    entry = translations.Entry
    texts = {
        e.text: e
        for e in (
            entry('A "quoted" \\ text', "Ein „Text“", comments=["A note"], files=["a.py"], own=["mine"]),
            entry("Two\nlines\tand a tab", "Zwei\nZeilen\tund", files=["a.py", "b.py"], fuzzy=True),
            entry("long " * 60 + "end.", "", files=["a.py"]),
        )
    }
    read = translations.parsed(translations.written(texts, "de"))
    assert list(read) == list(texts)
    for text, each in texts.items():
        assert (read[text].translation, read[text].fuzzy, read[text].own) == (
            each.translation,
            each.fuzzy,
            each.own,
        )
    compiled = gettext.GNUTranslations(io.BytesIO(translations.compiled(texts, "de")))
    assert compiled.gettext('A "quoted" \\ text') == "Ein „Text“"
    assert compiled.gettext("Two\nlines\tand a tab") == "Two\nlines\tand a tab"
    assert compiled.info()["language"] == "de"


def test_a_changed_text_keeps_its_translation_as_a_guess() -> None:
    entry = translations.Entry
    known = {"Choose a style first.": entry("Choose a style first.", "Wählen Sie zuerst einen Stil.")}
    template = {text: entry(text) for text in ("Choose a style at first.", "Something else")}
    merged = translations.merged(template, known)
    assert merged["Choose a style at first."].translation == "Wählen Sie zuerst einen Stil."
    assert merged["Choose a style at first."].fuzzy
    assert merged["Something else"].translation == ""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(): return _(f'{x} styles')", "one plain text"),
        ("def f(): return _('a' + b)", "one plain text"),
        ("def f(): return _('%s' % b)", "one plain text"),
        ("def f(): return _(name)", "one plain text"),
        ("def f(): return _('')", "one plain text"),
        ("def f(): return _('a', 'b')", "one plain text"),
        ("LABEL = _('Style')", "at import"),
        ("class A:\n    label = _('Style')", "at import"),
        ("def f(label=_('Style')): pass", "at import"),
    ],
)
def test_a_misused_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / "a.py").write_text(source)
    monkeypatch.setattr(translations, "ROOT", tmp_path)
    monkeypatch.setattr(translations, "SOURCES", (tmp_path,))
    with pytest.raises(translations.Misuse, match=f"a.py:[12]: .*{said}"):
        translations.collected()


def test_texts_are_collected_with_their_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text(
        "def f():\n    # Translators: A note\n    # in two lines.\n    return _('One ' 'text')\n"
        "names = lambda: _('Late')\n"
    )
    (tmp_path / "b.py").write_text("def f(): return _('One text')\n")
    monkeypatch.setattr(translations, "ROOT", tmp_path)
    monkeypatch.setattr(translations, "SOURCES", (tmp_path,))
    found = translations.collected()
    assert list(found) == ["One text", "Late"]
    assert found["One text"].comments == ["A note in two lines."]
    assert found["One text"].files == ["a.py", "b.py"]


# The sources.

SHOWN = re.compile(
    r"set(Text|ToolTip|WindowTitle|PlaceholderText|AccessibleName|AccessibleDescription|StatusTip|WhatsThis"
    r"|Title|SpecialValueText|LabelText)|add(Row|Item|Action|Tab|Menu|Button)"
    r"|information|warning|question|critical|getText|getItem|getOpenFileNames?|getSaveFileName"
    r"|set_(text|label|title|markup|tooltip_text|tooltip_markup|placeholder_text|menu_label|documentation"
    r"|name_and_description|description)|add_\w+_argument|add_button|append_text|new_with_(label|mnemonic)"
    r"|progress_(init|set_text)|Q(Label|PushButton|ToolButton|CheckBox|RadioButton|GroupBox|Action|DockWidget|Menu)"
)
"""Functions whose texts an artist sees."""
SHOWN_ARGUMENTS = {"label", "title", "text", "tooltip_text", "placeholder_text", "message"}
RAISED = {"ValueError", "CannotPlace", "ToldError", "Told"}
NAMES = re.compile(r"Impasto|px|Ctrl|GIMP|Krita|[\w*-]+(\.\w+|:\d+)")
"""Words that are the same in every language, names of files and addresses among them."""
LEFT_OUT = {"cannot_run.py"}
"""Files that run when `impasto.hosts`, and with it the translations, is missing."""


def sources() -> list[Path]:
    return [
        file
        for folder in translations.SOURCES
        for file in sorted(folder.rglob("*.py"))
        if file.name not in LEFT_OUT
    ]


def bare(node: ast.AST) -> Iterator[str]:
    """The literal texts for people in an expression that are not in a call of `_`."""
    if isinstance(node, ast.Constant):
        if (
            isinstance(node.value, str)
            and re.search(r"[^\W\d_]", node.value)
            and not NAMES.fullmatch(node.value)
        ):
            yield node.value
    elif isinstance(node, (ast.JoinedStr, ast.BinOp)):
        for child in ast.iter_child_nodes(node):
            yield from bare(child)
    elif isinstance(node, ast.IfExp):
        yield from bare(node.body)
        yield from bare(node.orelse)


def untranslated(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        args: list[ast.expr] = [word.value for word in call.keywords if word.arg in SHOWN_ARGUMENTS]
        if re.fullmatch(r"add_\w+_argument", name):
            args += call.args[1:3]
        elif name in ("addItem", "addAction", "addTab") or name in RAISED:
            args += call.args[:2]
        elif SHOWN.fullmatch(name):
            args += call.args
        for arg in args:
            for text in bare(arg):
                yield call.lineno, text


@pytest.mark.parametrize(
    "folder",
    [
        "client/impasto/hosts",
        "client/plugins/krita",
        "client/plugins/gimp",
    ],
)
def test_no_text_that_an_artist_sees_is_left_out_of_the_translations(folder: str) -> None:
    files = [file for file in sources() if file.is_relative_to(ROOT / folder)]
    assert files
    found = [
        f"{file.relative_to(ROOT)}:{line}: “{text}”"
        for file in files
        for line, text in untranslated(ast.parse(file.read_text("utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("label.setText('Style')", True),
        ("label.setText(_('Style'))", False),
        ("label.setText(f'{a} styles')", True),
        ("label.setText(f'{a} %')", False),
        ("label.setText('a' if b else _('c'))", True),
        ("QLabel('Impasto')", False),
        ("Gtk.Button(label='_Paint')", True),
        ("raise ValueError('No document')", True),
        ("raise ValueError(_('No document'))", False),
        ("p.add_string_argument('style', 'Style', 'The style', None)", True),
        ("p.add_string_argument('style', _('Style'), _('The style'), None)", False),
        ("box.addItem(_('Style'), key)", False),
    ],
)
def test_what_counts_as_left_out(source: str, found: bool) -> None:
    assert bool(list(untranslated(ast.parse(source)))) == found
