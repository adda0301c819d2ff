"""Our programs run installed modules only, whatever files are in the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from impasto import python_programs
from support.server_process import running_server

MARK = "RUN FROM THE CURRENT FOLDER"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with modules that would be imported in place of others."""
    for name in ("grpc", "torch", "typer", "runpy", "json", "pip", "impasto", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"import os; os.write(2, b'{MARK}'); os._exit(3)")
    return tmp_path


@pytest.mark.parametrize("version", [(3, 10), (3, 11), sys.version_info])
def test_a_module_is_run_with_its_arguments_and_without_the_current_folder(
    version: tuple[int, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if version[:2] == (3, 11) and sys.version_info < (3, 11):
        pytest.skip("this Python has no -P")
    monkeypatch.setattr(sys, "version_info", version)
    command = python_programs.module_command("impasto_server")
    monkeypatch.undo()
    run = subprocess.run([*command, "settings", "--toml"], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert MARK not in run.stderr
    assert run.stdout.startswith("# Settings of impasto-server")
    (folder / "sitecustomize.py").unlink()
    command = [sys.executable, "-m", "impasto_server", "settings"]
    assert MARK in subprocess.run(command, cwd=folder, capture_output=True, text=True).stderr


def test_a_server_and_its_workers_import_nothing_from_the_current_folder(folder: Path) -> None:
    with running_server("--private", "--device", "cpu", "--weights", "builtin", cwd=folder) as server:
        server.ready()
        (worker,) = server.worker_pids()
        assert os.readlink(f"/proc/{worker}/cwd") == str(folder)
        assert MARK not in server.log
