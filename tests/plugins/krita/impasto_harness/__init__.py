"""A Krita plugin for tests: runs a program's `main`, a generator, inside Krita's event loop, and closes Krita.

`yield 200` gives the loop 200 ms. The variable IMPASTO_KRITA_TEST names the program, its folder, and the folder into
which what comes of it is written as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any

from impasto_krita.qt import QtCore
from krita import Extension, Krita

SETTINGS = json.loads(os.environ["IMPASTO_KRITA_TEST"])


class Harness(Extension):
    begun = False

    def setup(self) -> None:
        pass

    def createActions(self, window: Any) -> None:
        if not Harness.begun:
            Harness.begun = True
            QtCore.QTimer.singleShot(500, self.begin)

    def begin(self) -> None:
        self.results: dict[str, Any] = {}
        try:
            sys.path.insert(0, SETTINGS["programs"])
            program = importlib.import_module(SETTINGS["program"])
            self.steps = program.main(SETTINGS, self.results)
        except BaseException:
            self.end(traceback.format_exc())
        else:
            self.step()

    def step(self) -> None:
        try:
            pause = next(self.steps)
        except StopIteration:
            self.end("")
        except BaseException:
            self.end(traceback.format_exc())
        else:
            QtCore.QTimer.singleShot(pause, self.step)

    def end(self, error: str) -> None:
        self.results["error"] = error
        self.results["krita"] = Krita.instance().version()
        with open(os.path.join(SETTINGS["out"], "told.json"), "w") as file:
            json.dump(self.results, file, indent=1)
        for document in Krita.instance().documents():
            document.setModified(False)
            document.close()
        QtCore.QTimer.singleShot(0, lambda: Krita.instance().action("file_quit").trigger())


Krita.instance().addExtension(Harness(Krita.instance()))
