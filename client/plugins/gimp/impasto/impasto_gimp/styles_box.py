"""The styles: the server's and the artist's own, and the shares of those that are chosen."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

from gi.repository import GdkPixbuf, Gimp, GLib, Gtk

from impasto.hosts import StyleItem, StyleLibrary, StyleShare, words
from impasto.hosts.shares import LEAST_SHARE, MOST_SHARE
from impasto.hosts.translate import _
from impasto_gimp import content, images, pictures, widgets

THUMBNAIL = 72
KEPT_THUMBNAIL = 128
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")
"""How files of PNG, JPEG and TIFF begin."""
MOST_OWN_SIDE = 2048
"""Longer side of a style that is taken from a layer, in pixels, at most."""


class StylesBox:
    """The styles.

    Args:
        library: the styles.
        image: returns the image to take a layer from; None if none is open.
        changed: called when the artist chooses others.
        say: shows a sentence.
        activated: called when a style is double-clicked, or Enter is pressed on it.
    """

    def __init__(
        self,
        keys: widgets.Mnemonics,
        library: StyleLibrary,
        *,
        image: Callable[[], Gimp.Image | None],
        changed: Callable[[], None],
        say: Callable[[str], None],
        activated: Callable[[], None],
    ) -> None:
        self._library = library
        self._image = image
        self._changed = changed
        self._say = say
        self._chosen: tuple[StyleShare, ...] = ()
        self._quiet = False
        self._shown: list[StyleItem] = []
        self._store = Gtk.ListStore(str, GdkPixbuf.Pixbuf, str)
        self._icons = widgets.icons(self._store, THUMBNAIL + 12)
        self._icons.set_activate_on_single_click(False)
        self._icons.connect("selection-changed", self._picked)
        self._icons.connect("item-activated", lambda *_: activated())
        tip = _("Choose a style. Hold Ctrl to choose several; each makes its share of the painting.")
        widgets.named(self._icons, _("Styles"), "")
        frame = Gtk.ScrolledWindow(hexpand=True, vexpand=True, min_content_height=150, min_content_width=220)
        frame.set_shadow_type(Gtk.ShadowType.IN)
        frame.add(self._icons)
        title = widgets.label_for(keys, _("Style"), self._icons, "y")
        title.set_tooltip_text(tip)

        self._add = Gtk.MenuButton(label=keys.mark(_("Add a Style"), "a"), use_underline=True)
        widgets.named(
            self._add,
            _("Add a Style"),
            _("Add a style of your own: a file, a layer, or an image that is open"),
        )
        # There is most room above it.
        self._add.set_direction(Gtk.ArrowType.UP)
        self._menu = Gtk.Menu()
        self._add.set_popup(self._menu)
        self._add.connect("toggled", lambda _toggle: self._fill_menu())
        self._remove = widgets.button(
            widgets.NoKeys(),
            _("Remove"),
            _("Remove the chosen styles of your own from the list"),
            self._remove_own,
        )
        self._shares = Gtk.Grid(row_spacing=4, column_spacing=8)
        self.widget = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6)
        self.widget.pack_start(title, False, False, 0)
        self.widget.pack_start(frame, True, True, 0)
        self.widget.pack_start(widgets.row(self._add, self._remove), False, False, 0)
        self.widget.pack_start(self._shares, False, False, 0)
        self._fill_menu()
        self.refresh()

    @property
    def chosen(self) -> tuple[StyleShare, ...]:
        """The chosen styles with their shares."""
        return self._chosen

    def focus(self) -> None:
        """Gives the styles the keyboard."""
        self._icons.grab_focus()

    def set(self, styles: tuple[StyleShare, ...]) -> None:
        """Chooses styles, without a call of `changed`."""
        self._chosen = styles
        self.refresh()

    def refresh(self) -> None:
        """Shows the styles again, since they have changed."""
        known = (*self._library.offered, *self._library.own)
        keys = {item.key for item in known}
        # A style that was chosen is shown also while its server is not there.
        self._shown = [*known, *(share.style for share in self._chosen if share.style.key not in keys)]
        newer = {item.key: item for item in known}
        self._chosen = tuple(
            dataclasses.replace(share, style=newer.get(share.style.key, share.style))
            for share in self._chosen
        )
        if not self._chosen and self._shown:
            self._chosen = (StyleShare(self._shown[0]),)
        self._quiet = True
        self._store.clear()
        marked = {share.style.key for share in self._chosen}
        for number, item in enumerate(self._shown):
            tip = _("{style} (your own)") if item.own else "{style}"
            tip = GLib.markup_escape_text(tip.format(style=item.title))
            self._store.append(
                [widgets.short(item.title), pictures.thumbnail(item.thumbnail, THUMBNAIL), tip]
            )
            if item.key in marked:
                self._icons.select_path(Gtk.TreePath.new_from_indices([number]))
                if len(marked) == 1:
                    path = Gtk.TreePath.new_from_indices([number])
                    self._icons.set_cursor(path, None, False)
        self._quiet = False
        self._show_shares()

    def _picked(self, _icons: Any) -> None:
        if self._quiet:
            return
        picked = sorted(path.get_indices()[0] for path in self._icons.get_selected_items())
        before = {share.style.key: share for share in self._chosen}
        keys = {self._shown[number].key for number in picked}
        kept = [share for share in self._chosen if share.style.key in keys]
        new = [StyleShare(self._shown[number]) for number in picked if self._shown[number].key not in before]
        self._chosen = (*kept, *new)
        self._show_shares()
        self._changed()

    def _show_shares(self) -> None:
        self._remove.set_sensitive(any(share.style.own for share in self._chosen))
        for child in self._shares.get_children():
            self._shares.remove(child)
        if len(self._chosen) > 1:
            for line, share in enumerate(self._chosen):
                number = Gtk.SpinButton.new_with_range(LEAST_SHARE, MOST_SHARE, 10)
                number.set_value(share.share)
                number.set_activates_default(True)
                widgets.ignore_wheel(number)
                widgets.named(
                    number,
                    _("Share of {style}").format(style=share.style.title),
                    _("How much of the painting this style makes, relative to the other styles"),
                )
                number.connect("value-changed", self._shared, share.style.key)
                label = Gtk.Label(label=share.style.title, xalign=0, hexpand=True, ellipsize=3)
                self._shares.attach(label, 0, line, 1, 1)
                self._shares.attach(number, 1, line, 1, 1)
        self._shares.show_all()

    def _shared(self, number: Gtk.SpinButton, key: str) -> None:
        self._chosen = tuple(
            dataclasses.replace(share, share=number.get_value_as_int()) if share.style.key == key else share
            for share in self._chosen
        )
        self._changed()

    # Own styles.

    def _fill_menu(self) -> None:
        for child in self._menu.get_children():
            self._menu.remove(child)
        self._item(_("From a _File…"), self._from_file)
        image = self._image()
        for layer in images.layers(image) if image is not None and image.is_valid() else ():
            label = _("The layer “{layer}”").format(layer=layer.get_name())
            self._item(label, functools.partial(self._from_layer, layer), plain=True)
        for other in Gimp.get_images():
            label = _("The image “{image}”").format(image=other.get_name())
            self._item(label, functools.partial(self._from_image, other), plain=True)
        self._menu.show_all()

    def _item(self, label: str, chosen: Callable[[], None], *, plain: bool = False) -> None:
        item = Gtk.MenuItem(label=label, use_underline=not plain)
        item.connect("activate", lambda _item: chosen())
        self._menu.append(item)

    def _from_file(self) -> None:
        file = widgets.ask_file(self.widget.get_toplevel(), _("Choose a painting"), only_pictures=True)
        if file is not None:
            self.add_file(file)

    def add_file(self, file: pathlib.Path) -> None:
        """Adds a file as a style, and chooses it."""
        try:
            data = file.read_bytes()
        except OSError as error:
            self._say(words.sentence(error))
            return
        small = b""
        try:
            small = pictures.jpeg(pictures.decode(data, KEPT_THUMBNAIL), KEPT_THUMBNAIL)
        except GLib.Error:
            # Not every GdkPixbuf reads WebP, but the server does.
            if not (data.startswith(PICTURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")):
                self._say(
                    _("{file} is no picture that can be read. Choose a PNG, JPEG, WebP or TIFF file.").format(
                        file=file.name
                    )
                )
                return
        self._take(data, file.stem, small)

    def _from_layer(self, layer: Gimp.Layer) -> None:
        if layer.is_valid():
            self._from_drawable(layer, layer.get_name())

    def _from_image(self, image: Gimp.Image) -> None:
        if image.is_valid():
            seen = Gimp.Layer.new_from_visible(image, image, "Impasto")
            self._from_drawable(seen, pathlib.Path(image.get_name()).stem)
            seen.delete()

    def _from_drawable(self, drawable: Any, title: str) -> None:
        width, height = drawable.get_width(), drawable.get_height()
        scale = min(1.0, MOST_OWN_SIDE / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        rgba = content.read(drawable, (0, 0, width, height), *size, 8)
        picture = pictures.Pixels(*size, rgba).pixbuf
        self._take(pictures.png(picture), title, pictures.jpeg(picture, KEPT_THUMBNAIL))

    def _take(self, data: bytes, title: str, small: bytes) -> None:
        try:
            item = self._library.add(data, title, small)
        except OSError as error:
            self._say(words.joined(_("The style cannot be stored."), words.sentence(error)))
            return
        self.set((StyleShare(item),))
        self._changed()

    def _remove_own(self) -> None:
        for share in self._chosen:
            if share.style.own:
                self._library.remove(share.style.key)
        self.set(tuple(share for share in self._chosen if not share.style.own))
        self._changed()
