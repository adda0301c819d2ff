"""The controller: everything between a host's widgets and the client."""

from __future__ import annotations

import dataclasses
import random
import sys
import traceback
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from impasto.errors import NotFound
from impasto.hosts import thumbnails, words
from impasto.hosts.choices import Choices
from impasto.hosts.connection import (
    THIS_COMPUTER,
    ClientFactory,
    Connection,
    Server,
    Timing,
    open_client,
)
from impasto.hosts.errands import Errands
from impasto.hosts.history import Entry, History
from impasto.hosts.host import Host, Painted
from impasto.hosts.memory import Memory, Recent, Remembered, described, this_process
from impasto.hosts.order import Order, check_order
from impasto.hosts.presets import Presets
from impasto.hosts.run import Run
from impasto.hosts.storage import Lasting, Storage, read_json, write_json
from impasto.hosts.styles import MOST_THUMBNAIL_BYTES, MOST_TITLE, StyleItem, StyleLibrary
from impasto.hosts.told import Told, ToldError, plain
from impasto.hosts.tools import Tools, cancel_job, format_of
from impasto.hosts.translate import _
from impasto.job import Job
from impasto.recipe import Previews

if TYPE_CHECKING:
    from impasto.hosts.this_computer import ThisComputer

TITLE_LENGTH = 200
MOST_SUBJECT = 200
"""Longest name of what is painted, in characters."""
MOST_AT_ONCE = 10
"""Paintings that may be in progress, including those that wait on the server."""
MOST_ENDED = 10
"""Ended paintings that are kept for the host to show."""
LARGEST_SEED = 2**31 - 1
"""Largest new seed. Widgets of hosts hold no larger number."""
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
        if self.ready:
            return _("{painting}: finished.").format(painting=self.remembered.label)
        return _("{painting}: still being painted.").format(painting=self.remembered.label)


class Controller:
    """What a host's widgets show and do. For the host's main thread only.

    Widgets call `listen`, and read the attributes again when they change.

    Args:
        result_format: format of results: "rgba8" (bare pixels) or "png". An order whose result has 16 bits
            per channel gets "rgba16" or "png16".
        previews: which previews to send.
        open_client: makes a client of a server.
        this_computer: the server that the plugin starts itself; None if the host has none.

    Attributes:
        connection: the connection to the server.
        library: the styles to choose from.
        runs: the paintings in progress, oldest first.
        run: the painting that the host shows: the newest begun, unless `show` chose another one. When it
            has succeeded or was cancelled, the oldest in progress takes its place; one that failed stays, so
            that its sentence is seen. None before the first.
        ended: paintings that have ended since the host was started, newest first.
        found: earlier paintings that can be continued.
        history: the paintings that have arrived.
        presets: settings with a name.
        this_computer: the server that the plugin starts itself; None if the host has none.
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
        this_computer: ThisComputer | None = None,
    ) -> None:
        timing = timing or Timing()
        self._host = host
        self._storage = Lasting(storage)
        self._listeners: list[Callable[[str], None]] = []
        self._errands = Errands(host.post)
        self._memory = Memory(storage)
        self.library = StyleLibrary(storage, lambda: self._tell("styles"))
        self.connection = Connection(
            host, self._errands, open_client=open_client, timing=timing, changed=self._connection_changed
        )
        self.history = History(storage, lambda: self._tell("history"))
        self.presets = Presets(storage, self.library, lambda: self._tell("presets"))
        self.this_computer = this_computer
        if this_computer is not None:
            this_computer.changed = self._computer_changed
        self.runs: tuple[Run, ...] = ()
        self.run: Run | None = None
        self.ended: tuple[Run, ...] = ()
        self.found: tuple[Found, ...] = ()
        self._painted: set[tuple[object, ...]] = set()
        self._tools = Tools(
            host,
            self._errands,
            self.connection,
            self.library,
            self._memory,
            timing,
            self.history,
            previews,
            result_format,
        )
        self._was_connected = False

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Calls a listener with what has changed. Returns a function that stops this.

        It is "connection", "styles", "recents", "found", "run" (a painting, or which one is shown), "preview"
        (of the shown painting), "history", "presets" or "computer".
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
        kinds = {
            "address": str,
            "token": str,
            "tls": bool,
            "ca": str,
            "allow_plaintext_token": bool,
            "this_computer": bool,
        }
        known = {name: kept[name] for name, kind in kinds.items() if isinstance(kept.get(name), kind)}
        return Server(**known) if known.get("address") or known.get("this_computer") else None

    def start(self, server: Server | None = None) -> None:
        """Connects to the server that was used last; if there is none, to `server`, without storing it.

        If the artist has chosen this computer, its server is started.
        """
        if self.is_here:
            if self.this_computer is not None:
                self.this_computer.start()
            return
        if self.this_computer is not None:
            # Also where a server was entered: the artist may want to come back to this computer.
            self.this_computer.look()
        server = self.server or server
        if server is not None:
            self.connection.connect(server)

    def connect(self, server: Server) -> None:
        """Connects to a server, and stores it for the next time."""
        if self.this_computer is not None and not server.this_computer:
            self.this_computer.leave()
        write_json(self._storage, "server.json", dataclasses.asdict(server))
        self.connection.connect(server)

    @property
    def is_here(self) -> bool:
        """Whether the artist has chosen to paint on this computer."""
        server = self.server
        return server is not None and server.this_computer

    def paint_here(self, *, install: bool = False) -> None:
        """Paints on this computer from now on: starts its server, and connects as soon as it runs.

        Args:
            install: whether to install the server first.

        Raises:
            ValueError: the host has no server of its own.
        """
        computer = self.this_computer
        if computer is None:
            raise ValueError(_("This plugin cannot start a server on this computer."))
        self._choose_here()
        if computer.state == "running":
            self._computer_changed()
        elif install:
            computer.install()
        else:
            computer.start()

    def _choose_here(self) -> None:
        if not self.is_here:
            write_json(self._storage, "server.json", dataclasses.asdict(Server("", this_computer=True)))
            if self.connection.server is not None:
                self.connection.disconnect()

    def _computer_changed(self) -> None:
        computer = self.this_computer
        assert computer is not None
        if computer.state == "installing":
            self._choose_here()
        server = computer.server
        if server is not None and self.is_here:
            if self.connection.server != server or self.connection.state == "disconnected":
                self.connection.connect(server)
            else:
                self.connection.try_now()
        elif (
            computer.state == "installed"
            and self.connection.key == THIS_COMPUTER
            and self.connection.state != "disconnected"
        ):
            # It was stopped.
            self.connection.disconnect()
        self._tell("computer")

    def close(self) -> None:
        """Closes everything, as the host does. What is being painted goes on and is found the next time."""
        for run in self.runs:
            run.leave()
        self._listeners.clear()
        if self.this_computer is not None:
            self.this_computer.close()
        self.connection.disconnect()
        self._errands.close()

    def _connection_changed(self) -> None:
        connected = self.connection.state == "connected"
        arrived, self._was_connected = connected and not self._was_connected, connected
        for run in self.runs:
            run.contact_changed()
        if arrived:
            self._fetch_styles()
            self._look_for_jobs()
            for which in list(self._memory.cancelled.get(self.connection.key, [])):
                cancel_job(self._tools, self.connection.key, which)
        elif not connected and self.found:
            self.found = ()
            self._tell("found")
        self._tell("connection")

    def _fetch_styles(self) -> None:
        client = self.connection.client
        assert client is not None

        def work() -> tuple[StyleItem, ...]:
            return tuple(
                StyleItem(
                    style.name,
                    plain(style.title)[:MOST_TITLE],
                    thumbnails.checked(style.thumbnail, MOST_THUMBNAIL_BYTES),
                )
                for style in client.styles()
            )

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
        return bool(self.runs)

    @property
    def cannot_paint(self) -> str:
        """Why nothing can be painted now, and what to do, for people; empty if something can.

        Without contact to a server that was there, orders are taken: they wait.
        """
        hindered = self._hindered()
        return "" if hindered is None else hindered.sentence

    def _hindered(self) -> Told | None:
        if self.connection.state == "refused":
            return self.connection.told
        if self.connection.server is not None and self.connection.state != "disconnected":
            return None
        computer = self.this_computer
        if self.is_here and computer is not None and computer.state != "running":
            if computer.state == "installing":
                return Told(
                    _("The server is being installed on this computer."),
                    _("You can paint as soon as that has finished."),
                )
            return Told(computer.short, computer.details, computer.remedy)
        return Told(
            _("Not connected to a server."),
            _("Choose where to paint: on this computer, or on a server."),
            words.SERVER_SETTINGS,
        )

    @property
    def recents(self) -> list[Recent]:
        """Recent settings, newest first."""
        return list(self._memory.recents)

    def stylize(self, order: Order) -> Run:
        """Starts a painting. While others are in progress, it may wait on the server for a free device.

        Raises:
            ToldError: the order cannot be painted, too many are in progress, or there is no server.
        """
        hindered = self._hindered()
        if hindered is not None:
            raise ToldError(hindered.short, hindered.details, hindered.remedy)
        if len(self.runs) >= MOST_AT_ONCE:
            raise ToldError(
                _("{most} paintings are in progress already.").format(most=MOST_AT_ONCE),
                _("Wait until one is finished, or cancel one."),
            )
        check_order(order, self.connection.info.limits if self.connection.info else None)
        self._memory.use(Recent(order.styles, order.choices))
        self._tell("recents")
        self._painted.add(_attempt(order))
        id = uuid.uuid4().hex
        memo = Remembered(
            id=id,
            address=self.connection.key,
            name="",
            title=_title(order, id),
            styles=order.styles,
            choices=order.choices,
            place=order.place,
            bits=order.bits,
            texture=order.is_texture,
            # The name of a document may have line breaks, and halves of characters.
            subject=plain(order.subject)[:MOST_SUBJECT],
            document=order.document,
            keeper=this_process(),
        )
        return self._begin(memo, order)

    def fresh_seed(self, order: Order) -> int:
        """Returns the seed for an order: its own, or a new one if this very order was painted before.

        Orders are the same if document, source, size, styles, areas and choices are; a second go with the
        same seed would give the same painting.
        """
        while _attempt(order) in self._painted:
            seed = random.randrange(LARGEST_SEED + 1)
            order = dataclasses.replace(order, choices=dataclasses.replace(order.choices, seed=seed))
        return order.choices.seed

    def show(self, run: Run) -> None:
        """Makes a painting the one that the host shows."""
        if run is not self.run:
            self.run = run
            self._tell("run")
            self._tell("preview")

    def cancel_all(self) -> None:
        """Cancels all paintings in progress."""
        # The newest first, so that none of them is sent or begun in between.
        for run in reversed(self.runs):
            run.cancel()

    def take_up(self, found: Found) -> Run:
        """Takes up an earlier painting: watches it, or places its picture."""
        self._drop(found)
        memo = dataclasses.replace(found.remembered, keeper=this_process())
        self._memory.remember(memo)
        return self._begin(memo, None)

    def dismiss(self, found: Found) -> None:
        """Forgets an earlier painting; cancels it if it is not finished."""
        self._drop(found)
        self._memory.forget(found.remembered.id)
        if not found.job.is_final:
            cancel_job(self._tools, found.remembered.address, found.job.name)

    def fetch(self, entry: Entry, done: Callable[[Painted], None], failed: Callable[[str], None]) -> None:
        """Gets the picture of an entry of the history from its server again.

        Args:
            done: called on the main thread with the picture, decoded by `Host.decode_result`.
            failed: called on the main thread with a sentence for people.
        """
        client = self.connection.client
        if self.connection.key != entry.address:
            failed(_kept_on(entry.address))
            return
        if client is None:
            failed(
                words.joined(
                    _("No connection to the server, which keeps the picture."), _("Try again later.")
                )
            )
            return

        def work() -> Painted:
            job = client.job(entry.job)
            image = client.download(result_of=entry.job, format=format_of(self._tools, entry.bits))
            picture = self._host.decode_result(image, entry.place)
            return Painted(
                entry.id,
                picture,
                job,
                entry.styles,
                entry.choices,
                entry.place,
                entry.bits,
                entry.subject,
                entry.document,
            )

        def told(error: Exception) -> None:
            if isinstance(error, words.RETRIABLE):
                self.connection.lost(client, error)
            if isinstance(error, NotFound):
                failed(
                    words.joined(
                        _("The server no longer has this picture."),
                        _("Its settings are still here: paint it again with them."),
                    )
                )
            else:
                failed(words.sentence(error, entry.address))

        self._errands.start(work, done, told)

    def _begin(self, memo: Remembered, order: Order | None) -> Run:
        run = Run(self._tools, memo, order, lambda what: self._run_changed(run, what))
        self.runs = (*self.runs, run)
        self.run = run
        run.begin()
        return run

    def _run_changed(self, run: Run, what: str) -> None:
        if what == "preview":
            if run is self.run:
                self._tell("preview")
            return
        ended = run.is_final and run in self.runs
        if ended:
            self.runs = tuple(other for other in self.runs if other is not run)
            self.ended = (run, *self.ended)[:MOST_ENDED]
            if run is self.run and run.state != "failed" and self.runs:
                self.run = self.runs[0]
        self._send_next()
        self._tell("run")
        if ended:
            # Its picture may be still to be placed.
            self._look_for_jobs()

    def _send_next(self) -> None:
        """Sends the oldest order that is not sent yet; one after the other, so that they keep their order."""
        # One for a server that was left waits until it is back.
        waiting = next((run for run in self.runs if run.state == "submitting" and run.in_contact), None)
        if waiting is not None:
            waiting.send()

    def _drop(self, found: Found) -> None:
        self.found = tuple(other for other in self.found if other.remembered.id != found.remembered.id)
        self._tell("found")

    def _look_for_jobs(self) -> None:
        """Asks the server about the jobs that are remembered."""
        client, key = self.connection.client, self.connection.key
        self._memory.read_again()
        asked = [memo for memo in self._memory.jobs if memo.address == key and not self._is_busy(memo)]
        if client is None or (not asked and not self.found):
            return

        def work() -> list[tuple[Remembered, Job | None]]:
            titles: dict[str, Job] = {}
            free = [memo for memo in asked if not memo.is_kept_elsewhere]
            if any(not memo.name for memo in free):
                titles = {job.title: job for job in client.jobs()}
            return [(memo, job_of(memo, titles)) for memo in free]

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
            # Meanwhile some may have been taken up, placed or cancelled.
            remembered = {memo.id for memo in self._memory.jobs}
            for memo, job in answers:
                if self._is_busy(memo) or memo.id not in remembered:
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

    def _is_busy(self, memo: Remembered) -> bool:
        return any(run.id == memo.id for run in self.runs)

    def _tell(self, what: str) -> None:
        for listener in list(self._listeners):
            try:
                listener(what)
            except Exception:
                # A fault in a widget must not keep a picture from being placed.
                traceback.print_exc(file=sys.stderr)

    def choices(self) -> Choices:
        """Returns the choices that were used last."""
        recents = self._memory.recents
        return recents[0].choices if recents else Choices()


def _attempt(order: Order) -> tuple[object, ...]:
    """What makes an order the same as another one."""
    areas = tuple((area.name, area.style) for area in order.areas)
    return order.document or order.subject, order.source, order.size, order.styles, areas, order.choices


def _kept_on(key: str) -> str:
    if key == THIS_COMPUTER:
        return words.joined(
            _("The picture is kept on this computer."), _("Choose to paint on this computer, then try again.")
        )
    return words.joined(
        _("The picture is kept on another server: {server}.").format(server=key),
        _("Connect to it, then try again."),
    )


def _title(order: Order, id: str) -> str:
    """The title of an order's job, which contains the beginning of its identifier."""
    tag = f" [{id[:8]}]"
    # The server refuses control characters, which the name of a document may have.
    return plain(described(order.styles, order.subject))[: TITLE_LENGTH - len(tag)] + tag
