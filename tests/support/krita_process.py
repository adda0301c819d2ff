"""The real Krita as a process, with a new profile."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "client" / "plugins" / "krita"
CLIENT = ROOT / "client"
INSIDE = ROOT / "tests" / "plugins" / "krita"
"""The script that runs inside Krita."""
IMPORTER = Path("/usr/share/krita/pykrita/plugin_importer")
DATA = CLIENT / "impasto" / "data"
LIMIT = 500.0
"""Seconds after which Krita is killed, whatever it does."""


def require(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program, path="/usr/bin:/bin") is None]
    if missing:
        reason = f"not installed: {', '.join(missing)}"
        if os.environ.get("IMPASTO_REQUIRE_HOSTS"):
            pytest.fail(reason)
        pytest.skip(reason)


@dataclasses.dataclass(frozen=True)
class Ran:
    """The outcome of a run of Krita: its results, and pictures in a folder."""

    results: dict[str, Any]
    folder: Path


def imported(archive: Path, resources: Path) -> None:
    """Puts a plugin into a profile with Krita's own importer. Skips the test where there is no Krita."""
    if not IMPORTER.is_dir():
        reason = f"Krita's importer is not installed: {IMPORTER}"
        if os.environ.get("IMPASTO_REQUIRE_HOSTS"):
            pytest.fail(reason)
        pytest.skip(reason)
    resources.mkdir(parents=True)
    # Krita gives the importer a function that translates.
    program = (
        "import builtins; builtins.i18n = str\n"
        f"import sys; sys.path.insert(0, {str(IMPORTER)!r}); from plugin_importer import PluginImporter\n"
        f"print(PluginImporter({str(archive)!r}, {str(resources)!r}, lambda plugin: True).import_all())"
    )
    subprocess.run(["/usr/bin/python3", "-c", program], check=True)


def environment(home: Path, settings: dict[str, Any], python_path: list[str]) -> dict[str, str]:
    """The environment of a Krita with a new profile, with nothing from that of the tests."""
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "PYTHONPATH": os.pathsep.join(python_path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "IMPASTO_KRITA_TEST": json.dumps(settings),
    }


def site_packages() -> str:
    return str(Path(grpc.__file__).parents[1])


def run_krita(command: list[str], variables: dict[str, str], folder: Path) -> None:
    with open(folder / "krita.log", "wb") as log:
        krita = subprocess.Popen(
            [f"/usr/bin/{command[0]}", *command[1:]],
            env=variables,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            krita.wait(LIMIT)
        except subprocess.TimeoutExpired:
            krita.kill()
            krita.wait()


def results_of(path: Path, folder: Path) -> dict[str, Any]:
    assert path.exists(), (folder / "krita.log").read_text(errors="replace")[-4000:]
    results: dict[str, Any] = json.loads(path.read_text())
    return results
