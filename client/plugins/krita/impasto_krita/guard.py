"""Sees to it that previews on the canvas are not saved with a document.

Krita tells of a saving only when it is done. So previews are removed where an artist is seen to begin one (by
its shortcut) or to close a document or a window. Where one was saved nevertheless, the document is saved
again without it.
"""

from __future__ import annotations

from typing import Any

from krita import Krita

from impasto_krita import canvas
from impasto_krita.host import KritaHost
from impasto_krita.qt import QtCore, QtWidgets

SAVING = (
    "file_save",
    "file_save_as",
    "file_export_file",
    "save_incremental_version",
    "save_incremental_backup",
)


class Guard(QtCore.QObject):
    """Watches Krita's windows, documents and actions. Keep it while Krita runs."""

    def __init__(self, host: KritaHost) -> None:
        super().__init__()
        self._host = host
        self._watched: list[Any] = []
        notifier = Krita.instance().notifier()
        notifier.setActive(True)
        notifier.windowCreated.connect(self.look)
        notifier.viewCreated.connect(self._view_created)
        notifier.imageSaved.connect(host.document_saved)
        notifier.applicationClosing.connect(host.close)

    def look(self) -> None:
        """Watches the windows, documents and actions that are new."""
        for window in Krita.instance().windows():
            main = window.qwindow()
            self._watch(main)
            for inner in main.findChildren(QtWidgets.QMdiSubWindow):
                self._watch(inner)
        for name in SAVING:
            action = Krita.instance().action(name)
            if action is not None:
                self._watch(action)

    def _watch(self, watched: Any) -> None:
        if any(watched is other for other in self._watched):
            return
        self._watched.append(watched)
        watched.installEventFilter(self)
        watched.destroyed.connect(lambda: self._forget(watched))

    def _forget(self, watched: Any) -> None:
        self._watched = [other for other in self._watched if other is not watched]

    def _view_created(self, view: Any) -> None:
        document = view.document()

        def later() -> None:
            self.look()
            if canvas.is_open(document):
                self._host.document_opened(document)

        # Krita has not finished making the view.
        QtCore.QTimer.singleShot(0, later)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        kind = event.type()
        if kind in (QtCore.QEvent.Type.Close, QtCore.QEvent.Type.Shortcut):
            self._host.hide_previews()
        return False
