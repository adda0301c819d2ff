"""That no test sees the environment that the tests were started in."""

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


def test_nothing_of_the_callers_environment_is_seen() -> None:
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
def test_a_tool_is_the_one_beside_the_interpreter(tool: str) -> None:
    found = shutil.which(tool)
    assert found is not None
    assert Path(found).parent == Path(sys.executable).parent


@pytest.mark.parametrize("path", ["/usr/bin:/bin", "", None])
def test_in_an_environment_that_is_against_it_and_another_folder(tmp_path: Path, path: str | None) -> None:
    """The tests above, as someone else runs them."""
    above = (test_nothing_of_the_callers_environment_is_seen, test_a_tool_is_the_one_beside_the_interpreter)
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


def test_what_pip_needs_to_reach_its_index_is_let_through(tmp_path: Path) -> None:
    config = tmp_path / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True)
    config.touch()
    callers = {"HOME": str(tmp_path), "https_proxy": "http://proxy:1", "PIP_INDEX_URL": "http://index"}
    seen = clean_environment.clean(callers, tmp_path / "home")
    assert seen["PIP_CONFIG_FILE"] == str(config)
    assert seen["PIP_PROXY"] == "http://proxy:1"
    assert seen["PIP_INDEX_URL"] == "http://index"
    assert "https_proxy" not in seen
