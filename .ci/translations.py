"""Brings the translations of the plugins' texts up to date: `poe translations`.

Collects every `_("…")` of `impasto.hosts` and the plugins into `impasto.pot`, merges it into each language's
`.po` file, and compiles these to the `.mo` files that the plugins read. All of them are committed, so that a
build needs no tool. The same sources always give the same bytes.

A new language begins with an empty file: `touch client/impasto/hosts/locale/es.po`. A text that has changed
keeps its old translation, marked fuzzy, until somebody has looked at it and removed the mark; a fuzzy one is
not shown.

With `--check`, writes nothing, and exits with an error if a file is not up to date or a text is not
translated.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import re
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCALE = ROOT / "client" / "impasto" / "hosts" / "locale"
SOURCES = (ROOT / "client" / "impasto" / "hosts", ROOT / "client" / "plugins")
TEMPLATE = LOCALE / "impasto.pot"
_COMMENT = "# Translators: "
_SIMILAR = 0.75
_FOLD = 100


@dataclasses.dataclass
class Entry:
    """A text and its translation.

    Attributes:
        text: the English text, which is the key.
        translation: empty if there is none yet.
        comments: notes for translators, from the sources.
        files: where it is used.
        own: notes of the translators themselves.
        fuzzy: whether the translation is only a guess, which is not shown.
    """

    text: str
    translation: str = ""
    comments: list[str] = dataclasses.field(default_factory=list)
    files: list[str] = dataclasses.field(default_factory=list)
    own: list[str] = dataclasses.field(default_factory=list)
    fuzzy: bool = False


class Misuse(Exception):
    """A text in the sources that cannot be translated. The message has its place."""


# The sources.


def collected() -> dict[str, Entry]:
    """Returns the texts of all sources, in their order.

    Raises:
        Misuse: a call of `_` has no plain text in it, or is made when a module is imported.
    """
    entries: dict[str, Entry] = {}
    for file in (file for folder in SOURCES for file in sorted(folder.rglob("*.py"))):
        name = file.relative_to(ROOT).as_posix()
        source = file.read_text("utf-8")
        lines = source.splitlines()
        for call, late in _calls(ast.parse(source), late=False):
            if len(call.args) != 1 or call.keywords or not _is_text(call.args[0]):
                raise Misuse(
                    f"{name}:{call.lineno}: _() takes one plain text; put values into it by "
                    '_("… {name} …").format(name=…)'
                )
            if not late:
                raise Misuse(
                    f"{name}:{call.lineno}: the language is not known at import; call _() in a function"
                )
            text = ast.literal_eval(call.args[0])
            entry = entries.setdefault(text, Entry(text))
            if name not in entry.files:
                entry.files.append(name)
            if (note := _note(lines, call.lineno)) and note not in entry.comments:
                entry.comments.append(note)
    return entries


def _calls(node: ast.AST, *, late: bool) -> Iterator[tuple[ast.Call, bool]]:
    """Yields the calls of `_`, and whether each is made later than the import of its module."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
        yield node, late
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for part in (*node.decorator_list, node.args):
            yield from _calls(part, late=late)
        for part in node.body:
            yield from _calls(part, late=True)
        return
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, late=late or isinstance(node, ast.Lambda))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(node.value)


def _note(lines: list[str], number: int) -> str:
    """Returns the comment for translators that ends just above a line (counted from 1)."""
    note: list[str] = []
    for line in reversed(lines[: number - 1]):
        stripped = line.strip()
        if not stripped.startswith("# "):
            break
        if stripped.startswith(_COMMENT):
            return " ".join([stripped.removeprefix(_COMMENT), *note])
        note.insert(0, stripped.removeprefix("# "))
    return ""


# Files of translations.


def parsed(text: str) -> dict[str, Entry]:
    """Returns the entries of a `.po` file, without its header.

    Raises:
        Misuse: the file has something that is not used here, such as a context or a plural.
    """
    entries: dict[str, Entry] = {}
    for block in re.split(r"\n\s*\n", text):
        entry, into = Entry(""), ""
        parts = {"msgid": "", "msgstr": ""}
        for line in block.strip().splitlines():
            if line.startswith("#~"):
                break
            if line.startswith("#,"):
                entry.fuzzy = "fuzzy" in line
            elif line.startswith(("#.", "#:", "#|")):
                continue  # From the sources; written anew.
            elif line.startswith("#"):
                entry.own.append(line.removeprefix("#").strip())
            else:
                found = re.fullmatch(r'(msgid |msgstr )?(".*")\s*', line)
                if found is None:
                    raise Misuse(f"not understood: {line}")
                into = (found[1] or into).strip()
                parts[into] += ast.literal_eval(found[2])
        if parts["msgid"]:
            entry.text, entry.translation = parts["msgid"], parts["msgstr"]
            entries[entry.text] = entry
    return entries


def merged(template: dict[str, Entry], known: dict[str, Entry]) -> dict[str, Entry]:
    """Returns the entries of a language: the template's, with the translations that are known."""
    result = {}
    gone = [text for text, entry in known.items() if text not in template and entry.translation]
    for text, entry in template.items():
        before = known.get(text)
        fuzzy = before.fuzzy if before is not None else False
        if before is None or not before.translation:
            similar = difflib.get_close_matches(text, gone, 1, _SIMILAR)
            if similar:
                before, fuzzy = known[similar[0]], True
        if before is not None:
            entry = dataclasses.replace(
                entry,
                translation=before.translation,
                own=before.own,
                fuzzy=fuzzy and bool(before.translation),
            )
        result[text] = entry
    return result


def written(entries: dict[str, Entry], language: str = "") -> str:
    """Returns a `.po` file, or the template if no language is given."""
    blocks = [
        "\n".join(
            [
                "# Texts of Impasto's plugins. `poe translations` writes this file; CONTRIBUTING.md says how",
                "# to add a language. What stands in {braces} is filled in, and stays as it is.",
                'msgid ""',
                'msgstr ""',
                *(f'"{line}\\n"' for line in _header(language)),
            ]
        )
    ]
    for entry in entries.values():
        lines = [f"# {note}" for note in entry.own]
        lines += [f"#. {note}" for note in entry.comments]
        lines += [f"#: {file}" for file in entry.files]
        lines += ["#, fuzzy"] * entry.fuzzy
        lines += [f"msgid {_quoted(entry.text)}", f"msgstr {_quoted(entry.translation)}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _header(language: str) -> list[str]:
    return [
        "Project-Id-Version: impasto",
        f"Language: {language}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=UTF-8",
        "Content-Transfer-Encoding: 8bit",
    ]


def _quoted(text: str) -> str:
    """Returns a text in quotation marks; a long one over several lines."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    if len(escaped) <= _FOLD:
        return f'"{escaped}"'
    pieces = [""]
    # Japanese has no spaces: it stays on one line.
    for word in re.findall(r"\S+\s*|\s+", escaped):
        if pieces[-1] and len(pieces[-1]) + len(word) > _FOLD:
            pieces.append("")
        pieces[-1] += word
    return "\n".join(['""', *(f'"{piece}"' for piece in pieces)])


def compiled(entries: dict[str, Entry], language: str) -> bytes:
    """Returns a `.mo` file: a table of offsets, sorted by text, and the texts (gettext manual, 10.3)."""
    texts = {"": "".join(f"{line}\n" for line in _header(language))}
    texts |= {e.text: e.translation for e in entries.values() if e.translation and not e.fuzzy}
    pairs = sorted((text.encode(), translation.encode()) for text, translation in texts.items())
    count = len(pairs)
    begin = 28 + 16 * count
    tables, data = [b"", b""], b""
    for column in (0, 1):
        for pair in pairs:
            tables[column] += struct.pack("<II", len(pair[column]), begin + len(data))
            data += pair[column] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, begin)
    return head + tables[0] + tables[1] + data


# All together.


def languages() -> list[str]:
    """Returns the languages that there is a file for."""
    return sorted(file.stem for file in LOCALE.glob("*.po"))


def contents() -> dict[Path, bytes]:
    """Returns all files as they should be.

    Raises:
        Misuse: see `collected` and `parsed`.
    """
    template = collected()
    files = {TEMPLATE: written(template).encode()}
    for language in languages():
        source = LOCALE / f"{language}.po"
        try:
            entries = merged(template, parsed(source.read_text("utf-8")))
        except Misuse as misuse:
            raise Misuse(f"{source.relative_to(ROOT)}: {misuse}") from None
        files[source] = written(entries, language).encode()
        files[source.with_suffix(".mo")] = compiled(entries, language)
    return files


def faults() -> list[str]:
    """Returns what is not translated, or not as it should be, each as a sentence with the language."""
    template = collected()
    found = []
    for language in languages():
        known = parsed((LOCALE / f"{language}.po").read_text("utf-8"))
        found += faults_of(merged(template, known), language)
    return found


def faults_of(entries: dict[str, Entry], language: str) -> list[str]:
    """Returns the faults of one language's entries, each as a sentence."""
    found = []
    for entry in entries.values():
        if not entry.translation:
            found.append(f"{language}: “{entry.text}” has no translation")
        elif entry.fuzzy:
            found.append(f"{language}: “{entry.text}” has a fuzzy translation")
        elif _placeholders(entry.translation) != _placeholders(entry.text):
            found.append(f"{language}: “{entry.text}” has other {{placeholders}} in its translation")
    return found


def _placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"{[^}]*}", text))


def run(
    whose: str,
    contents: Callable[[], dict[Path, bytes]],
    faults: Callable[[], list[str]],
    *,
    texts: Callable[[], int],
    count: int,
) -> None:
    """Writes the files, or checks them if the command line says `--check`.

    Args:
        whose: whose texts they are.
        contents, faults: as the functions of this name.
        texts: counts the texts.
        count: number of languages.
    """
    try:
        files = contents()
    except Misuse as misuse:
        sys.exit(str(misuse))
    old = [path for path, data in files.items() if not path.exists() or path.read_bytes() != data]
    missing = faults()
    if "--check" in sys.argv[1:]:
        told = [f"{path.relative_to(ROOT)} is not up to date; run `poe translations`" for path in old]
        if told or missing:
            sys.exit("\n".join([*told, *missing]))
        return
    for path in old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[path])
    print(
        f"{texts()} texts of {whose} in {count} languages; "
        f"{len(missing)} translations to be made or looked at"
    )
    for fault in missing:
        print(" ", fault)


if __name__ == "__main__":
    run("the plugins", contents, faults, texts=lambda: len(collected()), count=len(languages()))
