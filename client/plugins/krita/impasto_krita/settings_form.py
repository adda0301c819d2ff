"""The settings, as `impasto.hosts.settings` describes them."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from impasto.hosts import Choices, Setting, seed_range, settings
from impasto.hosts.translate import _
from impasto_krita.inputs import Choice, Number, NumberSlider
from impasto_krita.qt import QtCore, QtWidgets
from impasto_krita.widgets import plain_tip, tool_button

LARGEST_SPIN = 2**31 - 1
"""Largest value of a spin box."""
NEW_SEEDS = 1_000_000


class Field:
    """A setting with its widget.

    Attributes:
        widget: what is put into the form.
        input: what takes the focus and has the value.
    """

    def __init__(self, setting: Setting, changed: Any) -> None:
        self.setting = setting
        self.input: Any
        if setting.kind == "slider":
            self.input = NumberSlider(setting.least, setting.most, setting.step, setting.unit)
            self.input.changed.connect(changed)
            self.input.describe(setting.label, setting.tip)
        elif setting.kind in ("choice", "size"):
            words = [
                (
                    int(word.value) if setting.kind == "size" else word.value,
                    f"{word.label} {setting.unit}".strip(),
                    word.tip,
                )
                for word in setting.words
            ]
            self.input = Choice(words)
            self.input.currentIndexChanged.connect(changed)
        else:
            most = seed_range(LARGEST_SPIN)[1] if setting.kind == "seed" else setting.most
            self.input = Number(setting.least, most, setting.step, setting.unit)
            if setting.name == "evaluations":
                self.input.setSpecialValueText(_("As the effort says"))
                self.input.setMinimumWidth(60)
            self.input.valueChanged.connect(changed)
        self.input.setAccessibleName(setting.label)
        self.input.setToolTip(plain_tip(setting.tip))
        self.widget = self._with_dice() if setting.kind == "seed" else self.input

    def _with_dice(self) -> QtWidgets.QWidget:
        widget = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(widget)
        row.setContentsMargins(0, 0, 0, 0)
        self.input.setMinimumWidth(60)
        row.addWidget(self.input, 1)
        row.addWidget(tool_button(_("New"), _("Choose a new seed at random"), self.draw))
        widget.setFocusProxy(self.input)
        return widget

    def draw(self) -> None:
        """Sets a random number."""
        self.input.setValue(random.randrange(NEW_SEEDS))

    @property
    def value(self) -> Any:
        return self.input.value() if isinstance(self.input, Number) else self.input.value

    def set_value(self, value: Any) -> None:
        if isinstance(self.input, Number):
            self.input.setValue(min(value, self.input.maximum()))
            return
        if self.setting.kind == "size" and self.input.findData(value) < 0:
            # From an earlier painting, or a newer version.
            self.input.addItem(f"{value} {self.setting.unit}".strip(), value)
        self.input.set_value(value)


class SettingsForm(QtWidgets.QWidget):
    """The settings that are always shown; `advanced` is the widget of the others."""

    changed = QtCore.pyqtSignal(str)
    """The name of a setting that was changed."""

    def __init__(self) -> None:
        super().__init__()
        self.advanced = QtWidgets.QWidget()
        self.form, self._more = _form(self), _form(self.advanced)
        self.fields: dict[str, Field] = {}
        self._held = False
        for setting in settings():
            field = Field(setting, lambda *_, name=setting.name: self._changed(name))
            self.fields[setting.name] = field
            add_row(self._more if setting.advanced else self.form, setting.label, field.widget, setting.tip)

    @property
    def choices(self) -> Choices:
        """The choices in the widgets."""
        return Choices(**{name: field.value for name, field in self.fields.items()})

    def set_choices(self, choices: Choices) -> None:
        """Sets all widgets. That steers no painting: `changed` is not sent."""
        self._held = True
        try:
            for name, value in dataclasses.asdict(choices).items():
                if name in self.fields:
                    self.fields[name].set_value(value)
        finally:
            self._held = False
        self._changed("")

    def _changed(self, name: str) -> None:
        if not self._held:
            self.changed.emit(name)


def _form(parent: QtWidgets.QWidget) -> QtWidgets.QFormLayout:
    form = QtWidgets.QFormLayout(parent)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QtWidgets.QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    form.setRowWrapPolicy(QtWidgets.QFormLayout.RowWrapPolicy.WrapLongRows)
    form.setVerticalSpacing(4)
    form.setHorizontalSpacing(6)
    return form


def add_row(form: QtWidgets.QFormLayout, text: str, widget: Any, tip: str) -> None:
    """Adds a row whose label leads to its widget."""
    label = QtWidgets.QLabel(text)
    label.setToolTip(plain_tip(tip))
    label.setBuddy(widget.focusProxy() or widget)
    form.addRow(label, widget)
