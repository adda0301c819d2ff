"""What is painted, where the result goes, and areas that take a style of their own."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from gi.repository import Gimp, Gtk

from impasto.hosts import Area, StyleShare
from impasto.hosts.translate import _
from impasto_gimp import content, images, widgets
from impasto_gimp.content import Part

SELECTION = "selection"


class ContentBox:
    """The image, and what of it is painted.

    Args:
        image: the image that the dialog was opened for.
        changed: called when the artist chooses something else.
    """

    def __init__(self, keys: widgets.Mnemonics, image: Gimp.Image, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._quiet = False
        self._known: list[tuple[str, str]] = []
        self._image = widgets.combo()
        widgets.named(self._image, _("Image"), _("The image that is painted"))
        self._kind = widgets.combo()
        widgets.named(
            self._kind,
            _("Content"),
            _(
                "What is painted. With a selection, only the selected part of it. A texture fills the image "
                "or the selection with the style alone."
            ),
        )
        self._to = widgets.combo()
        widgets.named(self._to, _("Result"), _("Where the painting goes"))
        widgets.choose(
            self._kind,
            [
                ("layer", _("The active layer")),
                ("visible", _("The visible picture")),
                ("texture", _("Nothing: a texture")),
            ],
            "layer",
        )
        widgets.choose(
            self._to,
            [
                ("above", _("A layer above it")),
                ("group", _("A layer in a group of paintings")),
                ("image", _("A new image")),
            ],
            "above",
        )
        self.widget = Gtk.Grid(row_spacing=6, column_spacing=8)
        for line, (label, combo) in enumerate(
            ((_("Image"), self._image), (_("Content"), self._kind), (_("Result"), self._to))
        ):
            combo.connect("changed", self._tell)
            self.widget.attach(widgets.label_for(keys, label, combo), 0, line, 1, 1)
            self.widget.attach(combo, 1, line, 1, 1)
        self.show(image)

    @property
    def image(self) -> Gimp.Image | None:
        """The chosen image; None if none is open."""
        chosen = self._image.get_active_id()
        image = Gimp.Image.get_by_id(int(chosen)) if chosen else None
        return image if image is not None and image.is_valid() else None

    @property
    def kind(self) -> str:
        """What is painted, one of `content.KINDS`."""
        return str(self._kind.get_active_id())

    @property
    def to(self) -> str:
        """Where the result goes, one of `placing.WAYS`."""
        return str(self._to.get_active_id())

    def set(self, kind: str, to: str) -> None:
        """Chooses what is painted and where the result goes, without a call of `changed`."""
        self._quiet = True
        self._kind.set_active_id(kind)
        self._to.set_active_id(to)
        self._quiet = False

    def show(self, image: Gimp.Image | None) -> None:
        """Chooses an image."""
        self.refresh("" if image is None else str(image.get_id()))

    def refresh(self, chosen: str = "") -> None:
        """Shows the images that are open now."""
        there = [(str(image.get_id()), str(image.get_name())) for image in Gimp.get_images()]
        chosen = chosen or self._image.get_active_id() or ""
        if there != self._known or chosen != self._image.get_active_id():
            self._known = there
            self._quiet = True
            widgets.choose(self._image, there, chosen)
            self._quiet = False

    def part(self, *, whole: bool) -> Part:
        """Returns the part to paint, as the image is now.

        Args:
            whole: whether to paint all of it, although a part is selected.

        Raises:
            ValueError: there is nothing to paint; the message is a sentence for people.
        """
        image = self.image
        if image is None:
            raise ValueError(_("No image is open. Open one in GIMP first."))
        return content.part(image, list(image.get_selected_drawables()), self.kind, whole=whole)

    def _tell(self, *_ignored: Any) -> None:
        if not self._quiet:
            self._changed()


@dataclasses.dataclass
class _Row:
    shape: Gtk.ComboBoxText
    style: Gtk.ComboBoxText
    box: Gtk.Box


class AreasBox:
    """Areas: "this layer's shape takes that style"."""

    def __init__(self, keys: widgets.Mnemonics, image: Callable[[], Gimp.Image | None]) -> None:
        self._image = image
        self._styles: tuple[StyleShare, ...] = ()
        self._rows: list[_Row] = []
        self._add = widgets.button(
            keys,
            _("Add an Area"),
            _("Let the shape of a layer, a mask, a channel or the selection take a style of its own"),
            self._add_row,
        )
        self._box = widgets.rows()
        self._hint = widgets.text(2, 36)
        self.widget = widgets.rows(self._box, self._add, self._hint)
        self.styles_changed(())

    def styles_changed(self, styles: tuple[StyleShare, ...]) -> None:
        """Shows the styles that an area can take."""
        self._styles = styles
        enough = len(styles) > 1
        self._add.set_sensitive(enough)
        self._hint.set_visible(not enough)
        self._hint.set_no_show_all(True)
        self._hint.set_text(_("For areas, choose two styles or more: hold Ctrl while you click."))
        for row in self._rows:
            widgets.choose(row.style, self._words(), row.style.get_active_id() or "")
        if not enough:
            for row in list(self._rows):
                self._remove_row(row)

    @property
    def uses_selection(self) -> bool:
        """Whether an area has the selection's shape, so that the selection is not the part to paint."""
        return any(row.shape.get_active_id() == SELECTION for row in self._rows)

    def areas(self, part: Part, width: int, height: int) -> tuple[Area, ...]:
        """Returns the areas within a part, at the painted size.

        Raises:
            ValueError: an area's shape is gone; the message is a sentence for people.
        """
        keys = [share.style.key for share in self._styles]
        areas = []
        for row in self._rows:
            name = row.shape.get_active_text() or ""
            item = _item(part.image, row.shape.get_active_id() or "")
            if item is None:
                raise ValueError(
                    _("The area “{area}” is gone. Choose another one, or remove it.").format(area=name)
                )
            box = (part.x, part.y, part.width, part.height)
            levels = content.shape(item, part.image, box, width, height)
            style = row.style.get_active_id() or ""
            areas.append(
                Area(functools.partial(bytes, levels), keys.index(style) if style in keys else -1, name)
            )
        return tuple(areas)

    def _words(self) -> list[tuple[str, str]]:
        return [(share.style.key, widgets.short(share.style.title)) for share in self._styles]

    def _add_row(self) -> None:
        shape, style = widgets.combo(), widgets.combo()
        style.set_hexpand(False)
        widgets.named(shape, _("Area"), _("The layer, mask, channel or selection that has the area's shape"))
        widgets.named(style, _("Style of the area"), _("The style that the area takes"))
        widgets.choose(shape, list(_shapes(self._image())), "")
        words = self._words()
        widgets.choose(style, words, words[-1][0] if words else "")
        remove = Gtk.Button.new_from_icon_name("list-remove", Gtk.IconSize.BUTTON)
        widgets.named(remove, _("Remove the area"), _("Remove the area"))
        box = widgets.row(shape, style, remove)
        box.set_child_packing(shape, True, True, 0, Gtk.PackType.START)
        row = _Row(shape, style, box)
        remove.connect("clicked", lambda _button: self._remove_row(row))
        self._rows.append(row)
        self._box.pack_start(box, False, False, 0)
        box.show_all()

    def _remove_row(self, row: _Row) -> None:
        self._rows.remove(row)
        self._box.remove(row.box)


def _shapes(image: Gimp.Image | None) -> Sequence[tuple[str, str]]:
    """Returns what in an image can be an area's shape: an identifier and a label."""
    if image is None:
        return []
    shapes = []
    if not Gimp.Selection.is_empty(image):
        shapes.append((SELECTION, _("The selection")))
    for layer in images.layers(image):
        mark = str(layer.get_tattoo())
        if layer.is_group():
            shapes.append((f"layer {mark}", _("Group “{name}”").format(name=layer.get_name())))
        else:
            shapes.append((f"layer {mark}", _("Layer “{name}”").format(name=layer.get_name())))
        if layer.get_mask() is not None:
            shapes.append((f"mask {mark}", _("Mask of “{name}”").format(name=layer.get_name())))
    for channel in image.get_channels():
        mark = str(channel.get_tattoo())
        shapes.append((f"channel {mark}", _("Channel “{name}”").format(name=channel.get_name())))
    return [(identifier, widgets.short(label)) for identifier, label in shapes]


def _item(image: Gimp.Image, identifier: str) -> Any:
    """Returns the item of an identifier of `_shapes`; None if it is gone."""
    if identifier == SELECTION:
        return image.get_selection()
    kind, _space, mark = identifier.partition(" ")
    if not mark.isdecimal():
        return None
    if kind == "channel":
        return image.get_channel_by_tattoo(int(mark))
    layer = images.with_tattoo(image, int(mark))
    return layer.get_mask() if layer is not None and kind == "mask" else layer
