"""The painting in progress: its preview, its course, and what the artist can do; the others that wait."""

from __future__ import annotations

from typing import Any

from gi.repository import GdkPixbuf, GLib, Gtk, Pango

from impasto.hosts import Controller, Run
from impasto.hosts.memory import named
from impasto.hosts.translate import _
from impasto_gimp import widgets

MOST_FOUND = 3
"""Paintings of earlier that are offered at once."""
LEAST = 220
"""Least height of the picture, in pixels. It is as large as the dialog has room for."""


class RunBox:
    """The painting that is shown, the queue, and paintings of earlier that are not placed yet.

    Args:
        controller: what paints.
    """

    def __init__(self, keys: widgets.Mnemonics, controller: Controller) -> None:
        self._controller = controller
        self._shown: Any = None
        self._queued_now: list[tuple[str, bool]] = []
        self._lines: dict[str, Gtk.Label] = {}
        self._original: GdkPixbuf.Pixbuf | None = None
        self._drawn = (0, 0)
        self._picture = Gtk.Image()
        self._frame = Gtk.ScrolledWindow(min_content_height=LEAST, min_content_width=280)
        self._frame.set_policy(Gtk.PolicyType.EXTERNAL, Gtk.PolicyType.EXTERNAL)
        self._frame.add(self._picture)
        self._frame.connect("size-allocate", lambda *_: GLib.idle_add(self._draw))
        self._picture.get_accessible().set_name(_("Preview"))
        self._bar = Gtk.ProgressBar()
        self._bar.get_accessible().set_name(_("Progress"))
        self._says = widgets.text(3, 40)
        self._says.set_size_request(-1, 56)
        self._pause = widgets.button(
            keys,
            _("Pause"),
            _("Pause the painting. The server keeps it and is free for others."),
            self._paused,
        )
        # One button with two labels, and one key for both.
        self._pause_label = self._pause.get_label()
        self._resume_label = widgets.Mnemonics.like(_("Resume"), self._pause_label)
        self._cancel = widgets.button(
            keys, _("Cancel"), _("Cancel the painting. The image stays as it is."), self.cancel, "c"
        )
        self._steer = Gtk.CheckButton(label=keys.mark(_("Steer it"), "t"), use_underline=True, active=True)
        widgets.named(
            self._steer,
            _("Steer it"),
            _("Changes of the strength, the effort and the colours also apply to the painting in progress"),
        )
        self._actions = widgets.row(self._pause, self._cancel, self._steer)
        self._put_label = keys.mark(_("Put It in the Image"))
        self._watch_label = widgets.Mnemonics.like(_("Watch It"), self._put_label)
        self._queue = widgets.rows(spacing=2)
        self._found = widgets.rows(spacing=4)
        self.widget = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6)
        self.widget.pack_start(self._found, False, False, 0)
        self.widget.pack_start(self._frame, True, True, 0)
        for widget in (self._bar, self._says, self._actions, self._queue):
            self.widget.pack_start(widget, False, False, 0)

    @property
    def steers(self) -> bool:
        """Whether changes of settings apply to the painting that is shown."""
        run = self._controller.run
        return bool(self._steer.get_active()) and run is not None and not run.is_final

    def say(self, sentence: str) -> None:
        """Shows a sentence until the painting has something new to say."""
        self._says.set_text(sentence)

    def unsay(self, sentence: str) -> None:
        """Takes a sentence away that is no longer so, if it is still shown."""
        if sentence and self._says.get_text() == sentence:
            run = self._controller.run
            self.say("" if run is None else f"{run.sentence} {run.notice}".strip())

    def show_picture(self, picture: GdkPixbuf.Pixbuf | None) -> None:
        """Shows a picture as large as possible, with a chequered background where it is transparent."""
        self._original, self._drawn = picture, (0, 0)
        if picture is None:
            self._picture.clear()
        self._draw()

    def _draw(self) -> bool:
        """Draws the picture, where it or the room for it has changed."""
        room = self._frame.get_allocated_width() - 4, self._frame.get_allocated_height() - 4
        picture = self._original
        if picture is None or room == self._drawn or min(room) < 2:
            return bool(GLib.SOURCE_REMOVE)
        self._drawn = room
        scale = min(room[0] / picture.get_width(), room[1] / picture.get_height())
        width, height = (max(1, round(scale * side)) for side in (picture.get_width(), picture.get_height()))
        large = picture.scale_simple(width, height, GdkPixbuf.InterpType.BILINEAR)
        self._picture.set_from_pixbuf(
            large.composite_color_simple(
                width, height, GdkPixbuf.InterpType.BILINEAR, 255, 16, 0x999999, 0x666666
            )
        )
        return bool(GLib.SOURCE_REMOVE)

    def cancel(self) -> None:
        """Cancels the painting that is shown."""
        run = self._controller.run
        if run is not None and not run.is_final:
            run.cancel()

    def refresh(self) -> None:
        """Shows how far the paintings are."""
        run = self._controller.run
        active = run is not None and not run.is_final
        if run is not None:
            sentence = f"{run.sentence} {run.notice}".strip()
            # A sentence about something else stays until this painting says something new.
            if sentence != self._shown:
                self._shown = sentence
                self.say(sentence)
        fraction = run.fraction if run is not None and active else 0.0
        self._bar.set_fraction(fraction or 0.0)
        paused = run is not None and run.state == "paused"
        self._pause.set_label(self._resume_label if paused else self._pause_label)
        self._pause.set_sensitive(run is not None and (run.can_resume if paused else run.can_pause))
        self._cancel.set_sensitive(active)
        self._steer.set_sensitive(active)
        self._refresh_queue()

    def refresh_found(self) -> None:
        """Shows the paintings of earlier that are not placed yet."""
        for child in self._found.get_children():
            self._found.remove(child)
        for number, found in enumerate(self._controller.found[:MOST_FOUND]):
            label = widgets.text(1, 30)
            label.set_text(found.sentence)
            label.set_tooltip_text(named(found.remembered.styles, found.remembered.choices))
            name = _("Put It in the Image") if found.ready else _("Watch It")
            marked = self._put_label if found.ready else self._watch_label
            # Only the first has a key.
            place = Gtk.Button(label=name if number else marked, use_underline=not number)
            widgets.named(place, name, _("Go on with this painting of earlier"))
            place.connect("clicked", lambda _button, found=found: self._controller.take_up(found))
            dismiss = Gtk.Button.new_from_icon_name("window-close", Gtk.IconSize.BUTTON)
            widgets.named(dismiss, _("Discard"), _("Discard this picture"))
            dismiss.connect("clicked", lambda _button, found=found: self._controller.dismiss(found))
            box = widgets.row(label, place, dismiss)
            box.set_child_packing(label, True, True, 0, Gtk.PackType.START)
            self._found.pack_start(box, False, False, 0)
        self._found.show_all()

    def _refresh_queue(self) -> None:
        runs = self._controller.runs if len(self._controller.runs) > 1 else ()
        there = [(run.id, run is self._controller.run) for run in runs]
        # Made anew only where it has changed, so that its buttons keep the keyboard.
        if there != self._queued_now:
            self._queued_now = there
            self._lines = {}
            for child in self._queue.get_children():
                self._queue.remove(child)
            for run in runs:
                self._queue.pack_start(self._queued(run), False, False, 0)
            if runs:
                every = Gtk.Button(label=_("Cancel All"))
                widgets.named(every, _("Cancel All"), _("Cancel all paintings in progress"))
                every.connect("clicked", lambda _button: self._controller.cancel_all())
                self._queue.pack_start(widgets.row(every), False, False, 0)
            self._queue.show_all()
        for run in runs:
            self._lines[run.id].set_text(run.line)
            self._lines[run.id].set_tooltip_text(
                _("{painting}: {state}").format(painting=run.label, state=run.sentence)
            )

    def _queued(self, run: Run) -> Gtk.Widget:
        shown = run is self._controller.run
        show = Gtk.Button(relief=Gtk.ReliefStyle.NONE, xalign=0)
        # What tells it from the others is at both ends.
        label = Gtk.Label(xalign=0, ellipsize=Pango.EllipsizeMode.MIDDLE, max_width_chars=48)
        if shown:
            bold = Pango.AttrList()
            bold.insert(Pango.attr_weight_new(Pango.Weight.BOLD))
            label.set_attributes(bold)
        self._lines[run.id] = label
        show.add(label)
        widgets.named(show, run.label, _("Show this painting"))
        show.connect("clicked", lambda _button: self._controller.show(run))
        cancel = Gtk.Button.new_from_icon_name("window-close", Gtk.IconSize.BUTTON)
        widgets.named(cancel, _("Cancel {painting}").format(painting=run.label), _("Cancel this painting"))
        cancel.connect("clicked", lambda _button: run.cancel())
        box = widgets.row(show, cancel)
        box.set_child_packing(show, True, True, 0, Gtk.PackType.START)
        return box

    def _paused(self) -> None:
        run = self._controller.run
        if run is not None and run.state == "paused":
            run.resume()
        elif run is not None:
            run.pause()
