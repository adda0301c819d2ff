"""The controller: everything between a host's widgets and the client."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable

from impasto.errors import NotFound
from impasto.hosts import words
from impasto.hosts.choices import Choices
from impasto.hosts.connection import ClientFactory, Connection, Server, Timing, open_client
from impasto.hosts.errands import Errands
from impasto.hosts.host import Host
from impasto.hosts.memory import Memory, Recent, Remembered
from impasto.hosts.order import Order
from impasto.hosts.run import Run
from impasto.hosts.storage import Storage, read_json, write_json
from impasto.hosts.styles import StyleItem, StyleLibrary
from impasto.hosts.tools import Tools, cancel_job
from impasto.job import Job
from impasto.recipe import Previews

TITLE_LENGTH = 200
PREVIEWS = Previews(format="jpeg", max_side=1024, max_bytes=256 * 2**10, min_interval=0.3)


@dataclasses.dataclass(frozen=True)
class Found:
    """An earlier painting whose picture is not placed yet.

    Attributes:
        remembered: what was stored about it here.
        job: its job on the server.
    """

    remembered: Remembered
    job: Job

    @property
    def ready(self) -> bool:
        """Whether its picture is finished."""
        return self.job.state == "succeeded"

    @property
    def sentence(self) -> str:
        """Its state as a sentence for people."""
        subject = self.remembered.title.rpartition(" [")[0]
        return f"{subject}: {'finished' if self.ready else 'still being painted'}."


class Controller:
    """What a host's widgets show and do. For the host's main thread only.

    Widgets call `listen`, and read the attributes again when they change.

    Args:
        result_format: format of results: "rgba8" (bare pixels) or "png"; "rgba16" or "png16" for a host whose
            documents have 16 bits per channel. The content may be raw pixels of 8 or 16 bits with any of
            them.
        previews: which previews to send.
        open_client: makes a client of a server.

    Attributes:
        connection: the connection to the server.
        library: the styles to choose from.
        run: the current painting, or the last one; None before the first.
        found: earlier paintings that can be continued.
    """

    def __init__(
        self,
        host: Host,
        storage: Storage,
        *,
        result_format: str = "rgba8",
        previews: Previews = PREVIEWS,
        open_client: ClientFactory = open_client,
        timing: Timing | None = None,
    ) -> None:
        timing = timing or Timing()
        self._host = host
        self._storage = storage
        self._listeners: list[Callable[[str], None]] = []
        self._errands = Errands(host.post)
        self._memory = Memory(storage)
        self.library = StyleLibrary(storage, lambda: self._tell("styles"))
        self.connection = Connection(
            host, self._errands, open_client=open_client, timing=timing, changed=self._connection_changed
        )
        self.run: Run | None = None
        self.found: tuple[Found, ...] = ()
        self._tools = Tools(
            host,
            self._errands,
            self.connection,
            self.library,
            self._memory,
            timing,
            previews,
            result_format,
        )
        self._was_connected = False

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Calls a listener with what has changed: "connection", "styles", "recents", "found", "run" or
        "preview". Returns a function that stops this.
        """
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    # The server.

    @property
    def server(self) -> Server | None:
        """The server that was used last; None before the first."""
        kept = read_json(self._storage, "server.json", {})
        kinds = {"address": str, "token": str, "tls": bool, "ca": str, "allow_plaintext_token": bool}
        known = {name: kept[name] for name, kind in kinds.items() if isinstance(kept.get(name), kind)}
        return Server(**known) if known.get("address") else None

    def start(self, server: Server | None = None) -> None:
        """Connects to the server that was used last; if there is none, to `server`, without storing it."""
        server = self.server or server
        if server is not None:
            self.connection.connect(server)

    def connect(self, server: Server) -> None:
        """Connects to a server, and stores it for the next time."""
        write_json(self._storage, "server.json", dataclasses.asdict(server))
        self.connection.connect(server)

    def close(self) -> None:
        """Closes everything, as the host does. The current painting goes on and is found the next time."""
        if self.run is not None:
            self.run.leave()
        self._listeners.clear()
        self.connection.disconnect()
        self._errands.close()

    def _connection_changed(self) -> None:
        connected = self.connection.state == "connected"
        arrived, self._was_connected = connected and not self._was_connected, connected
        if self.run is not None:
            self.run.contact_changed()
        if arrived:
            self._fetch_styles()
            self._look_for_jobs()
            for which in list(self._memory.cancelled.get(self.connection.address, [])):
                cancel_job(self._tools, self.connection.address, which)
        elif not connected and self.found:
            self.found = ()
            self._tell("found")
        self._tell("connection")

    def _fetch_styles(self) -> None:
        client = self.connection.client
        assert client is not None

        def work() -> tuple[StyleItem, ...]:
            return tuple(StyleItem(style.name, style.title, style.thumbnail) for style in client.styles())

        def done(items: tuple[StyleItem, ...]) -> None:
            if client is self.connection.client:
                self.library.offer(items)

        def failed(error: Exception) -> None:
            if isinstance(error, words.RETRIABLE):
                self.connection.lost(client, error)

        self._errands.start(work, done, failed)

    # Painting.

    @property
    def is_painting(self) -> bool:
        """Whether a painting is in progress."""
        return self.run is not None and not self.run.is_final

    @property
    def recents(self) -> list[Recent]:
        """Recent recipes, newest first."""
        return list(self._memory.recents)

    def stylize(self, order: Order) -> Run:
        """Starts a painting.

        Raises:
            ValueError: a painting is in progress, or there is no server; the message is a sentence for
                people.
        """
        if self.is_painting:
            raise ValueError("A picture is being painted. Wait until it is finished, or cancel it first.")
        if self.connection.server is None or self.connection.state in ("disconnected", "refused"):
            raise ValueError("Not connected to a server. Open Settings and enter its address.")
        self._memory.use(Recent(order.style, order.choices))
        self._tell("recents")
        id = uuid.uuid4().hex
        subject = f"{order.style.title} on {order.subject}" if order.subject else order.style.title
        tag = f" [{id[:8]}]"
        memo = Remembered(
            id=id,
            address=self.connection.address,
            name="",
            title=subject[: TITLE_LENGTH - len(tag)] + tag,
            style=order.style,
            choices=order.choices,
            place=order.place,
        )
        return self._begin(memo, order)

    def take_up(self, found: Found) -> Run:
        """Takes up an earlier painting: watches it, or places its picture.

        Raises:
            ValueError: a painting is in progress; the message is a sentence for people.
        """
        if self.is_painting:
            raise ValueError("A picture is being painted. Wait until it is finished, or cancel it first.")
        self._drop(found)
        return self._begin(found.remembered, None)

    def dismiss(self, found: Found) -> None:
        """Forgets an earlier painting; cancels it if it is not finished."""
        self._drop(found)
        self._memory.forget(found.remembered.id)
        if not found.job.is_final:
            cancel_job(self._tools, found.remembered.address, found.job.name)

    def _begin(self, memo: Remembered, order: Order | None) -> Run:
        if self.run is not None:
            self.run.leave()
        run: Run | None = None

        def changed(what: str) -> None:
            if run is self.run:
                self._tell(what)
                if what == "run" and run is not None and run.state == "succeeded":
                    self._look_for_jobs()

        run = self.run = Run(self._tools, memo, order, changed)
        run.begin()
        return run

    def _drop(self, found: Found) -> None:
        self.found = tuple(other for other in self.found if other.remembered.id != found.remembered.id)
        self._tell("found")

    def _look_for_jobs(self) -> None:
        """Asks the server about the jobs that are remembered."""
        client, address = self.connection.client, self.connection.address
        busy = self.run.id if self.run is not None and not self.run.is_final else ""
        asked = [memo for memo in self._memory.jobs if memo.address == address and memo.id != busy]
        if client is None or (not asked and not self.found):
            return

        def work() -> list[tuple[Remembered, Job | None]]:
            titles: dict[str, Job] = {}
            if any(not memo.name for memo in asked):
                titles = {job.title: job for job in client.jobs()}
            return [(memo, job_of(memo, titles)) for memo in asked]

        def job_of(memo: Remembered, titles: dict[str, Job]) -> Job | None:
            if not memo.name:
                return titles.get(memo.title)
            try:
                return client.job(memo.name)
            except NotFound:
                return None

        def done(answers: list[tuple[Remembered, Job | None]]) -> None:
            if client is not self.connection.client:
                return
            found = []
            for memo, job in answers:
                if self.run is not None and self.run.id == memo.id and not self.run.is_final:
                    continue
                if job is None or job.state in ("failed", "cancelled"):
                    self._memory.forget(memo.id)
                else:
                    found.append(Found(dataclasses.replace(memo, name=job.name), job))
            if tuple(found) != self.found:
                self.found = tuple(found)
                self._tell("found")

        def failed(error: Exception) -> None:
            if isinstance(error, words.RETRIABLE):
                self.connection.lost(client, error)

        self._errands.start(work, done, failed)

    def _tell(self, what: str) -> None:
        for listener in list(self._listeners):
            listener(what)

    def choices(self) -> Choices:
        """Returns the choices that were used last."""
        recents = self._memory.recents
        return recents[0].choices if recents else Choices()
