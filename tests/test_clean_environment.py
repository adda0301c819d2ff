"""Tests are independent of the environment in which they are started."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import clean_environment

HOSTILE = {
    "COLUMNS": "40",
    "FORCE_COLOR": "1",
    "GRPC_VERBOSITY": "debug",
    "HOME": "/nonexistent",
    "IMPASTO_SERVER": "nonsense",
    "IMPASTO_PORT": "nonsense",
    "LANG": "tr_TR.UTF-8",
    "LC_ALL": "C",
    "PYTHONWARNINGS": "error",
    "TERM": "dumb",
    "TMPDIR": "/nonexistent",
    "TZ": "Asia/Kolkata",
    "VIRTUAL_ENV": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent",
    "http_proxy": "http://127.0.0.1:1",
}
"""Variables that each have, or could have, an influence on some test."""


def test_tests_do_not_see_the_environment_of_their_caller() -> None:
    let_through = {"HOME", "LANG", "TMPDIR", "TZ"}
    assert not (HOSTILE.keys() - let_through) & os.environ.keys()
    assert os.environ["LANG"] == "C.UTF-8"
    assert locale.getpreferredencoding().upper().replace("-", "") == "UTF8"
    assert time.tzname[0] == "UTC"
    home = Path.home()
    assert home.is_dir()
    assert not list(home.glob("impasto*"))
    (home / "anything").touch()
    assert Path(os.environ["TMPDIR"]).is_dir()


@pytest.mark.parametrize("tool", ["python", "impasto", "impasto-server", "buf"])
def test_tools_are_taken_from_the_folder_of_the_interpreter(tool: str) -> None:
    found = shutil.which(tool)
    assert found is not None
    assert Path(found).parent == Path(sys.executable).parent


@pytest.mark.parametrize("path", ["/usr/bin:/bin", "", None])
def test_these_tests_pass_in_a_hostile_environment_and_another_folder(
    tmp_path: Path, path: str | None
) -> None:
    """Runs the tests above in another environment."""
    above = (
        test_tests_do_not_see_the_environment_of_their_caller,
        test_tools_are_taken_from_the_folder_of_the_interpreter,
    )
    tests = [f"{__file__}::{test.__name__}" for test in above]
    environment = HOSTILE if path is None else {**HOSTILE, "PATH": path}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--color=no", "-q", *tests],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "5 passed" in run.stdout


def test_the_variables_that_pip_needs_for_its_index_are_kept(tmp_path: Path) -> None:
    config = tmp_path / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True)
    config.touch()
    callers = {"HOME": str(tmp_path), "https_proxy": "http://proxy:1", "PIP_INDEX_URL": "http://index"}
    seen = clean_environment.clean(callers, tmp_path / "home")
    assert seen["PIP_CONFIG_FILE"] == str(config)
    assert seen["PIP_PROXY"] == "http://proxy:1"
    assert seen["PIP_INDEX_URL"] == "http://index"
    assert "https_proxy" not in seen
