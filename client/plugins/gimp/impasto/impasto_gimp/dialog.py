"""The dialog. It stays open while it paints, and paints any image that is open in GIMP."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
import traceback
from typing import Any

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("GimpUi", "3.0")
from gi.repository import Gimp, GimpUi, GLib, Gtk  # noqa: E402

from impasto.hosts import (  # noqa: E402
    Controller,
    Order,
    Painted,
    Preset,
    StyleShare,
    ThisComputer,
    plan,
    words,
)
from impasto.hosts.translate import _  # noqa: E402
from impasto.recipe import RawPixels  # noqa: E402
from impasto_gimp import images, kept, made, widgets  # noqa: E402
from impasto_gimp.content import Part  # noqa: E402
from impasto_gimp.content_box import AreasBox, ContentBox  # noqa: E402
from impasto_gimp.history_box import HistoryBox  # noqa: E402
from impasto_gimp.host import GimpHost  # noqa: E402
from impasto_gimp.placing import Placed  # noqa: E402
from impasto_gimp.presets_box import PresetsBox  # noqa: E402
from impasto_gimp.run_box import RunBox  # noqa: E402
from impasto_gimp.server_box import ServerBox  # noqa: E402
from impasto_gimp.settings_box import SettingsBox  # noqa: E402
from impasto_gimp.single import OnlyOne, OpenElsewhere  # noqa: E402
from impasto_gimp.styles_box import StylesBox  # noqa: E402

PREVIEW = 640
"""Longer side of the picture that is shown before it is painted, in pixels, at most."""
FAREWELL = 5.0
"""Longest wait in seconds, when the dialog closes, for the server to get an order."""
MOMENT = 0.3
"""Seconds for a call that was just begun, as of Cancel, to reach the server."""
LOOK = 0.5
"""Seconds between looks at whether another call of the menu has asked for the dialog."""


def open_for(image: Gimp.Image) -> Gimp.Layer | None:
    """Shows the dialog until the artist closes it, and returns the newest layer; None if there is none.

    Raises:
        ValueError: the dialog is open in another GIMP, or nothing can be stored; the message is a sentence
            for people.
    """
    try:
        only = OnlyOne(kept.folder(), kept.storage(), image.get_id())
    except OpenElsewhere as error:
        if str(error):
            raise ValueError(str(error)) from None
        return None
    except OSError as error:
        raise ValueError(
            words.joined(_("Impasto's own files cannot be stored."), words.sentence(error))
        ) from None
    try:
        GimpUi.init("impasto")
        dialog = Dialog(image, only)
        dialog.run()
        return dialog.layer
    finally:
        only.close()


class Dialog:
    """The dialog, for the main thread only.

    Attributes:
        layer: the newest result; None if there is none.
    """

    def __init__(self, image: Gimp.Image, only: OnlyOne) -> None:
        self.layer: Gimp.Layer | None = None
        self._only = only
        self._loop = GLib.MainLoop()
        self._storage = kept.storage()
        self._host = GimpHost(self._placed)
        # GIMP is the parent of each of its plug-ins: the server on this computer ends with GIMP.
        computer = ThisComputer(self._host, process=os.getppid())
        self._controller = Controller(self._host, self._storage, this_computer=computer)
        self._saving = False
        self._hindered = ""
        self._leaving = False
        last = kept.load(self._storage)
        self._build(image)
        self._settings.set(last.choices)
        self._steered = ""
        self._content.set(last.kind, last.to)
        self._styles.set(last.styles)
        self._areas.styles_changed(self._styles.chosen)
        self._merge_history()
        self._show_content()
        self._controller.listen(self._told)
        self._controller.start()
        if computer.state == "unknown":
            # With a server of another computer too, this one can be chosen.
            computer.look()
        self._server.refresh()

    def run(self) -> None:
        """Shows the dialog until the artist closes it."""
        self._window.show_all()
        self._run.refresh()
        self._styles.focus()
        look = GLib.timeout_add(round(1000 * LOOK), self._look)
        try:
            self._loop.run()
        finally:
            GLib.source_remove(look)
            self._keep()
            self._window.hide()
            self._say_farewell()
            self._controller.close()
            self._window.destroy()

    def _say_farewell(self) -> None:
        """Lets calls that were just begun reach the server: this process ends with the dialog."""
        end = time.monotonic() + FAREWELL
        least = time.monotonic() + MOMENT
        context = GLib.MainContext.default()
        tick = GLib.timeout_add(50, lambda: bool(GLib.SOURCE_CONTINUE))
        connected = self._controller.connection.state == "connected"
        while connected and time.monotonic() < end:
            sending = any(run.state == "submitting" for run in self._controller.runs)
            if not sending and time.monotonic() > least:
                break
            context.iteration(True)
        GLib.source_remove(tick)

    # Its widgets.

    def _build(self, image: Gimp.Image) -> None:
        self._window = Gtk.Dialog(title=_("Paint in a Style"))
        self._window.set_role("impasto")
        keys = widgets.Mnemonics()
        paint, close = keys.mark(_("Paint"), "p"), keys.mark(_("Close"), "o")
        server, fold = keys.mark(_("Server settings"), "g"), keys.mark(_("Advanced"), "d")
        tabs = [keys.mark(_("Painting"), "n"), keys.mark(_("History"), "h")]
        self._window.add_buttons(close, Gtk.ResponseType.CLOSE, paint, Gtk.ResponseType.OK)
        self._window.set_default_response(Gtk.ResponseType.OK)
        self._paint_button = self._window.get_widget_for_response(Gtk.ResponseType.OK)
        self._paint_button.set_tooltip_text(_("Paint with these settings. Enter does the same."))
        self._window.connect("response", self._responded)
        self._window.connect("close", self._escaped)
        # The dialog is destroyed after what is chosen was stored.
        self._window.connect("delete-event", lambda *_: True)
        self._window.connect("focus-in-event", lambda *_: self._returned())

        def say(sentence: str) -> None:
            self._run.say(sentence)

        self._content = ContentBox(keys, image, self._content_changed)
        self._styles = StylesBox(
            keys,
            self._controller.library,
            image=lambda: self._content.image,
            changed=self._styles_changed,
            say=say,
            activated=lambda: self._window.response(Gtk.ResponseType.OK),
        )
        self._settings = SettingsBox(keys, self._settings_changed)
        self._presets = PresetsBox(
            keys,
            self._controller.presets,
            chosen=lambda: (self._styles.chosen, self._settings.choices()),
            take_up=self._take_up,
            say=say,
        )
        self._areas = AreasBox(widgets.NoKeys(), lambda: self._content.image)
        self._hint = widgets.text(3, 40)
        advanced = Gtk.Expander(label=fold, use_underline=True)
        widgets.named(advanced, _("Advanced"), _("Settings that are seldom needed, and areas"))
        advanced.add(widgets.rows(self._settings.advanced, self._areas.widget))
        settings = widgets.rows(
            self._presets.widget, self._content.widget, self._settings.usual, advanced, spacing=8
        )
        scrolled = Gtk.ScrolledWindow(hscrollbar_policy=Gtk.PolicyType.NEVER, min_content_height=200)
        scrolled.add(settings)
        scrolled.set_propagate_natural_width(True)
        # Its bar says that there is more.
        scrolled.set_overlay_scrolling(False)
        # What is not in sight at the same time may have the same keys.
        self._run = RunBox(keys.branch(), self._controller)
        self._server = ServerBox(keys.branch(), server, self._controller, self._host.later)
        self._history = HistoryBox(
            keys.branch(),
            self._controller,
            document=self._document,
            take_up=self._take_up,
            place=self._place_again,
            show=self._show_in_painting,
            say=say,
        )
        self._pages = Gtk.Notebook()
        for page, label in zip((self._run.widget, self._history.widget), tabs, strict=True):
            page.set_border_width(8)
            tab = Gtk.Label(label=label, use_underline=True)
            self._pages.append_page(page, tab)
            tab.connect("mnemonic-activate", self._turned, page)
        columns = Gtk.Box(spacing=12)
        columns.pack_start(self._styles.widget, True, True, 0)
        middle = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=6)
        middle.pack_start(scrolled, True, True, 0)
        middle.pack_start(self._hint, False, False, 0)
        columns.pack_start(middle, False, False, 0)
        columns.pack_start(self._pages, True, True, 0)
        whole = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=8, border_width=10)
        whole.pack_start(self._server.widget, False, False, 0)
        whole.pack_start(columns, True, True, 0)
        self._window.get_content_area().pack_start(whole, True, True, 0)
        self._window.set_default_size(1160, 700)

    def _turned(self, _tab: Gtk.Label, _again: bool, page: Gtk.Widget) -> bool:
        self._pages.set_current_page(self._pages.page_num(page))
        page.child_focus(Gtk.DirectionType.TAB_FORWARD)
        return True

    def _show_in_painting(self, picture: Any) -> None:
        self._pages.set_current_page(0)
        self._run.show_picture(picture)

    # What changes.

    def _told(self, what: str) -> None:
        if what in ("connection", "computer"):
            self._server.refresh()
            self._run.refresh()
            if not self._controller.cannot_paint:
                self._run.unsay(self._hindered)
            self._leave_if_wanted()
        elif what == "styles":
            self._styles.refresh()
            self._areas.styles_changed(self._styles.chosen)
        elif what == "run":
            self._run.refresh()
            self._show_steered()
        elif what == "preview":
            run = self._controller.run
            if run is not None and run.preview is not None:
                self._run.show_picture(run.preview)
        elif what == "found":
            self._run.refresh_found()
        elif what == "history":
            self._history.refresh()
            try:
                self._write_history()
            except Exception:
                # The painting that has just arrived is placed next, whatever is wrong with the history.
                traceback.print_exc(file=sys.stderr)
        elif what == "presets":
            self._presets.refresh()

    def _styles_changed(self) -> None:
        self._presets.none()
        self._areas.styles_changed(self._styles.chosen)
        self._keep_soon()

    def _settings_changed(self) -> None:
        self._presets.none()
        if self._run.steers and self._controller.run is not None:
            self._controller.run.steer(self._settings.choices())
        self._show_hint()
        self._keep_soon()

    def _show_steered(self) -> None:
        """Shows the settings of another painting, where it is now the one that is steered."""
        run = self._controller.run
        if run is not None and run.id != self._steered and self._run.steers:
            self._steered = run.id
            self._settings.set(self._settings.choices().steered(run.choices))

    def _content_changed(self) -> None:
        self._merge_history()
        self._show_content()
        self._keep_soon()

    def _returned(self) -> bool:
        """The artist comes back from GIMP's windows, where the image may have changed."""
        self._content.refresh()
        self._history.refresh()
        self._show_hint()
        return False

    def _look(self) -> bool:
        self._only.asked(self._asked)
        return bool(GLib.SOURCE_CONTINUE)

    def _asked(self, image: int) -> None:
        self._leaving = False
        self._content.show(Gimp.Image.get_by_id(image))
        self._content_changed()
        self._window.present()

    def _part(self) -> Part:
        return self._content.part(whole=self._areas.uses_selection)

    def _show_hint(self) -> Part | None:
        """Shows what would be painted, at which size."""
        try:
            part = self._part()
            limits = self._controller.connection.info
            most = limits.limits.max_longest_side if limits is not None else None
            size = plan(part.width, part.height, self._settings.choices().size, most=most)
        except ValueError as error:
            self._hint.set_text(words.sentence(error))
            return None
        self._hint.set_text(words.joined(part.told, size.sentence) if part.told else size.sentence)
        return part

    def _show_content(self) -> None:
        """Shows what would be painted, unless a painting is shown."""
        self._settings.texture(self._content.kind == "texture")
        part = self._show_hint()
        if part is None or self._controller.is_painting or part.kind == "texture":
            return
        scale = PREVIEW / max(part.width, part.height)
        side = [max(1, round(scale * length)) for length in (part.width, part.height)]
        try:
            self._run.show_picture(part.read(*side).pixbuf)
        except ValueError as error:
            self._hint.set_text(words.sentence(error))

    def _keep_soon(self) -> None:
        """Stores what is chosen, after a moment: a slider changes fast."""
        if not self._saving:
            self._saving = True
            self._host.later(0.3, self._keep)

    def _keep(self) -> None:
        self._saving = False
        now = kept.Kept(self._styles.chosen, self._settings.choices(), self._content.kind, self._content.to)
        kept.save(self._storage, now)

    # Painting.

    def _responded(self, _window: Gtk.Dialog, response: int) -> None:
        if response == Gtk.ResponseType.OK:
            # A number that is just being typed counts.
            self._paint_button.grab_focus()
            self._paint()
        else:
            self._leaving = True
            self._leave_if_wanted()

    def _leave_if_wanted(self) -> None:
        """Ends the dialog that was closed. While the server is being installed, which ends with this process,
        it lives on out of sight; it comes back if that fails.
        """
        state = self._controller.this_computer.state if self._controller.this_computer is not None else ""
        if not self._leaving:
            return
        if state == "installing":
            self._window.hide()
        elif self._window.get_visible() or state not in ("installed", "starting", "failed"):
            self._loop.quit()
        elif state == "failed":
            self._leaving = False
            self._window.present()

    def _escaped(self, window: Gtk.Dialog) -> None:
        # While it paints, Escape cancels the painting and leaves the dialog open.
        if self._controller.is_painting:
            window.stop_emission_by_name("close")
            self._run.cancel()

    def _paint(self) -> None:
        self._hindered = self._controller.cannot_paint
        if self._hindered:
            self._run.say(self._hindered)
            self._server.open()
            return
        try:
            order = self._order()
            self._controller.stylize(order)
        except ValueError as error:
            self._run.say(words.sentence(error))
            return
        self._pages.set_current_page(0)
        if order.choices != self._settings.choices():
            # The new seed of a second go.
            self._settings.set(order.choices)
        self._keep()

    def _order(self) -> Order:
        """Returns what is ordered.

        Raises:
            ValueError: it cannot be painted; the message is a sentence for people.
        """
        part, choices = self._part(), self._settings.choices()
        info = self._controller.connection.info
        size = plan(
            part.width, part.height, choices.size, most=info.limits.max_longest_side if info else None
        )
        content = None
        if part.kind != "texture":
            pixels = part.read(size.painted_width, size.painted_height)
            content = RawPixels(pixels.width, pixels.height, pixels.rgba, pixels.bits)
        place = part.place(self._content.to)
        order = Order(
            styles=self._styles.chosen,
            size=size,
            choices=choices,
            place=place,
            content=None if content is None else lambda: content,
            areas=self._areas.areas(part, size.painted_width, size.painted_height),
            bits=part.bits,
            subject=part.title,
            document=place["document"],
            source=part.source,
        )
        choices = dataclasses.replace(choices, seed=self._controller.fresh_seed(order))
        return dataclasses.replace(order, choices=made.fresh(part, made.described(order.styles), choices))

    def _placed(self, placed: Placed, painted: Painted) -> None:
        self.layer = placed.layer
        if self._controller.run is None or self._controller.run.id == painted.id:
            self._run.show_picture(painted.picture.pixbuf)
        if placed.told:
            self._host.later(0, lambda: self._run.say(placed.told))

    def _place_again(self, painted: Painted) -> None:
        try:
            self._host.place(painted)
        except Exception as error:
            self._run.say(words.sentence(error))

    def _take_up(self, chosen: Any) -> None:
        """Takes up the styles and settings of a preset, or of an entry of the history."""
        styles: tuple[StyleShare, ...] = chosen.styles
        self._styles.set(styles)
        self._areas.styles_changed(self._styles.chosen)
        self._settings.set(chosen.choices)
        if not isinstance(chosen, Preset):
            self._presets.none()
        self._show_hint()
        self._keep_soon()

    # The history within the image.

    def _document(self) -> str:
        image = self._content.image
        return images.known_key(image) if image is not None else ""

    def _merge_history(self) -> None:
        image = self._content.image
        if image is not None and (data := images.read(image, images.HISTORY)):
            self._controller.history.merge(data, images.known_key(image))
        self._history.refresh()

    def _write_history(self) -> None:
        for image in Gimp.get_images():
            key = images.known_key(image)
            if key and self._controller.history.of(key):
                data = self._controller.history.dump(key)
                if data != images.read(image, images.HISTORY):
                    images.write(image, images.HISTORY, data)
