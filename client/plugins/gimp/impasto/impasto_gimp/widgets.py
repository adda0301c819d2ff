"""Widgets with labels, tooltips and names for screen readers; keys that open them."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from gi.repository import Gtk, Pango

from impasto.hosts.translate import _

LONGEST = 28
"""Characters of a name that are shown where there is little room."""
PICTURES = ("png", "jpeg", "webp", "tiff")


class Mnemonics:
    """Gives each label of a window a letter of its own, which with Alt goes to its widget."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def branch(self) -> Mnemonics:
        """Returns keys for what is not always in sight: they differ from those that are taken up to now."""
        branch = Mnemonics()
        branch._taken = set(self._taken)
        return branch

    @staticmethod
    def like(label: str, marked: str) -> str:
        """Returns a label with the same letter as a marked one, for a button that changes its label."""
        at = marked.replace("__", "").find("_")
        letter = marked.replace("__", "")[at + 1 : at + 2].lower() if at >= 0 else ""
        there = label.lower().find(letter) if letter else -1
        if there >= 0:
            return f"{label[:there]}_{label[there:]}"
        if not letter or any(each.isascii() and each.isalpha() for each in label):
            # A letter that is not in its words looks like a mistake.
            return _plain(label)
        return f"{label} (_{letter.upper()})"

    def mark(self, label: str, wanted: str = "") -> str:
        """Returns a label with the mark of its letter.

        Args:
            wanted: letters to take first, if they are in the label.
        """
        places = [label.lower().find(letter) for letter in wanted]
        places += [at for at, letter in enumerate(label) if at == 0 or label[at - 1] == " "]
        places += range(len(label))
        for at in places:
            letter = label[at].lower() if at >= 0 else ""
            if letter.isascii() and letter.isalpha() and letter not in self._taken:
                self._taken.add(letter)
                return _plain(label[:at]) + "_" + _plain(label[at:])
        # A label without Latin letters, as in Japanese, or all are taken.
        free = [letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter not in self._taken]
        if free and not any(letter.isascii() and letter.isalpha() for letter in label):
            self._taken.add(free[0])
            return f"{_plain(label)} (_{free[0].upper()})"
        return _plain(label)


class NoKeys(Mnemonics):
    """Gives no letters: for what is seldom needed, and is reached with Tab."""

    def mark(self, label: str, wanted: str = "") -> str:
        """Returns the label."""
        return _plain(label)


def short(text: str) -> str:
    """Returns a name that fits into a narrow widget."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _plain(text: str) -> str:
    return text.replace("_", "__")


def named(widget: Gtk.Widget, name: str, tip: str) -> Gtk.Widget:
    """Gives a widget its name for screen readers and its tooltip; returns it."""
    widget.get_accessible().set_name(name)
    widget.set_tooltip_text(tip)
    return widget


def button(keys: Mnemonics, label: str, tip: str, clicked: Callable[[], Any], wanted: str = "") -> Gtk.Button:
    """Returns a button with a key of its own."""
    made = Gtk.Button(label=keys.mark(label, wanted), use_underline=True)
    made.connect("clicked", lambda _button: clicked())
    named(made, label, tip)
    return made


def label_for(keys: Mnemonics, text: str, widget: Gtk.Widget, wanted: str = "") -> Gtk.Label:
    """Returns a label whose key goes to a widget."""
    label = Gtk.Label(label=keys.mark(text, wanted) + ":", use_underline=True, xalign=0)
    label.set_mnemonic_widget(widget)
    return label


def text(lines: int = 1, wide: int = 40) -> Gtk.Label:
    """Returns a label for sentences, which can be selected, with room for some lines."""
    label = Gtk.Label(xalign=0, yalign=0, wrap=True, max_width_chars=wide, width_chars=wide, selectable=True)
    label.set_lines(lines)
    # A click selects it, but Tab goes past it.
    label.set_can_focus(False)
    return label


def rows(*widgets: Gtk.Widget, spacing: int = 6) -> Gtk.Box:
    """Returns a box with widgets one below the other."""
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=spacing)
    for widget in widgets:
        box.pack_start(widget, False, False, 0)
    return box


def row(*widgets: Gtk.Widget, spacing: int = 6) -> Gtk.Box:
    """Returns a box with widgets side by side."""
    box = Gtk.Box(spacing=spacing)
    for widget in widgets:
        box.pack_start(widget, False, False, 0)
    return box


def ignore_wheel(widget: Gtk.Widget) -> None:
    """Lets the wheel scroll what the widget is in, unless the artist has chosen the widget."""

    def scrolled(widget: Gtk.Widget, _event: Any) -> bool:
        if widget.has_focus() and not isinstance(widget, Gtk.ComboBox):
            return False
        widget.stop_emission_by_name("scroll-event")
        return False

    widget.connect("scroll-event", scrolled)


def combo() -> Gtk.ComboBoxText:
    """Returns an empty combo box, which the wheel does not change."""
    made = Gtk.ComboBoxText(hexpand=True)
    ignore_wheel(made)
    return made


def choose(combo: Gtk.ComboBoxText, words: list[tuple[str, str]], chosen: str) -> None:
    """Fills a combo box with words (identifier, label), and chooses one."""
    combo.remove_all()
    for identifier, label in words:
        combo.append(identifier, label)
    if not combo.set_active_id(chosen) and words:
        combo.set_active(0)


def icons(store: Gtk.ListStore, width: int) -> Gtk.IconView:
    """Returns a view of pictures with names, several of which can be chosen.

    Args:
        store: the names, pictures and tooltips (markup).
        width: width of a picture with its name, in pixels.
    """
    view = Gtk.IconView(model=store, tooltip_column=2, column_spacing=2, row_spacing=2, margin=2)
    view.set_item_padding(3)
    view.set_selection_mode(Gtk.SelectionMode.MULTIPLE)
    picture = Gtk.CellRendererPixbuf(width=width)
    name = Gtk.CellRendererText(
        width=width, wrap_width=width, wrap_mode=Pango.WrapMode.WORD_CHAR, xalign=0.5, yalign=0
    )
    name.set_property("alignment", Pango.Alignment.CENTER)
    for cell, attribute, column in ((picture, "pixbuf", 1), (name, "text", 0)):
        view.pack_start(cell, False)
        view.add_attribute(cell, attribute, column)
    return view


def ask_file(
    parent: Gtk.Window, title: str, *, save_as: str = "", only_pictures: bool = False
) -> pathlib.Path | None:
    """Asks for a file; None if the artist cancels.

    Args:
        save_as: proposed name of a new file; empty to open one.
    """
    action = Gtk.FileChooserAction.SAVE if save_as else Gtk.FileChooserAction.OPEN
    chooser = Gtk.FileChooserDialog(title=title, transient_for=parent, action=action)
    chooser.add_buttons(
        _("_Cancel"), Gtk.ResponseType.CANCEL, _("_Save") if save_as else _("_Open"), Gtk.ResponseType.OK
    )
    chooser.set_default_response(Gtk.ResponseType.OK)
    if save_as:
        chooser.set_current_name(save_as)
        chooser.set_do_overwrite_confirmation(True)
    if only_pictures:
        filter = Gtk.FileFilter()
        filter.set_name(_("Pictures"))
        for kind in PICTURES:
            filter.add_mime_type(f"image/{kind}")
        chooser.add_filter(filter)
    name = chooser.get_filename() if chooser.run() == Gtk.ResponseType.OK else None
    chooser.destroy()
    return pathlib.Path(name) if name else None


def ask_text(parent: Gtk.Window, title: str, label: str, given: str = "") -> str | None:
    """Asks for a line of text; None if the artist cancels."""
    dialog = Gtk.Dialog(title=title, transient_for=parent, modal=True)
    dialog.add_buttons(_("_Cancel"), Gtk.ResponseType.CANCEL, _("_OK"), Gtk.ResponseType.OK)
    dialog.set_default_response(Gtk.ResponseType.OK)
    entry = Gtk.Entry(text=given, activates_default=True, width_chars=30)
    named(entry, label, "")
    both = row(label_for(Mnemonics(), label, entry), entry)
    both.set_border_width(12)
    both.show_all()
    dialog.get_content_area().add(both)
    answer = entry.get_text() if dialog.run() == Gtk.ResponseType.OK else None
    dialog.destroy()
    return answer
