"""The server: its address, the token and encryption; or the server on this computer."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from gi.repository import Gtk

from impasto.address import is_local, parse
from impasto.hosts import Controller, Server, words
from impasto.hosts.translate import _
from impasto_gimp import script, widgets

TYPING = 0.7
"""Seconds from the last change of the server's settings to the attempt to connect."""
LIGHTS = {
    "disconnected": "#888888",
    "connecting": "#d9a400",
    "connected": "#2e9e3f",
    "refused": "#d03030",
    "reconnecting": "#d9a400",
}
DOT = '<span foreground="{color}">⬤</span>'
HERE = Server("127.0.0.1")
"""The server that an empty address stands for."""


class ServerBox:
    """The light, the sentence about the connection, and the settings of the server.

    Args:
        label: the label of the settings, with its key.
        controller: what connects.
        later: makes a call after some seconds.
    """

    def __init__(
        self,
        keys: widgets.Mnemonics,
        label: str,
        controller: Controller,
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._controller = controller
        self._later = later
        self._typed = 0
        self._quiet = False
        self._answered = False
        self._opened = False
        self._dot = Gtk.Label(yalign=0)
        self._light = Gtk.Label(xalign=0, wrap=True, max_width_chars=100, selectable=True)
        self._light.set_can_focus(False)
        self._address = Gtk.Entry(hexpand=True, width_chars=24, activates_default=False)
        self._address.set_placeholder_text("127.0.0.1:50051")
        self._token = Gtk.Entry(visibility=False, hexpand=True, width_chars=20)
        self._token.set_input_purpose(Gtk.InputPurpose.PASSWORD)
        self._token_file = Gtk.FileChooserButton(title=_("Choose the file with the token"))
        self._tls = Gtk.CheckButton(label=_("Encrypted (TLS)"), use_underline=True)
        self._ca = Gtk.FileChooserButton(title=_("Choose the file with the certificates"))
        self._no_ca = Gtk.Button.new_from_icon_name("edit-clear", Gtk.IconSize.BUTTON)
        widgets.named(
            self._no_ca, _("No certificate file"), _("Use the certificates that this computer trusts")
        )
        named = (
            (self._address, _("Server"), _("Address of the Impasto server: HOST or HOST:PORT"), "v"),
            (self._token, _("Token"), _("The token from the server's administrator; empty for none"), "k"),
            (self._token_file, _("Token from a file"), _("A file that has the token"), ""),
            (
                self._ca,
                _("Certificate file"),
                _(
                    "File with the certificates that sign the server's; none for those that this computer "
                    "trusts"
                ),
                "",
            ),
        )
        grid = Gtk.Grid(row_spacing=6, column_spacing=8)
        for number, (widget, name, tip, wanted) in enumerate(named):
            widgets.named(widget, name, tip)
            across, down = 3 * (number % 2), number // 2
            caption = widgets.label_for(keys if wanted else widgets.NoKeys(), name, widget, wanted)
            grid.attach(caption, across, down, 1, 1)
            grid.attach(widget, across + 1, down, 1, 1)
        grid.attach(self._no_ca, 5, 1, 1, 1)
        widgets.named(
            self._tls,
            _("Encrypted (TLS)"),
            _("Whether to encrypt the connection; the server must support it"),
        )
        grid.attach(self._tls, 6, 0, 1, 1)
        self._here = ComputerBox(widgets.NoKeys(), controller)
        self._settings = Gtk.Expander(label=label, use_underline=True)
        widgets.named(self._settings, _("Server settings"), _("The server that paints, and how to reach it"))
        self._settings.add(widgets.rows(grid, self._here.widget))
        self._again = widgets.button(
            widgets.NoKeys(), _("Try Again"), _("Try to connect at once"), controller.connection.try_now
        )
        self._again.set_no_show_all(True)
        top = widgets.row(self._dot, self._light, self._again)
        top.set_child_packing(self._light, True, True, 0, Gtk.PackType.START)
        self.widget = widgets.rows(top, self._settings)
        self._show_server()
        self._address.connect("changed", self._changed)
        self._token.connect("changed", self._changed)
        self._tls.connect("toggled", self._changed)
        self._ca.connect("file-set", self._changed)
        self._no_ca.connect("clicked", self._forget_ca)
        self._token_file.connect("file-set", self._read_token)
        for entry in (self._address, self._token):
            # Enter connects; it must not paint with a server that is only half entered.
            entry.connect("activate", lambda _entry: self._connect())

    def open(self) -> None:
        """Opens the settings, until there is a connection."""
        self._opened = True
        self._settings.set_expanded(True)

    def _open_once(self) -> None:
        # Whoever closes them does not want them open at each attempt to connect.
        if not self._opened:
            self.open()

    def refresh(self) -> None:
        """Shows the state of the connection; opens the settings where the artist has to do something."""
        connection, computer = self._controller.connection, self._controller.this_computer
        if self._controller.is_here and computer is not None and connection.state != "connected":
            waits = computer.state in ("unknown", "installing", "starting", "running")
            self._set_light("connecting" if waits else "refused", computer.sentence)
            if not waits:
                self._open_once()
        elif self._controller.server is None and connection.state != "connected":
            self._set_light(
                "disconnected",
                _("No server is chosen yet. Enter the address of one, or let this computer paint.")
                if computer is not None
                else _("No server is chosen yet. Enter the address of one."),
            )
            self._open_once()
        else:
            self._set_light(connection.state, connection.sentence)
        self._again.set_visible(connection.state == "reconnecting" and self._controller.server is not None)
        if connection.state == "connected":
            self._answered = True
            if self._opened:
                self._opened = False
                self._settings.set_expanded(False)
        elif connection.state == "refused" or (connection.state == "reconnecting" and not self._answered):
            self._open_once()
        self._here.refresh()

    def _show_server(self) -> None:
        server = self._controller.server or Server("")
        self._quiet = True
        self._address.set_text("" if server.this_computer else server.address)
        self._token.set_text(server.token)
        self._tls.set_active(server.tls)
        if server.ca:
            self._ca.set_filename(server.ca)
        self._quiet = False

    def _set_light(self, state: str, sentence: str) -> None:
        self._dot.set_markup(DOT.format(color=LIGHTS[state]))
        self._light.set_text(sentence)

    def _changed(self, *_ignored: Any) -> None:
        if self._quiet:
            return
        self._typed += 1
        typed = self._typed

        def connect() -> None:
            if typed == self._typed:
                self._connect()

        self._later(TYPING, connect)

    def _connect(self) -> None:
        self._typed += 1
        self._answered = False
        try:
            server = self._server()
        except ValueError as error:
            self._controller.connection.disconnect()
            self._set_light("refused", words.sentence(error))
            return
        # Stored at once, so that it is remembered whatever comes next.
        self._controller.connect(server)

    def _server(self) -> Server:
        """Returns the server that is entered.

        Raises:
            ValueError: it cannot be used; the message is a sentence for people.
        """
        address = self._address.get_text().strip() or HERE.address
        token = self._token.get_text().strip()
        encrypted = bool(self._tls.get_active())
        if token and not encrypted and not is_local(parse(address)):
            raise ValueError(script.plaintext(address))
        parse(address)
        return Server(address, token, encrypted, self._ca.get_filename() or "")

    def _read_token(self, chooser: Gtk.FileChooserButton) -> None:
        file = chooser.get_filename()
        if not file:
            return
        try:
            self._token.set_text(script.token_of(pathlib.Path(file)))
        except ValueError as error:
            self._set_light("refused", str(error))

    def _forget_ca(self, _button: Gtk.Button) -> None:
        self._ca.unselect_all()
        self._changed()


class ComputerBox:
    """The server on this computer: installing, starting, stopping."""

    def __init__(self, keys: widgets.Mnemonics, controller: Controller) -> None:
        self._controller = controller
        self._says = widgets.text(2, 90)
        self._bar = Gtk.ProgressBar()
        self._bar.get_accessible().set_name(_("Progress of the installation"))
        self._install = widgets.button(
            keys,
            _("Install on This Computer"),
            _("Install the server that paints on this computer"),
            lambda: self._controller.paint_here(install=True),
        )
        self._paint = widgets.button(
            keys,
            _("Paint on This Computer"),
            _("Start a server on this computer, for you alone"),
            lambda: self._controller.paint_here(),
        )
        self._cancel = self._button(
            keys, _("Cancel the Installation"), _("Cancel, and remove what is half installed"), "cancel"
        )
        self._stop = self._button(keys, _("Stop It"), _("Stop the server on this computer"), "stop")
        self._log = widgets.button(keys, _("Show Log"), _("Show what happened"), self._show_log)
        self._keep = Gtk.CheckButton(label=keys.mark(_("Keep it running")), use_underline=True)
        widgets.named(
            self._keep, _("Keep it running"), _("The server goes on when GIMP and Krita are closed")
        )
        self._keep.connect("toggled", self._kept)
        self._actions = (self._install, self._paint, self._cancel, self._stop, self._keep, self._log)
        self.widget = widgets.rows(self._says, self._bar, widgets.row(*self._actions))
        for widget in (self.widget, self._says, self._bar, *self._actions):
            widget.set_no_show_all(True)
        self.widget.get_children()[2].show()

    @property
    def _computer(self) -> Any:
        return self._controller.this_computer

    def refresh(self) -> None:
        """Shows the state."""
        computer = self._computer
        self.widget.set_visible(computer is not None)
        if computer is None:
            return
        state, chosen = computer.state, self._controller.is_here
        connected = self._controller.connection.state == "connected"
        # The light says it already, or it is about something that the artist no longer wants.
        told = (chosen and not connected) or (not chosen and state in ("absent", "failed"))
        offer = computer.offer if state == "absent" and computer.can_install else ""
        self._says.set_text(words.joined("" if told else computer.sentence, offer))
        self._says.set_visible(bool(self._says.get_text()))
        self._bar.set_visible(state in ("installing", "starting"))
        if computer.fraction is None:
            self._bar.pulse()
        else:
            self._bar.set_fraction(computer.fraction)
        self._install.set_visible(
            state in ("absent", "failed") and computer.can_install and bool(computer.offer)
        )
        self._paint.set_visible(computer.can_start and not (state == "running" and chosen))
        self._cancel.set_visible(state == "installing")
        self._stop.set_visible(state == "running" and chosen)
        self._keep.set_visible(state == "running")
        self._keep.set_active(computer.keep_running)
        self._log.set_visible(bool(computer.log))

    def _button(self, keys: widgets.Mnemonics, label: str, tip: str, method: str) -> Gtk.Button:
        return widgets.button(keys, label, tip, lambda: getattr(self._computer, method)())

    def _kept(self, check: Gtk.CheckButton) -> None:
        if self._computer.keep_running != check.get_active():
            self._computer.keep_running = check.get_active()

    def _show_log(self) -> None:
        try:
            text = pathlib.Path(self._computer.log).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            text = words.sentence(error)
        dialog = Gtk.Dialog(title=_("Log"), transient_for=self.widget.get_toplevel())
        dialog.add_buttons(_("_Close"), Gtk.ResponseType.CLOSE)
        view = Gtk.TextView(editable=False, monospace=True)
        view.get_buffer().set_text(text[-200_000:])
        frame = Gtk.ScrolledWindow(min_content_width=700, min_content_height=400, hexpand=True, vexpand=True)
        frame.add(view)
        dialog.get_content_area().add(frame)
        dialog.connect("response", lambda dialog, _response: dialog.destroy())
        dialog.show_all()
