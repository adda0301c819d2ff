"""Brings the translations of the page's texts up to date; `poe translations` runs it after `translations.py`.

Collects every `_("…")` of the page's modules, merges the texts into `server/impasto_server/web/locale/*.po`,
and compiles these to the JSON that the page loads. A text that the plugins have too begins with their
translation.

With `--check`, writes nothing, and exits with an error if a file is not up to date or a text is not
translated.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import translations
from translations import ROOT, Entry, Misuse

WEB = ROOT / "server" / "impasto_server" / "web"
SOURCES = WEB / "page" / "js"
LOCALE = WEB / "locale"
COMPILED = WEB / "page" / "locale"

_TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/                          # comments
    |"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'        # texts
    |`(?:[^`\\]|\\.)*`
    |(?<=[(,=:\[!&|?{};\n])[ ]*/(?![*/])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*
    |[\w$.]+|\S""",
    re.VERBOSE | re.DOTALL,
)
"""What a module consists of, as far as it matters here."""


def collected() -> dict[str, Entry]:
    """Returns the texts of all modules, in their order.

    Raises:
        Misuse: a call of `_` does not begin with a plain text.
    """
    entries: dict[str, Entry] = {}
    for file in sorted(SOURCES.glob("*.js")):
        name = file.relative_to(ROOT).as_posix()
        for text in texts_of(file.read_text("utf-8"), name):
            entry = entries.setdefault(text, Entry(text))
            if name not in entry.files:
                entry.files.append(name)
    return entries


def texts_of(source: str, name: str) -> Iterator[str]:
    """Yields the texts in the calls of `_` in a module.

    Args:
        source: the module.
        name: its name, for errors.

    Raises:
        Misuse: a call does not begin with a plain text, or with several that are added.
    """
    found = [token for token in _TOKEN.finditer(source) if not token[0].startswith(("//", "/*"))]
    tokens = [token[0] for token in found]
    for i, token in enumerate(tokens):
        if token[0] == "`":
            for expression in _expressions_in(token):
                yield from texts_of(expression, name)
        if token != "_" or tokens[i + 1 : i + 2] != ["("] or (i and tokens[i - 1] == "function"):
            continue
        text, place = "", i + 2
        while tokens[place][0] in "\"'" and len(tokens[place]) > 1:
            text += ast.literal_eval(tokens[place])
            place += 1
            if tokens[place] != "+":
                break
            place += 1
        if not text or tokens[place] not in (",", ")"):
            line = source.count("\n", 0, found[i].start()) + 1
            raise Misuse(f'{name}:{line}: _() takes one plain text; put values into it by _("… {{it}} …", …)')
        yield text


def _expressions_in(template: str) -> Iterator[str]:
    """Yields the programs in the `${…}` of a template."""
    begin = 0
    while (begin := template.find("${", begin)) >= 0:
        begin += len("${")
        depth = 1
        for token in _TOKEN.finditer(template, begin):
            depth += {"{": 1, "}": -1}.get(token[0], 0)
            if not depth:
                yield template[begin : token.start()]
                begin = token.end()
                break


def languages() -> list[str]:
    """Returns the languages that there is a file for."""
    return sorted(file.stem for file in LOCALE.glob("*.po"))


def entries_of(language: str) -> dict[str, Entry]:
    """Returns the page's texts with their translations.

    Raises:
        Misuse: see `collected` and `translations.parsed`.
    """
    entries = translations.merged(
        collected(), translations.parsed((LOCALE / f"{language}.po").read_text("utf-8"))
    )
    of_plugins = translations.LOCALE / f"{language}.po"
    known = translations.parsed(of_plugins.read_text("utf-8")) if of_plugins.exists() else {}
    for text, entry in entries.items():
        if (not entry.translation or entry.fuzzy) and text in known and not known[text].fuzzy:
            entry.translation, entry.fuzzy = known[text].translation, False
    return entries


def contents() -> dict[Path, bytes]:
    """Returns all files as they should be.

    Raises:
        Misuse: see `entries_of`.
    """
    files = {}
    for language in languages():
        entries = entries_of(language)
        head, _, rest = translations.written(entries, language).partition("\n")
        about = head.replace("Impasto's plugins", "Impasto's page")
        files[LOCALE / f"{language}.po"] = f"{about}\n{rest}".encode()
        catalog = {e.text: e.translation for e in entries.values() if e.translation and not e.fuzzy}
        text = json.dumps(catalog, ensure_ascii=False, indent=0)
        files[COMPILED / f"{language}.json"] = f"{text}\n".encode()
    return files


def faults() -> list[str]:
    """Returns what is not translated, or not as it should be, each as a sentence with the language."""
    return [
        fault for language in languages() for fault in translations.faults_of(entries_of(language), language)
    ]


def main() -> None:
    """Writes the files, or checks them."""
    translations.run("the page", contents, faults, texts=lambda: len(collected()), count=len(languages()))


if __name__ == "__main__":
    try:
        main()
    except Misuse as misuse:
        sys.exit(str(misuse))
