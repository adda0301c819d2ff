"""Fields that an artist sets. They take the mouse wheel only with the focus, so that scrolling the docker
changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from impasto_krita.qt import QtCore, QtWidgets
from impasto_krita.widgets import plain_tip

Qt = QtCore.Qt


def _wheel(widget: Any, base: Any, event: Any) -> None:
    if widget.hasFocus():
        base.wheelEvent(widget, event)
    else:
        event.ignore()


class Slider(QtWidgets.QSlider):
    """A horizontal slider."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumWidth(40)

    def wheelEvent(self, event: Any) -> None:
        _wheel(self, QtWidgets.QSlider, event)


class Number(QtWidgets.QSpinBox):
    """A whole number."""

    def __init__(self, least: int, most: int, step: int = 1, unit: str = "") -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setRange(least, most)
        self.setSingleStep(step)
        if unit:
            self.setSuffix(f" {unit}")

    def wheelEvent(self, event: Any) -> None:
        _wheel(self, QtWidgets.QSpinBox, event)


class Choice(QtWidgets.QComboBox):
    """A list of words to choose from, each with a value."""

    def __init__(self, choices: Sequence[tuple[Any, str, str]] = ()) -> None:
        """Args: the value, the word and the meaning of each choice."""
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.offer(choices)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.setMinimumContentsLength(6)
        self.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)

    def offer(self, choices: Sequence[tuple[Any, str, str]]) -> None:
        """Replaces the choices; the chosen one stays chosen if it is among them."""
        before = self.value
        self.blockSignals(True)
        self.clear()
        for value, word, meaning in choices:
            self.addItem(word, value)
            self.setItemData(self.count() - 1, meaning, Qt.ItemDataRole.ToolTipRole)
        self.set_value(before)
        self.blockSignals(False)

    @property
    def value(self) -> Any:
        """The chosen value; None if there is none."""
        return self.currentData()

    def set_value(self, value: Any) -> None:
        """Chooses a value; ignores an unknown one."""
        index = self.findData(value)
        if index >= 0:
            self.setCurrentIndex(index)

    def wheelEvent(self, event: Any) -> None:
        _wheel(self, QtWidgets.QComboBox, event)


class NumberSlider(QtWidgets.QWidget):
    """A slider with its number."""

    changed = QtCore.pyqtSignal(int)

    def __init__(self, least: int = 0, most: int = 100, step: int = 1, unit: str = "") -> None:
        super().__init__()
        self.slider = Slider()
        self.slider.setRange(least, most)
        self.slider.setSingleStep(step)
        self.slider.setPageStep(max(step, (most - least) // 10))
        self.number = Number(least, most, step, unit)
        self.number.setButtonSymbols(QtWidgets.QAbstractSpinBox.ButtonSymbols.NoButtons)
        width = self.number.fontMetrics().horizontalAdvance(f"{most} {unit}".strip())
        self.number.setFixedWidth(width + 18)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.slider, 1)
        row.addWidget(self.number)
        self.setFocusProxy(self.slider)
        self.slider.valueChanged.connect(self.number.setValue)
        self.number.valueChanged.connect(self.slider.setValue)
        self.slider.valueChanged.connect(self.changed)

    @property
    def value(self) -> int:
        return int(self.slider.value())

    def set_value(self, value: int) -> None:
        self.slider.setValue(value)

    def describe(self, name: str, tip: str) -> None:
        """Sets the name for screen readers, and the tooltip."""
        for widget in (self, self.slider, self.number):
            widget.setAccessibleName(name)
            widget.setToolTip(plain_tip(tip))
