"""The history: paintings of earlier, to look at, compare, put on a layer again, or paint again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gi.repository import GdkPixbuf, GLib, Gtk

from impasto.hosts import Controller, Entry, Painted, setting
from impasto.hosts.translate import _
from impasto_gimp import pictures, widgets

THUMBNAIL = 104
COMPARED = 520
"""Longer side of a picture that is compared, in pixels."""


class HistoryBox:
    """The history.

    Args:
        controller: what paints, and has the history.
        document: returns the key of the chosen image; empty if it has none.
        take_up: called with an entry whose settings are taken up.
        place: called with a picture that is put on a layer again.
        show: shows a picture.
        say: shows a sentence.
    """

    def __init__(
        self,
        keys: widgets.Mnemonics,
        controller: Controller,
        *,
        document: Callable[[], str],
        take_up: Callable[[Entry], None],
        place: Callable[[Painted], None],
        show: Callable[[GdkPixbuf.Pixbuf], None],
        say: Callable[[str], None],
    ) -> None:
        self._controller = controller
        self._document = document
        self._take_up = take_up
        self._place = place
        self._show = show
        self._say = say
        self._entries: tuple[Entry, ...] = ()
        self._store = Gtk.ListStore(str, GdkPixbuf.Pixbuf, str)
        self._icons = widgets.icons(self._store, THUMBNAIL + 16)
        self._icons.connect("selection-changed", lambda *_: self._picked())
        self._icons.connect("item-activated", lambda *_: self._look())
        widgets.named(self._icons, _("History"), "")
        frame = Gtk.ScrolledWindow(hexpand=True, vexpand=True, min_content_height=150)
        frame.set_shadow_type(Gtk.ShadowType.IN)
        frame.add(self._icons)
        self._only = Gtk.CheckButton(
            label=keys.mark(_("Only of this image")), use_underline=True, active=True
        )
        widgets.named(self._only, _("Only of this image"), _("Show the paintings of the chosen image only"))
        self._only.connect("toggled", lambda *_: self.refresh())
        self._empty = widgets.text(2, 36)
        self._empty.set_no_show_all(True)

        def action(label: str, tip: str, clicked: Callable[[], None]) -> Gtk.Button:
            return widgets.button(keys, label, tip, clicked)

        self._look_at = action(_("Show"), _("Fetch the picture from its server and show it"), self._look)
        self._again = action(
            _("Add as Layer"), _("Fetch the picture and place it once more, as a new layer"), self._put
        )
        self._settings = action(_("Use Settings"), _("Use the styles, the settings and the seed"), self._take)
        self._compare = action(_("Compare"), _("Show two chosen paintings side by side"), self._compare_two)
        self._remove = action(_("Remove"), _("Remove the chosen paintings from the history"), self._forget)
        self.widget = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6)
        self.widget.pack_start(self._only, False, False, 0)
        self.widget.pack_start(self._empty, False, False, 0)
        self.widget.pack_start(frame, True, True, 0)
        self.widget.pack_start(
            widgets.row(self._look_at, self._again, self._settings, spacing=4), False, False, 0
        )
        self.widget.pack_start(widgets.row(self._compare, self._remove, spacing=4), False, False, 0)
        self.refresh()

    def refresh(self) -> None:
        """Shows the history again, since it, or the chosen image, has changed."""
        history, document = self._controller.history, self._document()
        mine = bool(self._only.get_active())
        entries = history.of(document) if mine and document else () if mine else history.entries
        if entries != self._entries or not len(self._store):
            self._entries = entries
            self._store.clear()
            for entry in entries:
                when = time.strftime("%x %X", time.localtime(entry.time))
                tip = _("{painting}\n{image}, {when}").format(
                    painting=entry.label, image=entry.subject, when=when
                )
                picture = pictures.thumbnail(entry.thumbnail, THUMBNAIL)
                self._store.append([entry.label, picture, GLib.markup_escape_text(tip)])
        self._empty.set_visible(not entries)
        self._empty.set_text(
            _("No painting of this image yet. Each one that is finished is kept here.")
            if mine
            else _("No painting yet. Each one that is finished is kept here.")
        )
        self._picked()

    @property
    def _chosen(self) -> list[Entry]:
        numbers = sorted(path.get_indices()[0] for path in self._icons.get_selected_items())
        return [self._entries[number] for number in numbers]

    def _picked(self) -> None:
        count = len(self._icons.get_selected_items())
        for button in (self._look_at, self._again, self._settings):
            button.set_sensitive(count == 1)
        self._compare.set_sensitive(count == 2)
        self._remove.set_sensitive(count > 0)

    def _look(self) -> None:
        for entry in self._chosen[:1]:
            self._fetch(entry, lambda painted: self._show(painted.picture.pixbuf))

    def _put(self) -> None:
        for entry in self._chosen[:1]:
            self._fetch(entry, self._place)

    def _take(self) -> None:
        for entry in self._chosen[:1]:
            self._take_up(entry)

    def _forget(self) -> None:
        for entry in self._chosen:
            self._controller.history.remove(entry.id)

    def _fetch(self, entry: Entry, done: Callable[[Painted], None]) -> None:
        self._say(_("Fetching the picture …"))

        def arrived(painted: Painted) -> None:
            self._say(entry.label)
            done(painted)

        self._controller.fetch(entry, arrived, self._say)

    def _compare_two(self) -> None:
        entries = self._chosen[:2]
        fetched: dict[str, GdkPixbuf.Pixbuf] = {}

        def arrived(painted: Painted) -> None:
            fetched[painted.id] = painted.picture.pixbuf
            if len(fetched) == len(entries):
                self._show_two(entries, fetched)

        for entry in entries:
            self._fetch(entry, arrived)

    def _show_two(self, entries: list[Entry], fetched: dict[str, Any]) -> None:
        dialog = Gtk.Dialog(title=_("Compare"), transient_for=self.widget.get_toplevel())
        dialog.add_buttons(_("_Close"), Gtk.ResponseType.CLOSE)
        both = Gtk.Box(spacing=12, border_width=12)
        for entry in entries:
            picture = Gtk.Image.new_from_pixbuf(pictures.within(fetched[entry.id], COMPARED, enlarge=True))
            picture.get_accessible().set_name(entry.label)
            label = Gtk.Label(label=_described(entry), wrap=True, max_width_chars=60)
            both.pack_start(widgets.rows(picture, label), True, True, 0)
        dialog.get_content_area().add(both)
        dialog.connect("response", lambda dialog, _response: dialog.destroy())
        dialog.show_all()


def _described(entry: Entry) -> str:
    choices = entry.choices
    return _(
        "{painting}\n{width} × {height}, effort {effort}, colours {colors}, stroke size {stroke} %"
    ).format(
        painting=entry.label,
        width=entry.width,
        height=entry.height,
        effort=_label("effort", choices.effort),
        colors=_label("color", choices.color),
        stroke=choices.stroke_size,
    )


def _label(name: str, value: str) -> str:
    """Returns the label of a value of a setting."""
    return next((word.label for word in setting(name).words if word.value == value), value)
