"""The settings of a painting: a widget for each, made from the shared descriptions."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

from gi.repository import Gtk

from impasto.hosts import Choices
from impasto.hosts.choices import seed_range
from impasto.hosts.settings import Setting, settings
from impasto.hosts.translate import _
from impasto_gimp import widgets

LARGEST_SEED = 2**31 - 1
WITHOUT_CONTENT = ("strength", "color")
"""Settings that a texture does not have."""


class SettingsBox:
    """The settings.

    Args:
        changed: called when the artist changes one.

    Attributes:
        usual: the widgets in sight.
        advanced: those for the fold "Advanced".
    """

    def __init__(self, keys: widgets.Mnemonics, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._get: dict[str, Callable[[], Any]] = {}
        self._set: dict[str, Callable[[Any], None]] = {}
        self._widgets: dict[str, Gtk.Widget] = {}
        self._quiet = False
        self.usual = _grid()
        self.advanced = _grid()
        for setting in settings():
            grid = self.advanced if setting.advanced else self.usual
            widget, focus = self._widget(setting)
            widgets.named(focus, setting.label, setting.tip)
            line = len(grid.get_children()) // 2
            marks = widgets.NoKeys() if setting.advanced else keys
            grid.attach(widgets.label_for(marks, setting.label, focus), 0, line, 1, 1)
            grid.attach(widget, 1, line, 1, 1)
            self._widgets[setting.name] = widget

    def texture(self, is_texture: bool) -> None:
        """Shows which settings count: a texture has no content, and so neither strength nor colours."""
        for name in WITHOUT_CONTENT:
            self._widgets[name].set_sensitive(not is_texture)

    def choices(self) -> Choices:
        """Returns what is chosen."""
        return Choices(**{name: get() for name, get in self._get.items()})

    def set(self, choices: Choices) -> None:
        """Shows choices, without a call of `changed`."""
        self._quiet = True
        try:
            for field in dataclasses.fields(Choices):
                self._set[field.name](getattr(choices, field.name))
        finally:
            self._quiet = False

    def _tell(self, *_ignored: Any) -> None:
        if not self._quiet:
            self._changed()

    def _widget(self, setting: Setting) -> tuple[Gtk.Widget, Gtk.Widget]:
        """Returns a setting's widget, and the widget within it that takes the keyboard."""
        if setting.kind == "choice":
            return self._choice(setting)
        if setting.kind == "size":
            return self._size(setting)
        least, most = seed_range(LARGEST_SEED) if setting.kind == "seed" else (setting.least, setting.most)
        adjustment = Gtk.Adjustment(
            lower=least, upper=most, step_increment=setting.step, page_increment=10 * setting.step
        )
        adjustment.connect("value-changed", self._tell)
        self._get[setting.name] = lambda: round(adjustment.get_value())
        self._set[setting.name] = adjustment.set_value
        number = Gtk.SpinButton(adjustment=adjustment, numeric=True, activates_default=True)
        number.set_width_chars(len(str(most)))
        widgets.ignore_wheel(number)
        if setting.kind == "slider":
            slider = Gtk.Scale(adjustment=adjustment, draw_value=False, digits=0, hexpand=True)
            slider.set_size_request(110, -1)
            slider.set_can_focus(False)
            slider.set_tooltip_text(setting.tip)
            slider.get_accessible().set_name(setting.label)
            widgets.ignore_wheel(slider)
            box = widgets.row()
            box.pack_start(slider, True, True, 0)
            box.pack_start(number, False, False, 0)
            box.pack_start(Gtk.Label(label=setting.unit), False, False, 0)
            return box, number
        if setting.kind == "seed":
            fresh = Gtk.Button.new_from_icon_name("view-refresh", Gtk.IconSize.BUTTON)
            widgets.named(fresh, _("New seed"), _("Choose another seed by chance"))
            fresh.connect("clicked", lambda _button: adjustment.set_value(random.randint(least, most)))
            box = widgets.row()
            box.pack_start(number, True, True, 0)
            box.pack_start(fresh, False, False, 0)
            return box, number
        return number, number

    def _choice(self, setting: Setting) -> tuple[Gtk.Widget, Gtk.Widget]:
        combo = Gtk.ComboBoxText()
        for word in setting.words:
            combo.append(word.value, word.label)
        combo.connect("changed", self._tell)
        tips = {word.value: word.tip for word in setting.words}
        combo.connect(
            "changed",
            lambda combo: combo.set_tooltip_text(f"{setting.tip}\n{tips.get(combo.get_active_id(), '')}"),
        )
        widgets.ignore_wheel(combo)
        self._get[setting.name] = combo.get_active_id
        self._set[setting.name] = combo.set_active_id
        return combo, combo

    def _size(self, setting: Setting) -> tuple[Gtk.Widget, Gtk.Widget]:
        combo = Gtk.ComboBoxText.new_with_entry()
        for word in setting.words:
            combo.append_text(word.label)
        entry = combo.get_child()
        entry.set_activates_default(True)
        entry.set_width_chars(6)
        entry.connect("changed", self._tell)
        widgets.ignore_wheel(combo)

        def get() -> int:
            typed = entry.get_text().strip()
            # What is no number is refused when the order is checked, with the name of the setting.
            return int(typed) if typed.isdecimal() else 0

        self._get[setting.name] = get
        self._set[setting.name] = lambda value: entry.set_text(str(value))
        entry.get_accessible().set_name(setting.label)
        box = widgets.row()
        box.pack_start(combo, True, True, 0)
        box.pack_start(Gtk.Label(label=setting.unit), False, False, 0)
        return box, entry


def _grid() -> Gtk.Grid:
    return Gtk.Grid(row_spacing=6, column_spacing=8)
