"""The history: earlier paintings with their pictures, to look at, place again, repeat and compare."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from impasto.hosts import Controller, Entry
from impasto.hosts.translate import _
from impasto_krita import pixels
from impasto_krita.inputs import Choice
from impasto_krita.qt import QtCore, QtGui, QtWidgets
from impasto_krita.style_picker import squared
from impasto_krita.widgets import button, entry, plain_tip

Qt = QtCore.Qt
SIDE = 48


class HistoryList(QtWidgets.QWidget):
    """Earlier paintings, newest first.

    Args:
        document: returns the key of the document in the history; empty if there is no document.
        look, place, use, compare: called with the chosen entry.
    """

    def __init__(
        self,
        controller: Controller,
        *,
        document: Callable[[], str],
        look: Callable[[Entry], None],
        place: Callable[[Entry], None],
        use: Callable[[Entry], None],
        compare: Callable[[Entry], None],
    ) -> None:
        super().__init__()
        self._controller = controller
        self._document = document
        self._look = look
        self._shown: list[str] = []
        self.which = Choice(
            [
                ("document", _("This document"), _("Paintings of the open document")),
                ("all", _("All documents"), _("Paintings of all documents")),
            ]
        )
        self.which.setAccessibleName(_("Which paintings to show"))
        self.which.setToolTip(_("Which paintings to show"))
        self.which.currentIndexChanged.connect(lambda *_: self.show_entries())
        self.list = QtWidgets.QListWidget()
        self.list.setIconSize(QtCore.QSize(SIDE, SIDE))
        self.list.setAccessibleName(_("Earlier paintings"))
        self.list.setToolTip(_("Earlier paintings, newest first"))
        self.list.setMinimumHeight(2 * (SIDE + 8))
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.list.customContextMenuRequested.connect(self._menu)
        self.list.itemSelectionChanged.connect(self._chosen)
        self.list.itemActivated.connect(lambda _item: self._do(look))
        self._actions = (
            (_("Show"), _("Show this painting in the docker"), look),
            (_("Compare"), _("Show this painting beside what was painted"), compare),
            (_("Add as layer"), _("Add this painting to its document again, as a new layer"), place),
            (_("Use settings"), _("Use the styles and settings of this painting"), use),
        )
        self.buttons = [
            button(text, tip, functools.partial(self._do, call)) for text, tip, call in self._actions
        ]
        grid = QtWidgets.QGridLayout()
        grid.setSpacing(2)
        for index, made in enumerate(self.buttons):
            grid.addWidget(made, index // 2, index % 2)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addWidget(self.which)
        column.addWidget(self.list)
        column.addLayout(grid)
        self.show_entries()

    @property
    def entry(self) -> Entry | None:
        """The chosen entry."""
        item = self.list.currentItem()
        if item is None or not item.isSelected():
            return None
        return self._controller.history.find(item.data(Qt.ItemDataRole.UserRole))

    def show_entries(self) -> None:
        """Shows the entries anew."""
        history = self._controller.history
        key = self._document()
        entries = history.entries if self.which.value == "all" else history.of(key) if key else ()
        ids = [each.id for each in entries]
        if ids == self._shown:
            return
        before = self.entry
        self._shown = ids
        self.list.clear()
        for each in entries:
            item = QtWidgets.QListWidgetItem(_icon(each), f"{each.label}\n{_when(each)}")
            item.setData(Qt.ItemDataRole.UserRole, each.id)
            item.setToolTip(plain_tip(f"{each.subject}\n{each.label}\n{_when(each)}"))
            self.list.addItem(item)
            if before is not None and each.id == before.id:
                self.list.setCurrentItem(item)
        self._chosen()

    def _chosen(self) -> None:
        for made in self.buttons:
            made.setEnabled(self.entry is not None)

    def _do(self, call: Callable[[Entry], None]) -> None:
        chosen = self.entry
        if chosen is not None:
            call(chosen)

    def _menu(self, at: Any) -> None:
        chosen = self.entry
        if chosen is None:
            return
        menu = QtWidgets.QMenu(self)
        for text, _tip, call in self._actions:
            entry(menu, text, functools.partial(self._do, call))
        menu.addSeparator()
        entry(menu, _("Remove from the history"), lambda: self._controller.history.remove(chosen.id))
        menu.popup(self.list.viewport().mapToGlobal(at))


def _icon(entry: Entry) -> QtGui.QIcon:
    image = pixels.from_thumbnail(entry.thumbnail)
    if image.isNull():
        pixmap = QtGui.QPixmap(SIDE, SIDE)
        pixmap.fill(QtGui.QColor(128, 128, 128))
        return QtGui.QIcon(pixmap)
    return QtGui.QIcon(QtGui.QPixmap.fromImage(squared(image, 2 * SIDE)))


def _when(entry: Entry) -> str:
    moment = QtCore.QDateTime.fromSecsSinceEpoch(int(entry.time))
    return str(QtCore.QLocale().toString(moment, QtCore.QLocale.FormatType.ShortFormat))
