"""Widgets of the docker: the connection light, the picture, the styles, a slider with its number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from impasto.hosts import StyleItem
from impasto_krita.qt import QtCore, QtGui, QtWidgets

Qt = QtCore.Qt
COLORS = {
    "connected": "#4caf50",
    "connecting": "#e6a23c",
    "reconnecting": "#e6a23c",
    "refused": "#e05252",
    "disconnected": "#8a8a8a",
}
STYLE_SIDE = 64


def _number(flag: Any) -> int:
    """Returns a flag as a number for QPainter: a flag of PyQt5 is one, a flag of PyQt6 has one."""
    return int(getattr(flag, "value", flag))


CENTER, WRAP = _number(Qt.AlignmentFlag.AlignCenter), _number(Qt.TextFlag.TextWordWrap)


class Light(QtWidgets.QWidget):
    """A dot in the colour of the connection's state."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedSize(14, 14)
        self._color = COLORS["disconnected"]

    def show_state(self, state: str) -> None:
        self._color = COLORS[state]
        self.update()

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtGui.QColor(0, 0, 0, 90))
        painter.setBrush(QtGui.QColor(self._color))
        painter.drawEllipse(2, 2, 10, 10)
        painter.end()


class Elided(QtWidgets.QLabel):
    """A label on one line; a text that is too long ends in "…"."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        self._whole = ""

    def set_text(self, text: str) -> None:
        self._whole = text
        self.setToolTip(text)
        self._fit()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setText(self.fontMetrics().elidedText(self._whole, Qt.TextElideMode.ElideRight, self.width()))


class PictureView(QtWidgets.QWidget):
    """A picture, as large as possible, with a word on it that says what it is."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumHeight(150)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Expanding)
        self._image: QtGui.QImage | None = None
        self._fitted: QtGui.QPixmap | None = None
        self._hint = ""
        self._word = ""

    def show_picture(self, image: QtGui.QImage, word: str) -> None:
        """Shows a picture; `word` says what it is, for example "Preview"."""
        self._image, self._word, self._fitted = image, word, None
        self.update()

    def show_hint(self, hint: str) -> None:
        """Shows a hint instead of a picture."""
        self._image, self._hint, self._fitted = None, hint, None
        self.update()

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(240, 180)

    def resizeEvent(self, event: Any) -> None:
        self._fitted = None
        super().resizeEvent(event)

    def paintEvent(self, event: Any) -> None:
        painter = QtGui.QPainter(self)
        area = self.rect()
        painter.fillRect(area, self.palette().color(QtGui.QPalette.ColorRole.Base))
        if self._image is None:
            painter.setPen(_faint(self.palette()))
            painter.drawText(area.adjusted(16, 8, -16, -8), CENTER | WRAP, self._hint)
            painter.end()
            return
        if self._fitted is None:
            ratio = self.devicePixelRatioF()
            fitted = self._image.scaled(
                round(area.width() * ratio),
                round(area.height() * ratio),
                Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )
            self._fitted = QtGui.QPixmap.fromImage(fitted)
            self._fitted.setDevicePixelRatio(ratio)
        size = self._fitted.size() / self._fitted.devicePixelRatio()
        left, top = (area.width() - size.width()) // 2, (area.height() - size.height()) // 2
        painter.drawPixmap(left, top, self._fitted)
        if self._word:
            _label(painter, QtCore.QRect(left, top, size.width(), size.height()), self._word)
        painter.end()


def _label(painter: QtGui.QPainter, area: QtCore.QRect, word: str) -> None:
    metrics = painter.fontMetrics()
    box = metrics.boundingRect(word).adjusted(-6, -3, 6, 3)
    box.moveBottomLeft(area.bottomLeft() + QtCore.QPoint(6, -6))
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QtGui.QColor(0, 0, 0, 150))
    painter.drawRoundedRect(box, 4, 4)
    painter.setPen(QtGui.QColor(255, 255, 255))
    painter.drawText(box, CENTER, word)


def _faint(palette: QtGui.QPalette) -> QtGui.QColor:
    color = QtGui.QColor(palette.color(QtGui.QPalette.ColorRole.Text))
    color.setAlpha(140)
    return color


class StylePicker(QtWidgets.QListWidget):
    """The styles as thumbnails, of which one is chosen."""

    chosen = QtCore.pyqtSignal()
    removal_wanted = QtCore.pyqtSignal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setViewMode(QtWidgets.QListView.ViewMode.IconMode)
        self.setResizeMode(QtWidgets.QListView.ResizeMode.Adjust)
        self.setMovement(QtWidgets.QListView.Movement.Static)
        self.setIconSize(QtCore.QSize(STYLE_SIDE, STYLE_SIDE))
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setUniformItemSizes(True)
        self.setSpacing(0)
        font = self.font()
        if font.pointSizeF() > 0:
            font.setPointSizeF(font.pointSizeF() * 0.85)
        self.setFont(font)
        self._text_height = QtGui.QFontMetrics(font).height()
        self.setMinimumHeight(STYLE_SIDE + self._text_height + 18)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._menu)
        self.itemSelectionChanged.connect(self.chosen)
        self._items: dict[str, StyleItem] = {}
        self._fit()

    def show_styles(self, styles: Sequence[StyleItem]) -> None:
        """Shows these styles. The chosen style stays chosen if it is among them."""
        before = self.key
        self.blockSignals(True)
        self.clear()
        self._items = {style.key: style for style in styles}
        for style in styles:
            item = QtWidgets.QListWidgetItem(_icon(style), style.title)
            item.setData(Qt.ItemDataRole.UserRole, style.key)
            item.setToolTip(f"{style.title} (your own)" if style.own else style.title)
            item.setTextAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
            self.addItem(item)
        self.choose(before if before in self._items else next(iter(self._items), ""))
        self.blockSignals(False)
        self._fit()
        self.chosen.emit()

    @property
    def key(self) -> str:
        """The key of the chosen style; empty if there is none."""
        items = self.selectedItems()
        return str(items[0].data(Qt.ItemDataRole.UserRole)) if items else ""

    @property
    def style_item(self) -> StyleItem | None:
        """The chosen style."""
        return self._items.get(self.key)

    def choose(self, key: str) -> bool:
        """Chooses a style; returns False if it is not shown."""
        for row in range(self.count()):
            if self.item(row).data(Qt.ItemDataRole.UserRole) == key:
                self.setCurrentRow(row)
                self.scrollToItem(self.item(row))
                return True
        return False

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Fills each row with as many styles as fit."""
        width = max(1, self.viewport().width() - 1)
        columns = max(1, width // (STYLE_SIDE + 8))
        self.setGridSize(QtCore.QSize(width // columns, STYLE_SIDE + self._text_height + 8))

    def _menu(self, at: QtCore.QPoint) -> None:
        item = self.itemAt(at)
        style = self._items.get(item.data(Qt.ItemDataRole.UserRole)) if item is not None else None
        if style is None or not style.own:
            return
        menu = QtWidgets.QMenu(self)
        menu.addAction("Remove this style").triggered.connect(lambda: self.removal_wanted.emit(style.key))
        menu.popup(self.viewport().mapToGlobal(at))


def _icon(style: StyleItem) -> QtGui.QIcon:
    """Returns a square part of the thumbnail, so that paintings of any shape make a grid."""
    image = QtGui.QImage.fromData(style.thumbnail) if style.thumbnail else QtGui.QImage()
    if image.isNull():
        pixmap = QtGui.QPixmap(STYLE_SIDE, STYLE_SIDE)
        pixmap.fill(QtGui.QColor(128, 128, 128))
        return QtGui.QIcon(pixmap)
    image = image.scaled(
        2 * STYLE_SIDE,
        2 * STYLE_SIDE,
        Qt.AspectRatioMode.KeepAspectRatioByExpanding,
        Qt.TransformationMode.SmoothTransformation,
    )
    left, top = (image.width() - 2 * STYLE_SIDE) // 2, (image.height() - 2 * STYLE_SIDE) // 2
    return QtGui.QIcon(QtGui.QPixmap.fromImage(image.copy(left, top, 2 * STYLE_SIDE, 2 * STYLE_SIDE)))


def button(text: str, tip: str, pressed: Callable[[], None]) -> QtWidgets.QPushButton:
    """Returns a button."""
    made = QtWidgets.QPushButton(text)
    made.setToolTip(tip)
    made.setMinimumWidth(20)
    made.clicked.connect(lambda: pressed())
    return made


def tool_button(text: str, tip: str) -> QtWidgets.QToolButton:
    """Returns a small flat button."""
    made = QtWidgets.QToolButton()
    made.setText(text)
    made.setToolTip(tip)
    made.setAutoRaise(True)
    return made


def wrapped(text: str = "") -> QtWidgets.QLabel:
    """Returns a label that wraps its text and may be narrow."""
    label = QtWidgets.QLabel(text)
    label.setWordWrap(True)
    label.setMinimumWidth(20)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label
