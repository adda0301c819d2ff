"""Presets: styles and settings with a name, which can be shared as a file."""

from __future__ import annotations

from collections.abc import Callable

from gi.repository import Gtk

from impasto.hosts import Choices, Preset, Presets, StyleShare, words
from impasto.hosts.translate import _
from impasto_gimp import widgets

FILE = "impasto-presets.json"


class PresetsBox:
    """The presets.

    Args:
        presets: what is stored.
        chosen: returns the styles and settings that are chosen now.
        take_up: called with a preset that the artist chooses.
        say: shows a sentence.
    """

    def __init__(
        self,
        keys: widgets.Mnemonics,
        presets: Presets,
        *,
        chosen: Callable[[], tuple[tuple[StyleShare, ...], Choices]],
        take_up: Callable[[Preset], None],
        say: Callable[[str], None],
    ) -> None:
        self._presets = presets
        self._chosen = chosen
        self._take_up = take_up
        self._say = say
        self._quiet = False
        self._combo = widgets.combo()
        widgets.named(self._combo, _("Preset"), _("Use the styles and settings of a preset"))
        self._combo.connect("changed", self._picked)
        self._menu = Gtk.Menu()
        more = Gtk.MenuButton(label=_("Presets"), use_underline=True, popup=self._menu)
        widgets.named(more, _("Presets"), _("Save, rename, remove, export and load presets"))
        self._items = [
            self._item(_("_Save as a Preset…"), self._save),
            self._item(_("_Rename…"), self._rename),
            self._item(_("Remo_ve"), self._remove),
            self._item(_("_Export All…"), self._export),
            self._item(_("_Load…"), self._load),
        ]
        self._menu.show_all()
        self.widget = widgets.row(widgets.label_for(keys, _("Preset"), self._combo), self._combo, more)
        self.widget.set_child_packing(self._combo, True, True, 0, Gtk.PackType.START)
        self.refresh()

    def refresh(self) -> None:
        """Shows the presets again, since they have changed."""
        self._quiet = True
        chosen = self._combo.get_active_id() or ""
        names = [preset.name for preset in self._presets.presets]
        widgets.choose(self._combo, [("", _("None"))] + [(f" {name}", name) for name in names], chosen)
        self._quiet = False
        self._enable()

    def none(self) -> None:
        """Shows that what is chosen is no preset any more."""
        self._quiet = True
        self._combo.set_active(0)
        self._quiet = False
        self._enable()

    @property
    def _name(self) -> str:
        return (self._combo.get_active_id() or "")[1:]

    def _enable(self) -> None:
        for item in self._items[1:3]:
            item.set_sensitive(bool(self._name))
        self._items[3].set_sensitive(bool(self._presets.presets))

    def _picked(self, _combo: Gtk.ComboBoxText) -> None:
        preset = None if self._quiet else self._presets.find(self._name)
        if preset is not None:
            self._take_up(preset)
        self._enable()

    def _item(self, label: str, chosen: Callable[[], None]) -> Gtk.MenuItem:
        item = Gtk.MenuItem(label=label, use_underline=True)

        def activated(_item: Gtk.MenuItem) -> None:
            try:
                chosen()
            except (ValueError, OSError) as error:
                self._say(words.sentence(error))

        item.connect("activate", activated)
        self._menu.append(item)
        return item

    @property
    def _window(self) -> Gtk.Window:
        return self.widget.get_toplevel()

    def _save(self) -> None:
        name = widgets.ask_text(self._window, _("Save as a Preset"), _("Name"), self._name)
        if name is not None:
            preset = self._presets.save(name, *self._chosen())
            self._choose(preset.name)
            self._say(_("Saved as the preset “{name}”.").format(name=preset.name))

    def _rename(self) -> None:
        before = self._name
        name = widgets.ask_text(self._window, _("Rename the Preset"), _("Name"), before)
        if name is not None:
            self._presets.rename(before, name)
            self._choose(" ".join(name.split()))

    def _remove(self) -> None:
        self._presets.remove(self._name)

    def _export(self) -> None:
        file = widgets.ask_file(self._window, _("Export the Presets"), save_as=FILE)
        if file is not None:
            self._presets.export(file)
            self._say(_("The presets are in {file}.").format(file=file))

    def _load(self) -> None:
        file = widgets.ask_file(self._window, _("Load Presets"))
        if file is not None:
            names = self._presets.load(file)
            self._say(_("Loaded presets: {names}.").format(names=", ".join(names)))

    def _choose(self, name: str) -> None:
        self._quiet = True
        self._combo.set_active_id(f" {name}")
        self._quiet = False
        self._enable()
