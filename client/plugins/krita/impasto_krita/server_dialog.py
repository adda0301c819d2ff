"""The dialog that asks for the server."""

from __future__ import annotations

from impasto.hosts import Server
from impasto.hosts.translate import _
from impasto_krita.qt import QtCore, QtWidgets
from impasto_krita.settings_form import add_row
from impasto_krita.widgets import described, wrapped

EXAMPLE = "gpu-machine:50051"


class ServerDialog(QtWidgets.QDialog):
    """Asks for the server and the settings of the connection.

    Args:
        here: the panel of the server on this computer; None if there is none.
    """

    def __init__(
        self, parent: QtWidgets.QWidget | None, server: Server, here: QtWidgets.QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(_("Server settings"))
        self.setMinimumWidth(360)
        self.address = QtWidgets.QLineEdit(server.address)
        self.address.setPlaceholderText(EXAMPLE)
        self.token = QtWidgets.QLineEdit(server.token)
        self.token.setEchoMode(QtWidgets.QLineEdit.EchoMode.Password)
        self.token.setPlaceholderText(_("none"))
        self.tls = QtWidgets.QCheckBox(_("Encrypted connection (TLS)"))
        self.tls.setToolTip(_("Switch this on if the server uses encryption."))
        self.tls.setChecked(server.tls)
        self.ca = QtWidgets.QLineEdit(server.ca)
        self.ca.setPlaceholderText(_("those that the system trusts"))
        browse = QtWidgets.QPushButton("…")
        described(browse, _("Choose a file of certificates"), _("Choose a file of certificates"))
        browse.setFixedWidth(32)
        # Otherwise Enter would press it: it is the first button in the dialog.
        browse.setAutoDefault(False)
        browse.clicked.connect(lambda: self._browse())
        self.plaintext = QtWidgets.QCheckBox(_("Send the token without encryption"))
        self.plaintext.setToolTip(
            _("Anyone on the network can read it. Use this only on a network that you trust.")
        )
        self.plaintext.setChecked(server.allow_plaintext_token)
        certificates = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(certificates)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.ca)
        row.addWidget(browse)
        certificates.setFocusProxy(self.ca)
        form = QtWidgets.QFormLayout()
        for text, field, widget, tip in (
            (_("Address"), self.address, self.address, _("The server's address: HOST or HOST:PORT")),
            (
                _("Token"),
                self.token,
                self.token,
                _("The token that the server's administrator gave you; empty if there is none"),
            ),
            ("", self.tls, self.tls, self.tls.toolTip()),
            (
                _("Certificates"),
                self.ca,
                certificates,
                _("A file with the certificates (PEM) that sign the server's; empty for those of the system"),
            ),
            ("", self.plaintext, self.plaintext, self.plaintext.toolTip()),
        ):
            described(field, text or field.text(), tip)
            add_row(form, text, widget, tip)
        kept = wrapped(_("These settings are stored in a file that only you can read."))
        buttons = QtWidgets.QDialogButtonBox(QtWidgets.QDialogButtonBox.StandardButton.Cancel)
        self.connect_button = buttons.addButton(
            _("Connect"), QtWidgets.QDialogButtonBox.ButtonRole.AcceptRole
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QtWidgets.QVBoxLayout(self)
        if here is not None:
            this_computer = QtWidgets.QGroupBox(_("This computer"))
            QtWidgets.QVBoxLayout(this_computer).addWidget(here)
            column.addWidget(this_computer)
            other = QtWidgets.QGroupBox(_("Another server"))
            other.setLayout(form)
            column.addWidget(other)
        else:
            column.addLayout(form)
        column.addWidget(kept)
        column.addWidget(buttons)
        # It would be lost before the buttons are in the dialog.
        self.connect_button.setDefault(True)
        self.address.textChanged.connect(self._look)
        self.token.textChanged.connect(self._look)
        self.tls.toggled.connect(self._look)
        self._look()
        self.address.setFocus()

    @property
    def server(self) -> Server:
        """The server that was entered."""
        return Server(
            address=self.address.text().strip(),
            token=self.token.text().strip(),
            tls=self.tls.isChecked(),
            ca=self.ca.text().strip() if self.tls.isChecked() else "",
            allow_plaintext_token=self.plaintext.isChecked() and not self.tls.isChecked(),
        )

    def _look(self) -> None:
        tls = self.tls.isChecked()
        self.ca.setEnabled(tls)
        self.plaintext.setEnabled(not tls and bool(self.token.text().strip()))
        self.connect_button.setEnabled(bool(self.address.text().strip()))

    def _browse(self) -> None:
        pem = _("Certificates") + " (*.pem *.crt);;" + _("All files") + " (*)"
        path = QtWidgets.QFileDialog.getOpenFileName(
            self, _("Certificates that sign the server's certificate"), QtCore.QDir.homePath(), pem
        )[0]
        if path:
            self.ca.setText(path)
