"""Installs the server on this computer: into a virtual environment in the user's data folder."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import impasto
from impasto.files import write_whole
from impasto.hosts.own_server import Folder, running
from impasto.hosts.pythons import Noted, Python, ask, belongs_to_user, program_of
from impasto.hosts.told import SERVER_SETTINGS, TRY_AGAIN, Told, ToldError, ended, joined
from impasto.hosts.translate import _
from impasto.process_notes import told_apart

MARKER = "impasto-installed.json"
"""File in the virtual environment that is written last: without it, the environment is not complete."""
DOWNLOADED = 0.8
"""How much of an installation the download is."""
LOOK = 0.2
"""Time in seconds between two looks whether another installation has ended."""
MB = 10**6

_DOWNLOADING = re.compile(rb"Progress (\d+) of (\d+)")
_FETCHED = re.compile(rb"\s*(?:Downloading|Using cached) (\S+?)(?:-[0-9]\S*)? \(([0-9.]+) (kB|MB|GB)\)")


class Cancelled(ToldError):
    """The installation was cancelled."""

    def __init__(self) -> None:
        super().__init__(_("The installation was cancelled."))


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much an installation takes.

    Attributes:
        download, disk: in bytes, about.
        minutes: about how long it takes with 50 Mbit/s.
    """

    download: int
    disk: int
    minutes: int


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far an installation is.

    Attributes:
        sentence: what it does, for people.
        fraction: from 0 to 1; None if that is not known.
    """

    sentence: str
    fraction: float | None = None


def extent(system: str = sys.platform) -> Extent:
    """Returns how much the installation takes on this computer.

    PyTorch for Linux brings the libraries for NVIDIA GPUs, whether there is such a GPU or not. Measured with
    PyTorch 2.14 on Linux: 3.07 GB and 5.6 GB.
    """
    return Extent(3000 * MB, 6000 * MB, 15) if system == "linux" else Extent(300 * MB, 1200 * MB, 3)


def what_to_install(note: Noted, environment: Mapping[str, str], version: str) -> list[str]:
    """Returns pip's arguments for the server: IMPASTO_INSTALL_FROM, a checkout, or the package's name.

    Args:
        note: what was noted when the plugin was installed.
        environment: the host's own environment.
        version: the plugin's version.
    """
    if given := environment.get("IMPASTO_INSTALL_FROM"):
        return shlex.split(given)
    checkout = Path(note.checkout)
    project = checkout / "server" / "pyproject.toml"
    if note.checkout and project.is_file() and belongs_to_user(project):
        return [str(checkout), f"{checkout / 'server'}[torch]"]
    return [f"impasto-server[torch]=={version}"]


def installed(folder: Folder) -> bool:
    """Whether an installation was completed."""
    return stamp(folder) is not None


def stamp(folder: Folder) -> int | None:
    """Returns what tells a completed installation from a later one; None if there is none."""
    try:
        return (folder.python / MARKER).stat().st_mtime_ns
    except OSError:
        return None


class Installation:
    """One installation. `run` takes minutes, in a thread; `cancel` may be used from any other.

    Args:
        folder: where it goes.
        python: the Python that it is made with.
        packages: pip's arguments.
        environment: a clean environment.
        needed: bytes that must be free on the disk.
        expected: bytes that will be downloaded, about.
        told: called with the progress, in `run`'s thread.
        fits: whether a Python has all that is needed.
        damaged: the `stamp` of an installation that does not work, and is made anew. Any other one that is
            complete stays: another program has made it meanwhile, and its server may be running.
    """

    def __init__(
        self,
        folder: Folder,
        python: Python,
        packages: list[str],
        *,
        environment: Mapping[str, str],
        needed: int,
        expected: int,
        told: Callable[[Progress], None],
        fits: Callable[[Python], bool] = lambda python: python.server,
        damaged: int | None = None,
    ) -> None:
        self._folder = folder
        self._python = python
        self._packages = packages
        self._temporary = folder.path / "install-tmp"
        # pip's temporary files go with the rest.
        self._environment = {**environment, "TMPDIR": str(self._temporary), "PYTHONUNBUFFERED": "1"}
        self._needed = needed
        self._expected = expected
        self._told = told
        self._fits = fits
        self._damaged = damaged
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelling = threading.Event()
        # Bytes of the packages that have arrived, and the name and size of the one that arrives.
        self._arrived = 0.0
        self._arriving: tuple[str, float] = ("", 0.0)
        # How far the whole has come. It never goes back.
        self._fraction = 0.0

    def run(self) -> str:
        """Installs the server, and returns the Python that has it.

        While another program installs it, this waits, then takes what that has made.

        Raises:
            Cancelled: it was cancelled; nothing is left of it.
            ToldError, OSError: it failed, and nothing is left of it but its log.
        """
        waits = False
        while True:
            with self._folder.locked("install") as alone:
                if alone:
                    return self._alone()
            if not waits:
                waits = True
                self._told(Progress(_("Waiting for another installation to end …")))
            self._cancelling.wait(LOOK)
            self._check()

    def _alone(self) -> str:
        """Installs it, unless that was done meanwhile. Only one program at a time is here."""
        self._check()
        python = self._made_already()
        if python is not None:
            return python
        server = running(self._folder)
        if server is not None and server.python and Path(server.python).is_relative_to(self._folder.python):
            raise ToldError(
                _("The server on this computer runs."),
                _("Stop it, here and in other programs, before you install it again."),
            )
        self._end_left_over()
        self._clear()
        try:
            return self._install()
        except BaseException:
            self._clear()
            raise
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)
            (self._folder.path / "install.json").unlink(missing_ok=True)

    def _made_already(self) -> str | None:
        """Returns the Python of an installation that is complete; None if there is none."""
        if stamp(self._folder) in (None, self._damaged):
            return None
        found = ask(str(program_of(self._folder.python)), self._environment)
        return found.path if found is not None and self._fits(found) else None

    def cancel(self) -> None:
        """Ends the installation soon."""
        with self._lock:
            self._cancelling.set()
            if self._process is not None:
                _kill(self._process.pid)

    def _install(self) -> str:
        free = shutil.disk_usage(self._folder.path).free
        if free < self._needed:
            raise ToldError(
                _("There is not enough room on the disk."),
                _(
                    "The server needs {needed} in {folder}, and {free} is free. Make room, then try again."
                ).format(needed=size(self._needed), folder=self._folder.path, free=size(free)),
                TRY_AGAIN,
            )
        self._temporary.mkdir(mode=0o700)
        with open(
            self._folder.install_log, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)
        ) as log:
            self._told(Progress(_("Preparing the installation …")))
            pip = self._environment_made(log)
            self._pip(pip, self._packages, log)
            self._told(Progress(_("Checking the installation …")))
            python = str(program_of(self._folder.python))
            found = ask(python, self._environment)
            if found is None or not found.server:
                raise ToldError(
                    _("The installed server does not fit this plugin."),
                    _("Install the newest version of the plugin, then try again."),
                    TRY_AGAIN,
                )
        self._check()
        marker = {"python": self._python.path, "packages": self._packages}
        write_whole(self._folder.python / MARKER, json.dumps(marker).encode())
        return python

    def _environment_made(self, log: BinaryIO) -> list[str]:
        """Makes the virtual environment. Returns the command of a pip that installs into it."""
        make = [self._python.path, "-m", "venv"]
        python = str(program_of(self._folder.python))
        if self._python.ensurepip:
            if self._ran([*make, str(self._folder.python)], log) == 0:
                return [python, "-m", "pip"]
        elif self._python.pip and self._ran([*make, "--without-pip", str(self._folder.python)], log) == 0:
            return [self._python.path, "-m", "pip", "--python", python]
        if _is_full(self._temporary):
            # Python's own words about it do not come this far.
            raise _full_disk()
        raise without_venv(self._python)

    def _pip(self, pip: list[str], packages: list[str], log: BinaryIO) -> None:
        if self._ran([*pip, *self._install_options(pip), *packages], log) != 0:
            text = self._folder.install_log.read_text(errors="replace")
            raise why(text.rpartition("\n$ ")[2], self._python)

    def _install_options(self, pip: list[str]) -> list[str]:
        options = ["install", "--disable-pip-version-check", "--no-input"]
        done = subprocess.run([*pip, "--version"], env=self._environment, capture_output=True, text=True)
        version = re.match(r"pip (\d+)\.(\d+)", done.stdout)
        if version and (int(version[1]), int(version[2])) >= (24, 1):
            return [*options, "--progress-bar", "raw"]
        return [*options, "--progress-bar", "off"]

    def _ran(self, command: list[str], log: BinaryIO) -> int:
        """Runs a command, whose output goes to the log. Returns its exit code."""
        log.write(f"$ {shlex.join(command)}\n".encode())
        log.flush()
        with self._lock:
            self._check()
            self._process = process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._temporary,
                # A group of its own, to be ended with all that it has started.
                start_new_session=True,
            )
            noted = {"process": process.pid, "told_apart": told_apart(process.pid)}
        write_whole(self._folder.path / "install.json", json.dumps(noted).encode())
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                if _DOWNLOADING.match(line) is None:
                    log.write(line)
                    log.flush()
                self._heard(line)
        code = process.wait()
        with self._lock:
            self._process = None
            self._check()
        return code

    def _heard(self, line: bytes) -> None:
        if found := _DOWNLOADING.match(line):
            self._tell_download(float(found[1]))
        elif found := _FETCHED.match(line):
            self._arrived += self._arriving[1]
            unit = {b"kB": 1e3, b"MB": 1e6, b"GB": 1e9}[found[3]]
            self._arriving = (os.path.basename(found[1].decode(errors="replace")), float(found[2]) * unit)
            self._tell_download(0.0)
        elif line.startswith(b"Installing collected packages"):
            # pip says nothing more until it has finished.
            self._told(Progress(_("Unpacking; this takes a minute or two …")))

    def _tell_download(self, received: float) -> None:
        arrived = self._arrived + received
        self._fraction = max(self._fraction, min(1.0, arrived / self._expected) * DOWNLOADED)
        sentence = _("Downloaded {arrived} of about {expected} …").format(
            arrived=size(arrived), expected=size(max(arrived, self._expected))
        )
        self._told(Progress(sentence, self._fraction))

    def _check(self) -> None:
        if self._cancelling.is_set():
            raise Cancelled

    def _end_left_over(self) -> None:
        """Ends what is left of an installation whose host was killed."""
        try:
            noted = json.loads((self._folder.path / "install.json").read_text())
            process = int(noted["process"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if told_apart(process) == noted.get("told_apart"):
            _kill(process)

    def _clear(self) -> None:
        # The marker first: what is half removed is not complete.
        (self._folder.python / MARKER).unlink(missing_ok=True)
        for path in (self._folder.python, self._temporary):
            for attempt in range(5):
                # A process that was just killed may have written a last file meanwhile.
                if path.exists():
                    shutil.rmtree(path, ignore_errors=attempt < 4)


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)


def size(number: float) -> str:
    """Returns a number of bytes for people: "300 MB", "1.2 GB"."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{round(number / MB)} MB"


def obstacle(
    system: str = sys.platform, machine: str = platform.machine(), *, musl: bool | None = None
) -> Told | None:
    """Returns why the server cannot run on this computer, and what to do; None if it can."""
    if system == "win32":
        return Told(
            _("The server does not run on Windows itself."),
            _(
                "Use a server on another computer, and enter its address. Or install Impasto in the Windows "
                "Subsystem for Linux, start “impasto-server serve” there, and enter the address localhost."
            ),
            SERVER_SETTINGS,
        )
    if system == "darwin" and machine == "x86_64":
        return Told(
            _("The server does not run on Macs with an Intel processor."),
            _(
                "PyTorch, which paints, is no longer made for them. Use a server on another computer, and "
                "enter its address."
            ),
            SERVER_SETTINGS,
        )
    if system == "linux" and (any(Path("/lib").glob("ld-musl-*")) if musl is None else musl):
        return Told(
            _("The server does not run on this kind of Linux."),
            _(
                "PyTorch, which paints, is not made for its C library, musl. Use a server on another "
                "computer, and enter its address."
            ),
            SERVER_SETTINGS,
        )
    return None


def no_python(system: str = sys.platform) -> ToldError:
    """Returns the error of a computer without a Python that could install the server."""
    if system == "darwin":
        details = _("The server needs it. Install it from python.org, then try again.")
    else:
        details = _(
            "The server needs it. Install it with your system's packages (on Debian and Ubuntu: sudo apt "
            "install python3 python3-venv), then try again."
        )
    return ToldError(_("There is no Python 3.10 or newer here."), details, TRY_AGAIN)


def without_venv(python: Python) -> ToldError:
    """Returns the error of a Python that makes no virtual environments."""
    return ToldError(
        _("A part of Python is missing."),
        _(
            "{python} cannot make the folder of its own that the server needs. Install the missing part (on "
            "Debian and Ubuntu: sudo apt install python3-venv), then try again."
        ).format(python=python.path),
        TRY_AGAIN,
    )


def why(log: str, python: Python) -> ToldError:
    """Returns why pip failed, from its log."""
    if "No space left on device" in log or "Disk quota exceeded" in log:
        return _full_disk()
    if "No matching distribution found for impasto-server" in log:
        return ToldError(
            _("The server cannot be downloaded."),
            _(
                "The package index has no Impasto server for this version of the plugin ({version}). Use a "
                "server on another computer, and enter its address. Or install from somewhere else: "
                "IMPASTO_INSTALL_FROM in the environment says from where."
            ).format(version=impasto.__version__),
            SERVER_SETTINGS,
        )
    if "No matching distribution found for torch" in log:
        return ToldError(
            _("There is no PyTorch for Python {version} yet.").format(version=_dotted(python)),
            _("Install an earlier Python, such as 3.12, then try again."),
            TRY_AGAIN,
        )
    if re.search(
        "NewConnectionError|ConnectTimeout|ConnectionError|Temporary failure in name|ProxyError", log
    ):
        return ToldError(
            _("The server could not be downloaded."),
            _("There is no connection to the package index. Check the network, then try again."),
            TRY_AGAIN,
        )
    said = next((line for line in reversed(log.splitlines()) if line.startswith("ERROR: ")), "")
    said = said.removeprefix("ERROR: ") or log.rstrip().rpartition("\n")[2]
    return ToldError(
        _("The server could not be installed."),
        joined(ended(said) if said else "", _("The log says more. Then try again.")),
        TRY_AGAIN,
    )


def _full_disk() -> ToldError:
    return ToldError(_("The disk is full."), _("Make room, then try again."), TRY_AGAIN)


def _is_full(folder: Path) -> bool:
    """Whether nothing more can be written; a user's quota shows in no other way."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(MB))
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False


def _dotted(python: Python) -> str:
    return ".".join(map(str, python.version))
