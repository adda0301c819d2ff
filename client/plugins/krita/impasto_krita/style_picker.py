"""The styles as thumbnails, of which one or several are chosen, and the share of each."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from impasto.hosts import StyleItem, StyleShare
from impasto.hosts.translate import _
from impasto_krita import pixels
from impasto_krita.inputs import NumberSlider
from impasto_krita.qt import QtCore, QtGui, QtWidgets
from impasto_krita.widgets import Elided, emptied, entry, plain_tip, tool_button

Qt = QtCore.Qt
STYLE_SIDE = 64
MIDDLE: Any = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop


class StylePicker(QtWidgets.QListWidget):
    """The styles as thumbnails. A click chooses one; with Ctrl, it is chosen beside the others."""

    chosen = QtCore.pyqtSignal()
    removal_wanted = QtCore.pyqtSignal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setViewMode(QtWidgets.QListView.ViewMode.IconMode)
        self.setResizeMode(QtWidgets.QListView.ResizeMode.Adjust)
        self.setMovement(QtWidgets.QListView.Movement.Static)
        self.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setIconSize(QtCore.QSize(STYLE_SIDE, STYLE_SIDE))
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setUniformItemSizes(True)
        self.setSpacing(0)
        self.setAccessibleName(_("Styles"))
        self.setToolTip(_("Choose a style. With Ctrl, choose several, which are mixed."))
        font = self.font()
        if font.pointSizeF() > 0:
            font.setPointSizeF(font.pointSizeF() * 0.85)
        self.setFont(font)
        self._text_height = QtGui.QFontMetrics(font).height()
        self.setMinimumHeight(STYLE_SIDE + self._text_height + 12)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._menu)
        self.itemSelectionChanged.connect(self._selected)
        self._items: dict[str, StyleItem] = {}
        self._order: list[str] = []
        self._fit()

    def show_styles(self, styles: Sequence[StyleItem]) -> None:
        """Shows these styles. The chosen ones stay chosen if they are among them."""
        before = list(self._order)
        self.blockSignals(True)
        self.clear()
        self._items = {style.key: style for style in styles}
        for style in styles:
            item = QtWidgets.QListWidgetItem(icon(style), style.title)
            item.setData(Qt.ItemDataRole.UserRole, style.key)
            own = _("{style} (your own)").format(style=style.title) if style.own else style.title
            item.setToolTip(plain_tip(own))
            item.setTextAlignment(MIDDLE)
            self.addItem(item)
        kept = [key for key in before if key in self._items] or [*self._items][:1]
        self._choose(kept)
        self.blockSignals(False)
        self._fit()
        self.chosen.emit()

    @property
    def keys(self) -> list[str]:
        """The keys of the chosen styles, in the order in which they were chosen."""
        return list(self._order)

    @property
    def style_items(self) -> list[StyleItem]:
        """The chosen styles, in the order in which they were chosen."""
        return [self._items[key] for key in self._order if key in self._items]

    @property
    def all_items(self) -> list[StyleItem]:
        """All styles that are shown."""
        return list(self._items.values())

    @property
    def style_item(self) -> StyleItem | None:
        """The style that was chosen first; None if there is none."""
        return next(iter(self.style_items), None)

    def choose(self, *keys: str) -> bool:
        """Chooses styles; returns False, and changes nothing, if one of them is not shown."""
        if not keys or any(key not in self._items for key in keys):
            return False
        self._choose(list(keys))
        return True

    def _choose(self, keys: list[str]) -> None:
        self._order = list(keys)
        items = [self.item(row) for row in range(self.count())]
        rows = {_key(item): item for item in items if item is not None}
        blocked = self.blockSignals(True)
        if keys:
            self.setCurrentItem(rows[keys[0]])
            self.scrollToItem(rows[keys[0]])
        for key, item in rows.items():
            item.setSelected(key in keys)
        self.blockSignals(blocked)
        self.chosen.emit()

    def _selected(self) -> None:
        now = [_key(item) for item in self.selectedItems()]
        self._order = [key for key in self._order if key in now] + [
            key for key in now if key not in self._order
        ]
        self.chosen.emit()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Fills each row with as many styles as fit."""
        width = max(1, self.viewport().width() - 1)
        columns = max(1, width // (STYLE_SIDE + 8))
        self.setGridSize(QtCore.QSize(width // columns, STYLE_SIDE + self._text_height + 6))

    def _menu(self, at: QtCore.QPoint) -> None:
        item = self.itemAt(at)
        style = self._items.get(_key(item)) if item is not None else None
        if item is None or style is None:
            return
        menu = QtWidgets.QMenu(self)
        if style.key in self._order and len(self._order) > 1:
            entry(menu, _("Do not mix this style in"), functools.partial(item.setSelected, False))
        elif style.key not in self._order:
            entry(menu, _("Mix this style in"), functools.partial(item.setSelected, True))
        if style.own:
            entry(menu, _("Remove this style"), lambda: self.removal_wanted.emit(style.key))
        menu.popup(self.viewport().mapToGlobal(at))

    def keyPressEvent(self, event: Any) -> None:
        item = self.currentItem()
        style = self._items.get(_key(item)) if item is not None else None
        if event.key() == Qt.Key.Key_Delete and style is not None and style.own:
            self.removal_wanted.emit(style.key)
            return
        super().keyPressEvent(event)


class Shares(QtWidgets.QWidget):
    """The share of each of several styles; hidden for one."""

    dropped = QtCore.pyqtSignal(str)

    def __init__(self) -> None:
        super().__init__()
        self._rows = QtWidgets.QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(2)
        self._styles: list[StyleItem] = []
        self._sliders: dict[str, NumberSlider] = {}
        self._kept: dict[str, int] = {}
        self.hide()

    def show_styles(self, styles: Sequence[StyleItem]) -> None:
        """Shows these styles, each with the share that it had."""
        if list(styles) == self._styles:
            return
        self._keep()
        self._styles = list(styles)
        self._sliders = {}
        emptied(self._rows)
        if len(styles) > 1:
            for style in styles:
                self._rows.addWidget(self._row(style))
        self.setVisible(len(styles) > 1)

    @property
    def shares(self) -> tuple[StyleShare, ...]:
        """The styles with their shares."""
        self._keep()
        alone = len(self._styles) == 1
        return tuple(
            StyleShare(style, 100 if alone else self._kept.get(style.key, 100)) for style in self._styles
        )

    def set_shares(self, shares: Sequence[StyleShare]) -> None:
        """Sets the shares of styles, shown or not."""
        for share in shares:
            self._kept[share.style.key] = share.share
            if share.style.key in self._sliders:
                self._sliders[share.style.key].set_value(share.share)

    def _keep(self) -> None:
        for key, slider in self._sliders.items():
            # A share from a preset may be larger than the slider's range; moved, it is the slider's.
            if min(self._kept.get(key, 100), slider.slider.maximum()) != slider.value:
                self._kept[key] = slider.value

    def _row(self, style: StyleItem) -> QtWidgets.QWidget:
        row = QtWidgets.QWidget()
        line = QtWidgets.QHBoxLayout(row)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(4)
        title = Elided()
        title.set_text(style.title)
        slider = NumberSlider(1, 200)
        slider.set_value(self._kept.get(style.key, 100))
        slider.describe(
            _("Share of {style}").format(style=style.title),
            _("How much of the painting this style makes, relative to the shares of the others."),
        )
        self._sliders[style.key] = slider
        drop = tool_button(
            "×",
            _("Do not mix {style} in").format(style=style.title),
            lambda: self.dropped.emit(style.key),
        )
        line.addWidget(title, 2)
        line.addWidget(slider, 3)
        line.addWidget(drop)
        return row


def _key(item: QtWidgets.QListWidgetItem) -> str:
    return str(item.data(Qt.ItemDataRole.UserRole))


def icon(style: StyleItem) -> QtGui.QIcon:
    """Returns a square part of the thumbnail, so that paintings of any shape make a grid."""
    image = pixels.from_thumbnail(style.thumbnail)
    if image.isNull():
        pixmap = QtGui.QPixmap(STYLE_SIDE, STYLE_SIDE)
        pixmap.fill(QtGui.QColor(128, 128, 128))
        return QtGui.QIcon(pixmap)
    return QtGui.QIcon(QtGui.QPixmap.fromImage(squared(image, 2 * STYLE_SIDE)))


def squared(image: QtGui.QImage, side: int) -> QtGui.QImage:
    """Returns the middle of a picture as a square."""
    image = image.scaled(
        side,
        side,
        Qt.AspectRatioMode.KeepAspectRatioByExpanding,
        Qt.TransformationMode.SmoothTransformation,
    )
    left, top = (image.width() - side) // 2, (image.height() - side) // 2
    return image.copy(left, top, side, side)
