from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from impasto.cli import plugins
from support.command_line import Impasto


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sources"
    (folder / "impasto").mkdir(parents=True)
    (folder / "impasto" / "impasto.py").write_text("")
    (tmp_path / "vendored").mkdir()
    monkeypatch.setattr(plugins, "_sources", lambda host: folder)
    monkeypatch.setattr(plugins, "vendored_files", lambda: tmp_path / "vendored")
    return folder


def test_build(impasto: Impasto, sources: Path) -> None:
    done = impasto("plugin", "build", "gimp")
    assert done.code == 0
    assert done.out.startswith("impasto-gimp.zip: ")
    assert "impasto/impasto.py" in zipfile.ZipFile("impasto-gimp.zip").namelist()
    assert impasto("plugin", "build", "gimp", "-o", "a.zip").code == 0
    assert Path("a.zip").read_bytes() == Path("impasto-gimp.zip").read_bytes()


def test_install(impasto: Impasto, sources: Path, tmp_path: Path) -> None:
    there = tmp_path / "plug-ins"
    first = impasto("plugin", "install", "gimp", "--to", str(there))
    assert (first.code, first.out) == (0, f"{there}/impasto: installed\nRestart GIMP to use the plugin.\n")
    assert "installed in place of" in impasto("plugin", "install", "gimp", "--to", str(there)).out
    (there / "impasto" / plugins.MARK).unlink()
    refused = impasto("plugin", "install", "gimp", "--to", str(there))
    assert (refused.code, refused.out) == (1, "")
    assert "Error: " in refused.err
    assert "not installed by Impasto" in refused.err


def test_wrong_usage(impasto: Impasto) -> None:
    assert impasto("plugin", "build", "photoshop").code == 2
    assert impasto("plugin", "build", "krita", "-o", "none/a.zip").code != 0


def test_a_place_that_cannot_be_written_is_named(impasto: Impasto, sources: Path, tmp_path: Path) -> None:
    built = impasto("plugin", "build", "gimp", "-o", "none/a.zip")
    assert built.err == "Error: --out none/a.zip: there is no folder none; make it, or give another\n"
    (tmp_path / "file").write_text("")
    put = impasto("plugin", "install", "gimp", "--to", str(tmp_path / "file"))
    assert put.err == f"Error: {tmp_path}/file cannot be written: File exists\n"
