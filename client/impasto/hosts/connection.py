"""The connection to a server, which restores itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from impasto import address as addresses
from impasto.hosts import words
from impasto.hosts.errands import Errands
from impasto.hosts.host import Host
from impasto.hosts.told import SERVER_SETTINGS, ToldError
from impasto.hosts.translate import _
from impasto.security import call_metadata

if TYPE_CHECKING:
    from impasto.client import Client
    from impasto.job import ServerInfo

THIS_COMPUTER = words.HERE
"""The key of the server that the plugin starts itself. Its address can be another one each time."""
STATES = ("disconnected", "connecting", "connected", "refused", "reconnecting")


@dataclasses.dataclass(frozen=True)
class Server:
    """A server, and how to connect to it.

    Attributes:
        address: "host:port", "host" or "unix:/path".
        token: the token that says who calls; empty for none.
        tls: whether to encrypt the connection.
        ca: file with the certificates (PEM) that sign the server's; empty for those that the system trusts.
        allow_plaintext_token: whether to send the token over a network without TLS.
        this_computer: whether it is the server that the plugin starts itself; its address is found then.
    """

    address: str
    token: str = dataclasses.field(default="", repr=False)
    tls: bool = False
    ca: str = ""
    allow_plaintext_token: bool = False
    this_computer: bool = False

    @property
    def key(self) -> str:
        """What its jobs are remembered under."""
        return THIS_COMPUTER if self.this_computer else addresses.same(self.address)

    def check(self) -> None:
        """Checks the address and the token, without the network.

        Raises:
            ToldError: one of them cannot be right, or a network would carry the token in plaintext.
        """
        try:
            address = addresses.parse(self.address)
        except ValueError:
            raise ToldError(
                _("“{address}” is not an address.").format(address=words.cut(self.address)),
                _(
                    "Enter the server's name and port in the server settings, for example studio:50051, "
                    "without https:// before it."
                ),
                SERVER_SETTINGS,
            ) from None
        if not self.token:
            return
        try:
            call_metadata(self.token, address, encrypted=True, allow_plaintext_token=True)
        except ValueError:
            raise ToldError(
                _("The token has characters that no token has."),
                _(
                    "Copy it once more, as the server's administrator gave it to you, without spaces or line "
                    "breaks."
                ),
                SERVER_SETTINGS,
            ) from None
        if not (self.tls or self.allow_plaintext_token or addresses.is_local(address)):
            raise ToldError(
                _("Your token would travel unencrypted."),
                _(
                    "Others on the network could read it. Switch on encryption (TLS) in the server settings, "
                    "or allow the token without encryption if the network itself is protected."
                ),
                SERVER_SETTINGS,
            )


@dataclasses.dataclass(frozen=True)
class Timing:
    """Times in seconds.

    Attributes:
        call: longest wait for the answer to a call.
        patience: time without contact after which the connection counts as lost.
        first_retry, longest_retry: first and longest delay between attempts to connect; it doubles.
        check: time between checks that the server answers.
        steer: delay between a change of a setting and its call.
    """

    call: float = 10.0
    patience: float = 3.0
    first_retry: float = 1.0
    longest_retry: float = 30.0
    check: float = 10.0
    steer: float = 0.15


ClientFactory = Callable[[Server, Timing], "Client"]


def open_client(server: Server, timing: Timing) -> Client:
    """Return a client of a server. Raises as `Server.check` and `impasto.Client` do."""
    from impasto.client import Client
    from impasto.security import Tls

    server.check()
    return Client(
        server.address,
        token=server.token or None,
        tls=Tls(ca=server.ca or None) if server.tls else None,
        timeout=timing.call,
        patience=timing.patience,
        allow_plaintext_token=server.allow_plaintext_token,
    )


class Connection:
    """A connection to a server, which restores itself. For the host's main thread only.

        disconnected --connect--> connecting --> connected --lost--> reconnecting --> connected
                                  connecting --> refused         (until the settings change)
                                  connecting --> reconnecting    (no answer: it tries again)

    Args:
        changed: called when an attribute changes.

    Attributes:
        state: one of `STATES`.
        told: the state for people, of which the next three are parts.
        sentence: the state in whole sentences for people, with what to do.
        short: the state as one short sentence, for a narrow docker.
        remedy: what a button beside it should do: see `Told.remedy`.
        server: the server; None before the first `connect`.
        client: the client to call it with; None unless connected.
        info: what the server says about itself; None before the first connection.
    """

    def __init__(
        self,
        host: Host,
        errands: Errands,
        *,
        open_client: ClientFactory,
        timing: Timing,
        changed: Callable[[], None],
    ) -> None:
        self.state = "disconnected"
        self.told = words.Told(_("Not connected."))
        self.server: Server | None = None
        self.client: Client | None = None
        self.info: ServerInfo | None = None
        self._host = host
        self._errands = errands
        self._open_client = open_client
        self._timing = timing
        self._changed = changed
        self._attempt = 0
        self._failures = 0

    @property
    def sentence(self) -> str:
        return self.told.sentence

    @property
    def short(self) -> str:
        return self.told.short

    @property
    def remedy(self) -> str:
        return self.told.remedy

    @property
    def address(self) -> str:
        """The server's address; empty if there is none."""
        return self.server.address if self.server else ""

    @property
    def key(self) -> str:
        """What the server's jobs are remembered under; empty if there is no server."""
        return self.server.key if self.server else ""

    def connect(self, server: Server) -> None:
        """Connects to a server and stays connected. Disconnects from another one."""
        self._let_go()
        self.server = server
        self.info = None
        self._failures = 0
        self._set("connecting", self._connecting())
        self._try()

    def disconnect(self) -> None:
        """Disconnects, and does not reconnect."""
        self._let_go()
        self._set("disconnected", words.Told(_("Not connected.")))

    def try_now(self) -> None:
        """Tries to reconnect at once, if it waits for the next attempt."""
        if self.state == "reconnecting":
            self._attempt += 1
            self._set("reconnecting", self._connecting())
            self._try()

    def lost(self, client: Client | None, error: Exception) -> None:
        """Handles an error of a call that means the server is gone. Ignores one of an earlier connection."""
        if client is not None and client is self.client:
            self._failed(error)

    def refused(self, client: Client | None, error: Exception) -> None:
        """Handles an error of a call that the server refused to this caller. Ignores earlier connections."""
        if client is not None and client is self.client:
            self._let_go()
            self._set("refused", words.tell(error, self.key))

    def _try(self) -> None:
        server, attempt = self.server, self._attempt
        assert server is not None

        def work() -> tuple[Client, ServerInfo]:
            client = self._open_client(server, self._timing)
            try:
                return client, client.info()
            except BaseException:
                client.close()
                raise

        def done(found: tuple[Client, ServerInfo]) -> None:
            client, info = found
            if attempt != self._attempt:
                self._errands.start(client.close)
                return
            self.client, self.info = client, info
            self._failures = 0
            self._set("connected", _connected(server, info))
            self._check_later(client)

        def failed(error: Exception) -> None:
            if attempt == self._attempt:
                self._failed(error)

        self._errands.start(work, done, failed)

    def _failed(self, error: Exception) -> None:
        self._let_go()
        told = words.tell(error, self.key)
        if not isinstance(error, words.RETRIABLE):
            self._set("refused", told)
            return
        delay = min(self._timing.first_retry * 2.0**self._failures, self._timing.longest_retry)
        self._failures += 1
        attempt = self._attempt

        def again() -> None:
            if attempt == self._attempt:
                self._try()

        details = words.joined(told.details, _("Impasto tries again automatically."))
        self._set("reconnecting", dataclasses.replace(told, details=details))
        self._host.later(delay, again)

    def _check_later(self, client: Client) -> None:
        def check() -> None:
            if client is self.client:
                self._errands.start(client.info, done, failed)

        def done(info: ServerInfo) -> None:
            if client is not self.client:
                return
            self.info = info
            assert self.server is not None
            told = _connected(self.server, info)
            # For example, its device has started meanwhile.
            if told != self.told:
                self._set("connected", told)
            self._check_later(client)

        def failed(error: Exception) -> None:
            if client is not self.client:
                return
            if isinstance(error, words.RETRIABLE):
                self._failed(error)
            else:
                self.refused(client, error)

        starts = self.info is not None and any(device.state == "starting" for device in self.info.devices)
        self._host.later(self._timing.first_retry if starts else self._timing.check, check)

    def _let_go(self) -> None:
        self._attempt += 1
        client, self.client = self.client, None
        if client is not None:
            self._errands.start(client.close)

    def _connecting(self) -> words.Told:
        return words.Told(_("Connecting to {server} …").format(server=words.cut(words.place(self.key))))

    def _set(self, state: str, told: words.Told) -> None:
        self.state, self.told = state, told
        self._changed()


def _connected(server: Server, info: ServerInfo) -> words.Told:
    place = words.cut(words.place(server.key))
    connected = _("Connected to {server}.").format(server=place)
    if info.tenant:
        connected = _("Connected to {server} as {name}.").format(server=place, name=words.cut(info.tenant))
    if any(device.state == "starting" for device in info.devices):
        connected = _("Connected to {server}, which is still starting.").format(server=place)
    # What a device is, is known once it has started.
    devices = ", ".join(dict.fromkeys(device.description for device in info.devices if device.description))
    if not devices:
        return words.Told(connected)
    return words.Told(connected, _("It paints with: {devices}.").format(devices=devices))
