"""Small widgets that several parts of the docker use."""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from impasto.hosts.translate import _
from impasto_krita.qt import QtCore, QtGui, QtWidgets

Qt = QtCore.Qt
ARROW = " ▾"
COLORS = {
    "connected": "#4caf50",
    "connecting": "#e6a23c",
    "reconnecting": "#e6a23c",
    "refused": "#e05252",
    "disconnected": "#8a8a8a",
}


def plain_tip(text: str) -> str:
    """Returns a text for `setToolTip` that Qt shows as it is.

    Qt takes a text with a tag for HTML, and opens the pictures that it names. Names come from files and
    servers of other people.
    """
    if "<" not in text and "&" not in text:
        return text
    return f"<qt>{html.escape(text)}</qt>".replace("\n", "<br>")


def number_of(flag: Any) -> int:
    """Returns a flag as a number for QPainter: a flag of PyQt5 is one, a flag of PyQt6 has one."""
    return int(getattr(flag, "value", flag))


class Light(QtWidgets.QWidget):
    """A dot in the colour of the connection's state."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedSize(14, 14)
        self.setAccessibleName(_("Connection"))
        self._color = COLORS["disconnected"]

    def show_state(self, state: str, sentence: str) -> None:
        self._color = COLORS.get(state, COLORS["disconnected"])
        self.setToolTip(plain_tip(sentence))
        self.setAccessibleDescription(sentence)
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
        self.setTextFormat(Qt.TextFormat.PlainText)
        self._whole = ""

    @property
    def whole(self) -> str:
        """The text, all of it."""
        return self._whole

    def set_text(self, text: str, tip: str = "") -> None:
        self._whole = text
        self.setToolTip(plain_tip(tip or text))
        self.setAccessibleName(text)
        self._fit()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setText(self.fontMetrics().elidedText(self._whole, Qt.TextElideMode.ElideRight, self.width()))


class Fold(QtWidgets.QWidget):
    """A heading that shows and hides what is below it."""

    toggled = QtCore.pyqtSignal(bool)

    def __init__(self, title: str, tip: str, body: QtWidgets.QWidget, *, open: bool = False) -> None:
        super().__init__()
        self.body = body
        self.head = QtWidgets.QToolButton()
        self.head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.head.setAutoRaise(True)
        self.head.setCheckable(True)
        self.head.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.head.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        self.head.setToolTip(plain_tip(tip))
        self.set_title(title)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.head)
        column.addWidget(body)
        self.head.toggled.connect(self._toggled)
        self.head.setChecked(open)
        self._toggled(open)

    def set_title(self, title: str) -> None:
        self.head.setText(title)
        self.head.setAccessibleName(title)

    def _toggled(self, on: bool) -> None:
        self.head.setArrowType(Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow)
        self.body.setVisible(on)
        self.toggled.emit(on)


def described(widget: Any, name: str, tip: str) -> Any:
    """Gives a widget its name for screen readers and its tooltip; returns it."""
    widget.setAccessibleName(name)
    widget.setToolTip(plain_tip(tip))
    return widget


def button(text: str, tip: str, pressed: Callable[[], Any]) -> QtWidgets.QPushButton:
    """Returns a button."""
    made = QtWidgets.QPushButton(text)
    made.setToolTip(plain_tip(tip))
    made.setAccessibleName(text)
    made.setMinimumWidth(20)
    made.clicked.connect(lambda: pressed())
    return made


def tool_button(text: str, tip: str, pressed: Callable[[], Any] | None = None) -> QtWidgets.QToolButton:
    """Returns a small flat button, which the keyboard reaches too."""
    made = QtWidgets.QToolButton()
    made.setText(text)
    made.setToolTip(plain_tip(tip))
    made.setAccessibleName(text if any(letter.isalpha() for letter in text) else tip)
    made.setAutoRaise(True)
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    if pressed is not None:
        made.clicked.connect(lambda: pressed())
    return made


class MenuButton(QtWidgets.QToolButton):
    """A small button with a menu. In a narrow docker its text ends in "…"; the tooltip has it.

    A style sheet would do the same, but with it a button keeps its colours when Krita's theme is changed.
    """

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(min(62, self.sizeHint().width()), super().minimumSizeHint().height())

    def paintEvent(self, event: Any) -> None:
        option = QtWidgets.QStyleOptionToolButton()
        self.initStyleOption(option)
        # Not the style's arrow: the text has one.
        option.features = QtWidgets.QStyleOptionToolButton.ToolButtonFeature(0)
        missing = self.sizeHint().width() - self.width()
        if missing > 0:
            text = option.text.removesuffix(ARROW)
            room = self.fontMetrics().horizontalAdvance(text) - missing
            option.text = self.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room) + ARROW
        painter = QtWidgets.QStylePainter(self)
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_ToolButton, option)
        painter.end()


def menu_button(text: str, tip: str, fill: Callable[[QtWidgets.QMenu], None]) -> QtWidgets.QToolButton:
    """Returns a small button with a menu, which is filled anew each time."""
    made = MenuButton()
    made.setText(text + ARROW)
    described(made, text, tip)
    made.setAutoRaise(True)
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    made.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Fixed)
    made.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
    menu = QtWidgets.QMenu(made)
    menu.setToolTipsVisible(True)
    made.setMenu(menu)

    def again() -> None:
        menu.clear()
        fill(menu)

    menu.aboutToShow.connect(again)
    return made


def entry(menu: QtWidgets.QMenu, text: str, chosen: Callable[[], Any], *, enabled: bool = True) -> Any:
    """Adds an entry to a menu; returns it."""
    # An ampersand in a name would be taken for a mnemonic.
    action = menu.addAction(text.replace("&", "&&"))
    action.triggered.connect(lambda *_: chosen())
    action.setEnabled(enabled)
    return action


def wrapped(text: str = "") -> QtWidgets.QLabel:
    """Returns a label that wraps its text and may be narrow."""
    label = QtWidgets.QLabel(text)
    label.setWordWrap(True)
    label.setMinimumWidth(20)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def in_tab_order(widget: QtWidgets.QWidget) -> None:
    """Makes Tab go through the fields of a widget as one sees them, later ones among them."""
    for before, after in itertools.pairwise(_fields(widget)):
        QtWidgets.QWidget.setTabOrder(before, after)


def _fields(widget: QtWidgets.QWidget) -> Iterator[QtWidgets.QWidget]:
    layout = widget.layout()
    if isinstance(widget, QtWidgets.QScrollArea):
        inner = widget.widget()
        if inner is not None:
            yield from _fields(inner)
    elif layout is not None:
        yield from _fields_in(layout)
    elif number_of(widget.focusPolicy()) & number_of(Qt.FocusPolicy.TabFocus):
        yield widget


def _fields_in(layout: Any) -> Iterator[QtWidgets.QWidget]:
    for index in range(layout.count()):
        item = layout.itemAt(index)
        if item.widget() is not None:
            yield from _fields(item.widget())
        elif item.layout() is not None:
            yield from _fields_in(item.layout())


def emptied(layout: Any) -> None:
    """Removes and deletes all widgets of a layout."""
    while layout.count():
        old = layout.takeAt(0).widget()
        if old is not None:
            old.hide()
            old.deleteLater()


def run_dialog(dialog: Any) -> bool:
    """Shows a dialog until it is closed; returns whether it was accepted."""
    # PyQt5 has `exec_`, PyQt6 only `exec`.
    return bool((dialog.exec if hasattr(dialog, "exec") else dialog.exec_)())
