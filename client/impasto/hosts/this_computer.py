"""The server that the plugin itself installs and starts on this computer."""

from __future__ import annotations

import errno
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import impasto
from impasto.hosts import words
from impasto.hosts.connection import Server
from impasto.hosts.errands import Errands
from impasto.hosts.host import Host
from impasto.hosts.installing import (
    Cancelled,
    Installation,
    Progress,
    extent,
    installed,
    no_python,
    obstacle,
    size,
    stamp,
    what_to_install,
    without_venv,
)
from impasto.hosts.own_server import Folder, Running, has_ended, running, started
from impasto.hosts.pythons import Noted, Python, ask, candidates, clean, data_folder, noted
from impasto.hosts.told import TRY_AGAIN, Told
from impasto.hosts.translate import _

STATES = ("unknown", "absent", "installing", "installed", "starting", "running", "failed")
CHECK = 3.0
"""Time in seconds between two looks whether the server still runs."""
SHORT_LIFE = 30.0
"""A server that ends within this time, in seconds, is not started again by itself."""


class ThisComputer:
    """The server on this computer, which all hosts of the user share. For the host's main thread only.

        unknown --look--> absent --install--> installing --> starting --> running
                          installed --start--> starting --> running --stop--> installed

    No method waits, and none raises an error: `changed` is called when an attribute changes. The server ends
    with the last host that uses it, however that ends, unless `keep_running` is set.

    Args:
        process: the host's process; None for this one. A plug-in that has its own process gives its host's.
        folder: where everything is; None for the user's data folder.
        arguments: more arguments of `impasto-server serve`.
        note: what was noted when the plugin was installed; None to look for it.
        system, machine: the kind of computer, as `sys.platform` and `platform.machine()` name it.

    Attributes:
        state: one of `STATES`.
        fraction: how much of the installation is done, from 0 to 1; None if that is not known.
    """

    def __init__(
        self,
        host: Host,
        *,
        process: int | None = None,
        folder: str | os.PathLike[str] | None = None,
        arguments: Sequence[str] = (),
        note: Noted | None = None,
        system: str = sys.platform,
        machine: str = platform.machine(),
    ) -> None:
        self.state = "unknown"
        self.fraction: float | None = None
        self.changed: Callable[[], None] = lambda: None
        self._told = Told(_("Looking for a server on this computer …"))
        self._host = host
        self._errands = Errands(host.post)
        self._process = os.getpid() if process is None else process
        self._environment = clean(os.environ)
        own = data_folder(os.environ, system) / "this-computer"
        self._folder = Folder(own if folder is None else Path(folder))
        self._arguments = tuple(arguments)
        self._note = noted() if note is None else note
        self._system = system
        self._obstacle = obstacle(system, machine)
        self._python = ""
        self._is_there = True
        # Stamp of an installation whose server did not start: `install` makes it anew.
        self._damaged: int | None = None
        self._server: Running | None = None
        self._installation: Installation | None = None
        self._log: Path | None = None
        self._begun = 0.0
        # Which of the attempts to do something is the present one. What comes from earlier ones is dropped.
        self._attempt = 0

    @property
    def sentence(self) -> str:
        """The state in whole sentences for people, with what to do."""
        return self._told.sentence

    @property
    def short(self) -> str:
        """The state as one short sentence, for a narrow docker."""
        return self._told.short

    @property
    def details(self) -> str:
        """The sentences after the short one; empty if there are none."""
        return self._told.details

    @property
    def remedy(self) -> str:
        """What a button beside it should do: see `Told.remedy`."""
        return self._told.remedy

    @property
    def can_install(self) -> bool:
        """Whether the server can be installed on a computer of this kind. If not, `sentence` says why."""
        return self._obstacle is None

    @property
    def can_start(self) -> bool:
        """Whether `start` has a server to start, as far as is known: not after a failed installation."""
        return self._is_there and self.state in ("installed", "failed", "running")

    @property
    def offer(self) -> str:
        """What `install` would do, with its size and time, for people; empty if it can do nothing here."""
        if self._obstacle is not None:
            return ""
        takes = extent(self._system)
        text = _(
            "Impasto can install its server on this computer, to paint without another one. It downloads "
            "about {download} and needs {disk} on the disk, in {folder}; this takes about {minutes} minutes "
            "with a fast connection. Nothing else on this computer changes."
        )
        return text.format(
            download=size(takes.download),
            disk=size(takes.disk),
            folder=self._folder.path,
            minutes=takes.minutes,
        )

    @property
    def log(self) -> str:
        """Path of the log that explains the state; empty if there is none."""
        return str(self._log) if self._log is not None and self._log.exists() else ""

    @property
    def server(self) -> Server | None:
        """The server, to connect to; None unless it runs."""
        if self.state != "running" or self._server is None:
            return None
        return Server(self._server.address, this_computer=True)

    @property
    def keep_running(self) -> bool:
        """Whether the server goes on when the last host has ended. All hosts share this setting."""
        return self._folder.users.stays

    @keep_running.setter
    def keep_running(self, wanted: bool) -> None:
        try:
            self._folder.users.stay(wanted)
        except OSError as error:
            self._fail(error, self._log)
            return
        self.changed()

    def look(self) -> None:
        """Finds out whether the server is installed, and whether it runs."""
        if self.state in ("installing", "starting", "running"):
            return
        if self._system == "win32" and self._obstacle is not None:
            self._set("absent", self._obstacle)
            return
        attempt = self._next()

        def done(found: tuple[Python | None, Running | None]) -> None:
            if attempt != self._attempt:
                return
            python, server = found
            self._python = python.path if python is not None else ""
            if python is None:
                self._set(
                    "absent", self._obstacle or Told(_("Impasto's server is not on this computer yet."))
                )
            elif server is not None:
                self._set("installed", Told(_("The server on this computer runs.")))
            else:
                self._set("installed", Told(_("The server is on this computer, and does not run now.")))

        self._errands.start(lambda: (self._find(), running(self._folder)), done, self._failing(attempt))

    def install(self) -> None:
        """Installs the server, then starts it."""
        if self._obstacle is not None or self.state in ("installing", "starting", "running"):
            return
        attempt = self._next()
        takes = extent(self._system)
        packages = what_to_install(self._note, os.environ, impasto.__version__)

        def tell(progress: Progress) -> None:
            if attempt == self._attempt and self.state == "installing":
                self.fraction = progress.fraction
                self._set("installing", Told(progress.sentence))

        def work() -> str:
            self._folder.make()
            installation = Installation(
                self._folder,
                self._base(),
                packages,
                environment=self._environment,
                # What was downloaded goes when it is unpacked.
                needed=takes.disk + takes.download,
                expected=takes.download,
                told=lambda progress: self._errands.hand(lambda: tell(progress)),
                fits=self._fits,
                damaged=self._damaged,
            )
            self._installation = installation
            if attempt != self._attempt:
                raise Cancelled
            return installation.run()

        def done(python: str) -> None:
            if attempt != self._attempt:
                return
            self.fraction = None
            self._python = python
            self._set("installed", Told(_("The server is installed.")))
            self.start()

        def failed(error: Exception) -> None:
            if isinstance(error, Cancelled):
                # `cancel` has begun the next attempt.
                if attempt + 1 == self._attempt and self.state == "absent":
                    self._cancelled()
            elif attempt == self._attempt:
                self._is_there = installed(self._folder)
                self._fail(error, self._folder.install_log)

        self._log = self._folder.install_log
        self._set("installing", Told(_("Preparing the installation …")))
        self._errands.start(work, done, failed)

    def cancel(self) -> None:
        """Ends the installation, and removes what is half made."""
        if self.state != "installing":
            return
        self._next()
        if self._installation is not None:
            self._installation.cancel()
        self._set(
            "absent", Told(_("The installation was cancelled."), _("What it has made is being removed."))
        )

    def _cancelled(self) -> None:
        """What was cancelled has ended."""
        if installed(self._folder):
            # Another program has installed it while this waited.
            self.look()
        else:
            self._set("absent", Told(_("The installation was cancelled."), _("Nothing is left of it.")))

    def start(self) -> None:
        """Starts the server, or uses the one that runs already."""
        if self.state in ("installing", "starting", "running"):
            return
        if self._system == "win32" and self._obstacle is not None:
            self._set("absent", self._obstacle)
            return
        attempt = self._next()

        path = self._python

        def work() -> tuple[str, Running | None]:
            nonlocal path
            if not path:
                python = self._find()
                path = python.path if python is not None else ""
            if not path:
                return "", None
            return path, started(self._folder, path, self._environment, self._process, self._arguments)

        def done(found: tuple[str, Running | None]) -> None:
            if attempt != self._attempt:
                return
            self._python, self._server = found
            if self._server is None:
                self._set(
                    "absent", self._obstacle or Told(_("Impasto's server is not on this computer yet."))
                )
                return
            self._set("running", Told(_("The server on this computer runs.")))
            self._check_later(attempt)

        def failed(error: Exception) -> None:
            if attempt == self._attempt:
                self._distrust(path)
                # The next time it may be another Python.
                self._python = ""
            self._failing(attempt)(error)

        self._begun = time.monotonic()
        self._log = self._folder.server_log
        self._set("starting", Told(_("The server on this computer starts …")))
        self._errands.start(work, done, failed)

    def stop(self) -> None:
        """Uses the server no longer, and ends it, also if it was to be left running, unless others use it."""
        try:
            self._folder.users.stay(False)
        except OSError as error:
            self._fail(error, self._log)
            return
        self.leave()

    def leave(self) -> None:
        """Uses the server no longer. It ends, unless others use it, or it is to be left running."""
        if self.state not in ("starting", "running"):
            return
        self._next()
        self._server = None
        try:
            self._folder.users.remove(self._process)
        except OSError as error:
            self._fail(error, self._log)
            return
        self._set("installed", Told(_("The server is on this computer, and does not run now.")))

    def close(self) -> None:
        """Ends an installation. The server ends with the host itself."""
        if self.state == "installing" and self._installation is not None:
            self._installation.cancel()
        self._next()
        self._errands.close()

    def _find(self) -> Python | None:
        """Returns a Python that has the server; None if there is none. Takes seconds, in a thread."""
        own = self._folder.python
        for path in candidates(self._note, own, self._environment, self._system):
            if Path(path).is_relative_to(own) and not installed(self._folder):
                continue
            python = ask(path, self._environment)
            if python is not None and self._fits(python):
                return python
        return None

    def _fits(self, python: Python) -> bool:
        """Whether a Python has a server that can be used."""
        return python.server and (python.torch or "--mock" in self._arguments)

    def _distrust(self, python: str) -> None:
        """Remembers that the server did not start with a Python, if that was installed here."""
        if Path(python).is_relative_to(self._folder.python):
            self._damaged = stamp(self._folder)

    def _base(self) -> Python:
        """Returns the Python to install with.

        Raises:
            ToldError: there is none.
        """
        incomplete = None
        for path in candidates(self._note, self._folder.python, self._environment, self._system):
            if Path(path).is_relative_to(self._folder.python):
                continue
            python = ask(path, self._environment)
            if python is not None and python.can_install:
                return python
            if python is not None and python.is_new_enough:
                incomplete = incomplete or python
        raise no_python(self._system) if incomplete is None else without_venv(incomplete)

    def _check_later(self, attempt: int) -> None:
        def check() -> None:
            if attempt == self._attempt and self._server is not None:
                server = self._server
                self._errands.start(lambda: server.is_alive, done)

        def done(alive: bool) -> None:
            if attempt != self._attempt:
                return
            if alive:
                self._check_later(attempt)
                return
            ended, self._server = self._server, None
            self.state = "failed"
            if time.monotonic() - self._begun < SHORT_LIFE:
                self._distrust(ended.python if ended is not None else "")
                self._fail(has_ended(self._folder), self._folder.server_log)
            else:
                self.start()

        self._host.later(CHECK, check)

    def _next(self) -> int:
        self._attempt += 1
        self.fraction = None
        return self._attempt

    def _failing(self, attempt: int) -> Callable[[Exception], None]:
        def failed(error: Exception) -> None:
            if attempt == self._attempt:
                self._fail(error, self._folder.server_log)

        return failed

    def _fail(self, error: Exception, log: Path | None) -> None:
        self._next()
        self._log = log
        told = of_folder(error, self._folder.path) if isinstance(error, OSError) else None
        self._set("failed", told or words.tell(error, words.HERE))

    def _set(self, state: str, told: Told) -> None:
        if state in ("absent", "installed", "running"):
            self._is_there = state != "absent"
        self.state, self._told = state, told
        self.changed()


def of_folder(error: OSError, folder: Path) -> Told | None:
    """Returns what is told where the server's folder cannot be used; None if it is not that.

    The names of the files in it mean nothing to an artist.
    """
    if not isinstance(error.filename, (str, bytes)):
        return None
    path = Path(os.fsdecode(error.filename))
    if not (path.is_relative_to(folder) or folder.is_relative_to(path)):
        return None
    short = _("The server's folder cannot be used.")
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        why = _("Something else is in its place: {path}. Move it away, then try again.")
        path = next((each for each in (path, *path.parents) if each.exists()), path)
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        why = _("You may not write there: {path}. Change that, then try again.")
        path = folder
    else:
        return None
    return Told(short, why.format(path=path), TRY_AGAIN)
