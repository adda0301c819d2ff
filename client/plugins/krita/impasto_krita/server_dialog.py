"""The dialog that asks for the server."""

from __future__ import annotations

from impasto.hosts import Server
from impasto_krita.qt import QtCore, QtWidgets
from impasto_krita.widgets import wrapped


class ServerDialog(QtWidgets.QDialog):
    """Asks for the server and the settings of the connection."""

    def __init__(self, parent: QtWidgets.QWidget | None, server: Server) -> None:
        super().__init__(parent)
        self.setWindowTitle("Impasto server")
        self.setMinimumWidth(360)
        self.address = QtWidgets.QLineEdit(server.address)
        self.address.setPlaceholderText("gpu-machine:50051")
        self.token = QtWidgets.QLineEdit(server.token)
        self.token.setEchoMode(QtWidgets.QLineEdit.EchoMode.Password)
        self.token.setPlaceholderText("none")
        self.tls = QtWidgets.QCheckBox("Encrypted connection (TLS)")
        self.tls.setChecked(server.tls)
        self.ca = QtWidgets.QLineEdit(server.ca)
        self.ca.setPlaceholderText("those the system trusts")
        browse = QtWidgets.QPushButton("…")
        # Otherwise it would be the button that Enter presses: the first in the dialog.
        browse.setAutoDefault(False)
        browse.setFixedWidth(32)
        browse.clicked.connect(self._browse)
        self.plaintext = QtWidgets.QCheckBox("Send the token without encryption")
        self.plaintext.setToolTip(
            "Anyone on the network can read it. Use this only on a network that you trust."
        )
        self.plaintext.setChecked(server.allow_plaintext_token)
        certificates = QtWidgets.QHBoxLayout()
        certificates.addWidget(self.ca)
        certificates.addWidget(browse)
        form = QtWidgets.QFormLayout()
        form.addRow("Address", self.address)
        form.addRow("Token", self.token)
        form.addRow("", self.tls)
        form.addRow("Certificates", certificates)
        form.addRow("", self.plaintext)
        kept = wrapped("These settings are stored in a file that only you can read.")
        buttons = QtWidgets.QDialogButtonBox(QtWidgets.QDialogButtonBox.StandardButton.Cancel)
        self.connect_button = buttons.addButton("Connect", QtWidgets.QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QtWidgets.QVBoxLayout(self)
        column.addLayout(form)
        column.addWidget(kept)
        column.addWidget(buttons)
        # A button is the default one only once it is in the dialog.
        self.connect_button.setDefault(True)
        self.address.textChanged.connect(self._look)
        self.token.textChanged.connect(self._look)
        self.tls.toggled.connect(self._look)
        self._look()

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
        path, _ = QtWidgets.QFileDialog.getOpenFileName(
            self,
            "Certificates that sign the server's certificate",
            QtCore.QDir.homePath(),
            "PEM (*.pem *.crt);;All files (*)",
        )
        if path:
            self.ca.setText(path)
