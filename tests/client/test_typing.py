"""The public API as a type checker sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).with_name("sample_api.py")

pytest.importorskip("mypy")


def checked(program: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    # Check as a user does: strictly, and without this project's settings.
    options = ["--strict", "--config-file=", f"--cache-dir={cache}", "--follow-imports=silent"]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(program)], capture_output=True, text=True, cwd=cache
    )


@pytest.mark.slow
def test_a_user_of_the_api_passes_strict(tmp_path: Path) -> None:
    passed = checked(SAMPLE, tmp_path)
    assert passed.returncode == 0, passed.stdout
    wrong = tmp_path / "wrong.py"
    text = SAMPLE.read_text(encoding="utf-8")
    for right, mistake, said in (
        ("size=800", 'size="800"', "incompatible type"),
        ("made.name, content_weight=0.5", "made.name, contentweight=0.5", "Unexpected keyword"),
        ('recipe="gatys"', 'recipe="gates"', "incompatible type"),
        ("await painting.result()", "painting.result()", "Incompatible return value"),
        ('transport="grpclib"', 'transport="http"', "incompatible type"),
        ("event.evaluations}", "event.evolutions}", "has no attribute"),
    ):
        assert right in text
        wrong.write_text(text.replace(right, mistake, 1), encoding="utf-8")
        failed = checked(wrong, tmp_path)
        assert failed.returncode == 1
        assert said in failed.stdout
