"""The top of the docker: the connection, and what to do without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from impasto.hosts import Controller, Server, ThisComputer, words
from impasto.hosts.translate import _
from impasto_krita.log_dialog import LogDialog
from impasto_krita.qt import QtCore, QtGui, QtWidgets
from impasto_krita.server_dialog import ServerDialog
from impasto_krita.widgets import Elided, Light, button, plain_tip, run_dialog, tool_button, wrapped

UNREACHED = ("disconnected", "reconnecting", "refused")
"""States of a connection in which another server may be wanted."""
FIRST_SERVER = Server("localhost:50051")
"""What the server's settings propose before one was entered."""


class ConnectionBar(QtWidgets.QWidget):
    """The connection's light and sentence, the button for the server's settings, and one line about trouble
    with a button that helps. `here` is the panel of the server on this computer.
    """

    def __init__(self, controller: Controller, look: Callable[[], None]) -> None:
        super().__init__()
        self._controller = controller
        self._look_at = look
        self.light = Light()
        self.where = Elided()
        self.settings = tool_button(
            _("Server settings"), _("The server's address, the token and encryption"), self.ask_server
        )
        self._icon_again()
        head = QtWidgets.QHBoxLayout()
        head.addWidget(self.light)
        head.addWidget(self.where, 1)
        head.addWidget(self.settings)
        self.trouble = wrapped()
        self.help = button("", "", self._help)
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self.trouble, 1)
        row.addWidget(self.help)
        self.strip = QtWidgets.QWidget()
        row.setContentsMargins(0, 0, 0, 0)
        self.strip.setLayout(row)
        self.here = ThisComputerPanel(controller, ask_server=self.ask_server)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(head)
        column.addWidget(self.strip)
        self.show_connection()

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        # The words take the place of the sentence in a narrow docker; the tooltip still has them.
        wide = self.settings.fontMetrics().horizontalAdvance(self.settings.text()) + 170 < self.width()
        has_icon = not self.settings.icon().isNull()
        style = QtCore.Qt.ToolButtonStyle
        self.settings.setToolButtonStyle(
            (style.ToolButtonTextBesideIcon if wide else style.ToolButtonIconOnly)
            if has_icon
            else style.ToolButtonTextOnly
        )

    def changeEvent(self, event: Any) -> None:
        super().changeEvent(event)
        if event.type() == QtCore.QEvent.Type.PaletteChange:
            # Krita has other icons for another theme, as soon as it has changed it.
            QtCore.QTimer.singleShot(0, self._icon_again)

    def _icon_again(self) -> None:
        icon = settings_icon()
        if not icon.isNull():
            self.settings.setIcon(icon)

    def show_connection(self) -> None:
        """Shows the connection anew."""
        connection = self._controller.connection
        self.light.show_state(connection.state, connection.sentence)
        connected = connection.state == "connected"
        offers = self.here.show_computer()
        if self._controller.is_here and not connected:
            computer = self._controller.this_computer
            self.where.set_text(_("This computer"), computer.sentence if computer is not None else "")
        elif connection.server is None:
            self.where.set_text(_("No server yet"))
        elif connected:
            self.where.set_text(connection.sentence.rstrip("."), connection.sentence)
        else:
            self.where.set_text(connection.address or connection.short, connection.sentence)
        trouble = not connected and connection.server is not None and not offers
        self.trouble.setText(connection.short)
        self.trouble.setToolTip(plain_tip(connection.sentence))
        self.strip.setVisible(trouble)
        remedy = connection.remedy
        self.help.setVisible(bool(remedy))
        if remedy == words.TRY_AGAIN:
            self.help.setText(_("Try again"))
        elif remedy:
            self.help.setText(_("Server settings"))
        # It would be there twice.
        self.settings.setVisible(not (trouble and remedy == words.SERVER_SETTINGS))
        self.help.setToolTip(plain_tip(connection.sentence))
        self.help.setAccessibleName(self.help.text())

    def ask_server(self) -> None:
        """Asks for the server and connects to it."""
        dialog, close = self.server_dialog()
        try:
            if run_dialog(dialog):
                self._controller.connect(dialog.server)
        finally:
            close()

    def server_dialog(self) -> tuple[ServerDialog, Callable[[], None]]:
        """Returns the dialog of the server's settings, and what to call after it."""
        chosen = self._controller.server or self._controller.connection.server
        # While this computer is used, Enter must not leave it for an address that nobody has entered.
        elsewhere = Server("") if chosen is not None and chosen.this_computer else chosen
        computer = self._controller.this_computer
        if computer is None:
            return ServerDialog(self, elsewhere or FIRST_SERVER), lambda: None
        if computer.state == "absent":
            computer.look()
        panel = ThisComputerPanel(self._controller)

        def heard(what: str) -> None:
            if what in ("computer", "connection"):
                panel.show_computer()

        dialog = ServerDialog(self, elsewhere or FIRST_SERVER, panel)
        # The docker shows how it goes on.
        panel.chosen.connect(dialog.reject)
        return dialog, self._controller.listen(heard)

    def _help(self) -> None:
        connection = self._controller.connection
        if connection.remedy != words.TRY_AGAIN:
            self.ask_server()
        elif connection.state == "reconnecting":
            connection.try_now()
        elif connection.server is not None:
            connection.connect(connection.server)


class ThisComputerPanel(QtWidgets.QWidget):
    """Offers to paint on this computer, and shows its installation and its server.

    Args:
        ask_server: asks for another server. None in the server's settings: there, all is shown, also while
            it is used.
    """

    chosen = QtCore.pyqtSignal()
    """The artist has chosen to paint on this computer."""

    def __init__(self, controller: Controller, *, ask_server: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._controller = controller
        self._in_settings = ask_server is None
        self._looked = False
        self.sentence = wrapped()
        self.offer = wrapped()
        self.bar = QtWidgets.QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.bar.setAccessibleName(_("Progress of the installation"))
        self.paint = button(
            _("Paint on this computer"), _("Start the server on this computer and use it"), self._paint
        )
        self.install = button(
            _("Install on this computer"), _("Install the server on this computer and use it"), self._install
        )
        self.cancel = button(
            _("Cancel"), _("Stop the installation and remove what is half made"), self._cancel
        )
        self.stop = button(_("Stop"), _("Stop the server on this computer"), self._stop)
        self.other = button(
            _("Use a server …"), _("Enter the address of a server"), ask_server or (lambda: None)
        )
        self.log = button(_("Show log"), _("Show the log, which says what was done"), self._log)
        self.keep = QtWidgets.QCheckBox(_("Keep it running"))
        self.keep.setToolTip(_("The server on this computer goes on when Krita is closed."))
        policy = QtWidgets.QSizePolicy.Policy
        self.keep.setSizePolicy(policy.Ignored, policy.Fixed)
        self.keep.toggled.connect(self._keep)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 2)
        column.setSpacing(2)
        column.addWidget(self.sentence)
        column.addWidget(self.bar)
        for made in (self.paint, self.install, self.cancel, self.other, self.stop, self.log):
            column.addWidget(made)
        column.addWidget(self.keep)
        column.addWidget(self.offer)
        self.show_computer()

    def show_computer(self) -> bool:
        """Shows the state anew; returns whether that says all about the connection."""
        computer = self._controller.this_computer
        chosen = self._controller.server
        nothing_chosen = chosen is None
        here = chosen is not None and chosen.this_computer
        if computer is None:
            self.setVisible(nothing_chosen)
            self._only(self.other)
            self.offer.hide()
            self.sentence.setText(_("Enter the address of a server to begin."))
            return nothing_chosen
        state = computer.state
        busy = state in ("installing", "starting")
        connected = self._controller.connection.state == "connected"
        # Another server may never answer: this computer stays within reach.
        instead = not (nothing_chosen or busy or here) and self._controller.connection.state in UNREACHED
        shown = self._in_settings or nothing_chosen or busy or (here and not connected) or instead
        self.setVisible(shown)
        if not shown:
            return False
        to_install = state in ("absent", "failed") and computer.can_install and not computer.can_start
        offer = computer.offer if to_install and (self._in_settings or not instead) else ""
        # With the offer below, what the buttons do is said there.
        self.sentence.setText(computer.short if offer else computer.sentence)
        self.sentence.setToolTip(plain_tip(computer.sentence))
        # The line above says what is wrong with the other server.
        self.sentence.setVisible(self._in_settings or not instead)
        self.offer.setText(offer)
        self.offer.setVisible(bool(offer))
        wanted: list[QtWidgets.QWidget] = []
        if to_install:
            wanted.append(self.install)
        if computer.can_start and not (state == "running" and here):
            wanted.append(self.paint)
        if state == "installing":
            wanted.append(self.cancel)
        if state == "running" and (here or self._in_settings):
            wanted.append(self.stop)
        if not (busy or instead or self._in_settings):
            wanted.append(self.other)
        if computer.log and (self._in_settings or state in ("installing", "failed")):
            wanted.append(self.log)
        if busy or (computer.can_start and (here or self._in_settings)):
            wanted.append(self.keep)
            self.keep.blockSignals(True)
            self.keep.setChecked(computer.keep_running)
            self.keep.blockSignals(False)
        if busy:
            wanted.append(self.bar)
            self.bar.setRange(0, 0 if computer.fraction is None else 1000)
            self.bar.setValue(round(1000 * (computer.fraction or 0)))
        self._only(*wanted)
        if instead and not self._looked:
            # Nobody has needed to know until now whether the server is installed.
            self._looked = True
            computer.look()
        return not instead

    def _only(self, *wanted: QtWidgets.QWidget) -> None:
        for made in (
            self.paint, self.install, self.cancel, self.other, self.stop, self.log, self.keep, self.bar,
        ):  # fmt: skip
            made.setVisible(made in wanted)

    def _install(self) -> None:
        if self._computer is not None:
            self._controller.paint_here(install=True)
            self.chosen.emit()

    def _paint(self) -> None:
        self._controller.paint_here()
        self.chosen.emit()

    def _cancel(self) -> None:
        if self._computer is not None:
            self._computer.cancel()

    def _stop(self) -> None:
        if self._computer is not None:
            self._computer.stop()

    def _keep(self, on: bool) -> None:
        if self._computer is not None:
            self._computer.keep_running = on

    def _log(self) -> None:
        path = self._computer.log if self._computer is not None else ""
        if path:
            run_dialog(LogDialog(self, path))

    @property
    def _computer(self) -> ThisComputer | None:
        return self._controller.this_computer


def settings_icon() -> QtGui.QIcon:
    """Returns Krita's icon for settings, in the colours of its theme; a null icon if it has none."""
    from krita import Krita

    return QtGui.QIcon(Krita.instance().icon("configure"))
