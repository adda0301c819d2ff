"""The log of the server on this computer."""

from __future__ import annotations

import os

from impasto.files import on_disk
from impasto.hosts.translate import _
from impasto_krita.qt import QtGui, QtWidgets
from impasto_krita.widgets import described, wrapped

MOST_BYTES = 256 * 2**10
"""The end of the log that is shown, in bytes."""


class LogDialog(QtWidgets.QDialog):
    """Shows the end of a log. Not every desktop has a program that opens it."""

    def __init__(self, parent: QtWidgets.QWidget | None, path: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(_("Log"))
        self.resize(640, 420)
        where = wrapped(_("The log is {path}.").format(path=path))
        self.text = QtWidgets.QPlainTextEdit(_end_of(path))
        self.text.setReadOnly(True)
        described(self.text, _("Log"), _("What was done, the latest at the end"))
        self.text.moveCursor(QtGui.QTextCursor.MoveOperation.End)
        buttons = QtWidgets.QDialogButtonBox(QtWidgets.QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QtWidgets.QVBoxLayout(self)
        column.addWidget(where)
        column.addWidget(self.text, 1)
        column.addWidget(buttons)


def _end_of(path: str) -> str:
    try:
        with open(on_disk(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return _("The log cannot be read.")
