"""The real GIMP 3, in a chroot, with the plugin in a new profile."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from impasto.cli import plugins
from support.clean_environment import CALLERS

PROGRAMS = Path(__file__).parents[1] / "plugins" / "gimp"
CHROOT = PROGRAMS / "chroot"
"""The chroot is in the user's cache, since it takes minutes to make; programs in it see no environment."""
CANNOT = 77
PYTHON = ("--batch-interpreter=python-fu-eval", "-b")
SETTING_UP = 900.0
"""Maximum seconds to make the chroot, once per machine."""
PATIENCE = 400.0
"""Maximum seconds for one run of GIMP; far more than any run takes."""


def set_up() -> None:
    """Makes the chroot if necessary, and fetches what the plugin needs. Skips the test if that fails."""
    made = subprocess.run([CHROOT, "make"], env=CALLERS, capture_output=True, text=True, timeout=SETTING_UP)
    if made.returncode == CANNOT:
        pytest.skip(made.stderr.strip())
    assert made.returncode == 0, made.stderr
    try:
        plugins.vendored_files()
    except plugins.PluginError as error:
        pytest.skip(str(error))


class Gimp:
    """A GIMP profile with the plugin.

    Attributes:
        folder: folder that GIMP sees as /share.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        plugins.install("gimp", folders=[folder / "home" / ".config" / "GIMP" / "3.0" / "plug-ins"])

    def console(self, program: str, **given: Any) -> dict[str, Any]:
        """Runs a program of `tests/plugins/gimp` in GIMP's Python, without a window.

        Args:
            given: value of `exchange.GIVEN` in the program.

        Returns:
            The value of `exchange.TOLD` at the end.
        """
        return self._run(program, given, ["gimp-console", "-idf", "--quit", *PYTHON])

    def window(self, program: str, image: str, **given: Any) -> dict[str, Any]:
        """As `console`, with GIMP's window on a virtual screen, and an image of the folder open in it."""
        return self._run(
            program,
            given,
            ["sh", "/share/screen", "gimp", "-ns", f"/share/{image}", "--quit", *PYTHON],
        )

    def _run(self, program: str, given: dict[str, Any], command: list[str]) -> dict[str, Any]:
        told = self.folder / "told.json"
        told.unlink(missing_ok=True)
        (self.folder / "given.json").write_text(json.dumps(given))
        for file in (*PROGRAMS.glob("*.py"), PROGRAMS / "screen"):
            shutil.copy(file, self.folder / file.name)
        # GIMP's exit status says nothing about the program; `exchange.TOLD` does.
        done = subprocess.run(
            [CHROOT, "run", "env", "HOME=/share/home", *command, _WRAPPED.format(program=program)],
            env={**CALLERS, "GIMP_SHARE": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert told.exists(), f"{done.stdout}\n{done.stderr}"
        answer: dict[str, Any] = json.loads(told.read_text())
        assert "error" not in answer, f"{answer['error']}\n{done.stdout}\n{done.stderr}"
        return answer


_WRAPPED = """
import runpy, sys, traceback
sys.path.insert(0, "/share")
import exchange
try:
    runpy.run_path("/share/{program}")
except BaseException:
    exchange.TOLD["error"] = traceback.format_exc()
exchange.send()
"""
