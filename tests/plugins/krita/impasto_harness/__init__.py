"""A Krita plugin for tests: runs a program's `main`, a generator, inside Krita's event loop; then closes it.

`yield 200` gives the loop 200 ms. The variable IMPASTO_KRITA_TEST names the program, its folder, and the
folder into which what comes of it is written as JSON.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys
import traceback
from typing import Any

from impasto_krita.qt import QtCore, QtWidgets
from krita import Extension, Krita

LIMIT = 450.0
"""Maximum seconds for a program."""
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
        self.ended = False
        # Krita shows the plugin's exceptions in a dialog, and waits for it to be closed.
        sys.excepthook = lambda *error: self.end("".join(traceback.format_exception(*error)))
        limit = SETTINGS.get("limit", LIMIT)
        QtCore.QTimer.singleShot(round(1000 * limit), self.stuck)
        # If Krita takes no events either, its log says at least where the plugin is.
        faulthandler.dump_traceback_later(limit + 20, file=2)
        try:
            sys.path.insert(0, SETTINGS["programs"])
            program = importlib.import_module(SETTINGS["program"])
            self.steps = program.main(SETTINGS, self.results)
        except BaseException:
            self.end(traceback.format_exc())
        else:
            self.step()

    def step(self) -> None:
        if self.ended:
            return
        try:
            pause = next(self.steps)
        except StopIteration:
            self.end("")
        except BaseException:
            self.end(traceback.format_exc())
        else:
            QtCore.QTimer.singleShot(pause, self.step)

    def stuck(self) -> None:
        """Something waits for an answer that nobody gives."""
        window = QtWidgets.QApplication.activeModalWidget()
        labels = window.findChildren(QtWidgets.QLabel) if window is not None else []
        shown = [window.windowTitle(), *(label.text() for label in labels)] if window is not None else []
        self.end(f"Krita is not done in time; it asks: {shown}")
        # Quitting would ask, too.
        os._exit(1)

    def end(self, error: str) -> None:
        if self.ended:
            return
        self.ended = True
        self.results["error"] = error
        self.results["krita"] = Krita.instance().version()
        with open(os.path.join(SETTINGS["out"], "told.json"), "w") as file:
            json.dump(self.results, file, indent=1)
        for document in Krita.instance().documents():
            document.setModified(False)
            document.close()
        QtCore.QTimer.singleShot(0, lambda: Krita.instance().action("file_quit").trigger())


Krita.instance().addExtension(Harness(Krita.instance()))
