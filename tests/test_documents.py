"""What the documents promise about this repository: links lead somewhere, tests that they name exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_TRACKED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True)
DOCUMENTS = sorted(
    set(_TRACKED.stdout.split())
    or {
        str(path.relative_to(ROOT))
        for folder in ("", "proto/", "client/**/", "server/**/")
        for path in ROOT.glob(f"{folder}*.md")
        if "node_modules" not in path.parts
    }
)


def text_of(document: str) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", (ROOT / document).read_text("utf-8"), flags=re.M | re.S)


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(document: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_trap_of_the_architecture_names_a_test_that_exists() -> None:
    traps = (ROOT / "server" / "ARCHITECTURE.md").read_text("utf-8").split("## Traps", 1)[1]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", traps)
    rows = [line for line in traps.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 10
    assert len({row for row in rows if re.search(r"`tests/[\w/]+\.py::\w+`", row)}) == len(rows)
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text("utf-8"), (file, test)


def test_the_version_that_is_built_has_a_section_in_the_changelog() -> None:
    version = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    assert version
    assert f"\n## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_both_distributions_carry_the_same_licence() -> None:
    assert (ROOT / "server" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
