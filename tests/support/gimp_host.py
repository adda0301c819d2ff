"""The real GIMP 3, with the plugin in a new profile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from impasto.cli import plugins
from support.host_place import PROGRAMS, Place

TRIXIE = Place("trixie")
"""Where GIMP 3.0 is."""
PYTHON = ("--batch-interpreter=python-fu-eval", "-b")
PATIENCE = 400.0
"""Maximum seconds for one run of GIMP; far more than any run takes."""


def set_up() -> None:
    """Makes the chroot if necessary, and fetches what the plugin needs. Skips the test if that fails."""
    TRIXIE.set_up("gimp")


class Gimp:
    """A GIMP profile with the plugin, in the plug-ins folder of GIMP 3.0.

    Attributes:
        folder: folder that GIMP sees as /share.
    """

    def __init__(self, folder: Path, place: Place = TRIXIE) -> None:
        self.folder = folder
        self._place = place
        plugins.install("gimp", folders=[folder / "home" / ".config" / "GIMP" / "3.0" / "plug-ins"])

    def console(self, program: str, **given: Any) -> dict[str, Any]:
        """Runs a program of `tests/plugins/gimp` in GIMP's Python, without a window.

        Args:
            given: value of `exchange.GIVEN` in the program.

        Returns:
            The value of `exchange.TOLD` at the end.
        """
        return self._run(program, given, ["gimp-console", "-idf", "--quit", *PYTHON], screen=False)

    def window(self, program: str, image: str, **given: Any) -> dict[str, Any]:
        """As `console`, with GIMP's window on a virtual screen, and an image of the folder open in it."""
        return self._run(program, given, ["gimp", "-ns", f"/share/{image}", "--quit", *PYTHON], screen=True)

    def _run(
        self, program: str, given: dict[str, Any], command: list[str], *, screen: bool
    ) -> dict[str, Any]:
        told = self.folder / "told.json"
        told.unlink(missing_ok=True)
        (self.folder / "given.json").write_text(json.dumps(given))
        for file in (PROGRAMS / "gimp").glob("*.py"):
            shutil.copy(file, self.folder / file.name)
        # GIMP's exit status says nothing about the program; `exchange.TOLD` does.
        done = self._place.run(
            self.folder, [*command, _WRAPPED.format(program=program)], patience=PATIENCE, screen=screen
        )
        assert told.exists(), done.stdout
        answer: dict[str, Any] = json.loads(told.read_text())
        assert "error" not in answer, f"{answer['error']}\n{done.stdout}"
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
