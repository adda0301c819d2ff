"""The areas: layers, groups and masks whose shape takes a style of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from impasto.hosts import StyleItem
from impasto.hosts.translate import _
from impasto_krita import nodes
from impasto_krita.inputs import Choice
from impasto_krita.qt import QtCore, QtWidgets
from impasto_krita.style_picker import icon
from impasto_krita.widgets import Elided, emptied, entry, menu_button, tool_button, wrapped


class AreasForm(QtWidgets.QWidget):
    """Rows of a layer and its style.

    Args:
        document: returns the document; None if there is none.

    Attributes:
        areas: the identifier of each layer, group or mask, and the key of its style.
    """

    changed = QtCore.pyqtSignal()

    def __init__(self, document: Callable[[], Any]) -> None:
        super().__init__()
        self.areas: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._document = document
        self._styles: list[StyleItem] = []
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(wrapped(_("The shape of a layer, group or mask takes a style of its own.")))
        self._rows = QtWidgets.QVBoxLayout()
        column.addLayout(self._rows)
        self.add = menu_button(
            _("Add an area"), _("Choose the layer, group or mask whose shape takes a style"), self._fill
        )
        column.addWidget(self.add)

    def show_styles(self, styles: Sequence[StyleItem]) -> None:
        """Offers these styles; areas whose style is gone take the first."""
        if list(styles) == self._styles:
            return
        self._styles = list(styles)
        known = [style.key for style in styles]
        for id, key in self.areas.items():
            if known and key not in known:
                self.areas[id] = known[0]
        self._show()

    def add_node(self, node: Any, style: str = "") -> None:
        """Makes an area of a layer, group or mask."""
        id = nodes.id_of(node)
        self._names[id] = node.name()
        self.areas[id] = style or next((each.key for each in self._styles), "")
        self._show()

    def remove(self, id: str) -> None:
        """Removes an area."""
        self.areas.pop(id, None)
        self._show()

    def found(self, document: Any) -> list[tuple[Any, StyleItem]]:
        """Returns the areas of a document: each node with its style. Those of others do not count."""
        styles = {style.key: style for style in self._styles}
        pairs = ((nodes.find(document, id), styles.get(key)) for id, key in self.areas.items())
        return [(node, style) for node, style in pairs if node is not None and style is not None]

    def _fill(self, menu: Any) -> None:
        document = self._document()
        for node in nodes.walk(document.rootNode()) if document is not None else ():
            if nodes.id_of(node) not in self.areas:
                entry(menu, node.name(), functools.partial(self.add_node, node))
        if menu.isEmpty():
            entry(menu, _("There is no other layer"), lambda: None, enabled=False)

    def _show(self) -> None:
        emptied(self._rows)
        for id, key in self.areas.items():
            name = self._names.get(id, "")
            row = QtWidgets.QWidget()
            line = QtWidgets.QHBoxLayout(row)
            line.setContentsMargins(0, 0, 0, 0)
            line.setSpacing(4)
            title = Elided()
            title.set_text(name)
            style = Choice([(each.key, each.title, "") for each in self._styles])
            for index, each in enumerate(self._styles):
                style.setItemIcon(index, icon(each))
            style.set_value(key)
            style.setAccessibleName(_("Style of {area}").format(area=name))
            style.setToolTip(_("The style of this area"))
            style.currentIndexChanged.connect(
                lambda *_, id=id, style=style: self.areas.update({id: style.value})
            )
            drop = tool_button(
                "×", _("Remove the area {area}").format(area=name), functools.partial(self.remove, id)
            )
            line.addWidget(title, 1)
            line.addWidget(style, 1)
            line.addWidget(drop)
            self._rows.addWidget(row)
        self.changed.emit()
