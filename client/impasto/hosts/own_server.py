"""The server on this computer, which all hosts of the user share: its folder, and how it is started.

    this-computer/                only the user can read it
        python/                   the virtual environment, if the plugin made one
        data/                     the server's jobs and pictures, which are kept
        users/                    notes of the hosts' processes; the server ends with the last of them
        server.json               the process and the socket of the server that runs
        install.log, server.log

The functions here may take seconds: they are called in threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from impasto.files import write_whole
from impasto.hosts import told
from impasto.hosts.told import TRY_AGAIN, ToldError
from impasto.hosts.translate import _
from impasto.process_notes import ProcessNotes, told_apart

if sys.platform != "win32":
    # There the server cannot run, and nothing of this is called.
    import fcntl

PATIENCE = 120.0
"""Longest time that a server may take to start, in seconds; a slow disk reads PyTorch for a while."""
LONGEST_SOCKET = 103
"""Longest path of a socket in bytes, on macOS."""
NOT_IN_ADDRESSES = "%?#"
"""Characters that have a meaning in an address of gRPC."""

KEEPING = ("--keep-results-for", "90d", "--keep-bytes", "5GiB")
"""How long pictures are kept for the artist's history: longer than by a server for many."""

# As `python -m impasto_server`, but nothing of the current folder is imported.
_RUN = (
    "import sys; sys.path.pop(0); import runpy; "
    "runpy.run_module('impasto_server', run_name='__main__', alter_sys=True)"
)


class Folder:
    """The folder of the server on this computer, and what lies in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.python = path / "python"
        self.data = path / "data"
        self.users = ProcessNotes(path / "users")
        self.install_log = path / "install.log"
        self.server_log = path / "server.log"

    @property
    def users_path(self) -> Path:
        """The folder of the notes."""
        return self.path / "users"

    def make(self) -> None:
        """Makes the folder.

        Raises:
            OSError: it cannot be made.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[bool]:
        """Tells whether a lock is free, and holds it if it is. It ends with the process."""
        self.make()
        with open(self.path / f"{name}.lock", "wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that runs on this computer.

    Attributes:
        process: its process.
        told_apart: what tells it from a later process of the same id.
        socket: the socket on which it listens.
        python: the Python that it runs in; empty if that is not known.
    """

    process: int
    told_apart: str
    socket: str
    python: str = ""

    @property
    def address(self) -> str:
        """Its address."""
        return f"unix:{self.socket}"

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return told_apart(self.process) == self.told_apart

    @property
    def answers(self) -> bool:
        """Whether it runs and accepts connections."""
        return self.is_alive and _listens(self.socket)


def running(folder: Folder) -> Running | None:
    """Returns the server that runs, which may still be starting; None if none does."""
    try:
        server = Running(**json.loads((folder.path / "server.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return server if server.is_alive else None


def started(
    folder: Folder, python: str, environment: Mapping[str, str], process: int, arguments: Sequence[str] = ()
) -> Running:
    """Starts the server, or takes the one that runs already. Waits until it listens.

    Args:
        python: the Python that has the server.
        environment: a clean environment.
        process: the host's process, with which the server ends unless others use it.
        arguments: more arguments of `impasto-server serve`.

    Raises:
        ToldError, OSError: it cannot be started.
    """
    deadline = time.monotonic() + PATIENCE
    folder.make()
    # First: a server whose last user has just ended looks again before it ends.
    folder.users.write(process)
    while True:
        with folder.locked("start") as alone:
            if alone and not folder.users.ending:
                found = running(folder)
                server = found or _launched(folder, python, environment, arguments)
                if _listens_soon(folder, server, deadline):
                    return server
                if found is None:
                    raise has_ended(folder)
        # Another host is starting it, or it is ending.
        if time.monotonic() > deadline:
            raise _late(folder)
        time.sleep(0.1)


def _launched(
    folder: Folder, python: str, environment: Mapping[str, str], arguments: Sequence[str]
) -> Running:
    path = _socket(folder)
    command = [python, "-c", _RUN, "serve", "--socket", path]
    command += ["--data-dir", str(folder.data), "--users-dir", str(folder.users_path), *KEEPING, *arguments]
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder.server_log, folder.server_log.with_suffix(".before.log"))
    with open(folder.server_log, "ab", opener=_private) as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(environment),
            cwd=folder.path,
            start_new_session=True,
        )
    _reap_later(process)
    server = Running(process.pid, told_apart(process.pid) or "", path, python)
    write_whole(folder.path / "server.json", json.dumps(dataclasses.asdict(server)).encode(), mode=0o600)
    return server


def _listens_soon(folder: Folder, server: Running, deadline: float) -> bool:
    """Waits until a server listens; returns False if it ends before."""
    while not _listens(server.socket):
        if not server.is_alive:
            return False
        if time.monotonic() > deadline:
            raise _late(folder)
        time.sleep(0.05)
    return True


def _reap_later(process: subprocess.Popen[bytes]) -> None:
    """Waits in a thread for the end of a process, so that it does not remain as a zombie."""
    threading.Thread(target=process.wait, name="impasto-server", daemon=True).start()


def _socket(folder: Folder) -> str:
    """Returns a path for the socket, in a folder that only the user can enter."""
    own = str(folder.path / "socket")
    if len(os.fsencode(own)) <= LONGEST_SOCKET and not set(own) & set(NOT_IN_ADDRESSES):
        return own
    digest = hashlib.sha256(os.fsencode(folder.path)).hexdigest()[:8]
    short = Path(tempfile.gettempdir()) / f"impasto-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = os.lstat(short)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ToldError(
            _("The server on this computer cannot be started."),
            _("The folder {folder} belongs to somebody else. Remove it, then try again.").format(
                folder=short
            ),
            TRY_AGAIN,
        )
    return str(short / "socket")


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5.0)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def has_ended(folder: Folder) -> ToldError:
    """Returns the error of a server that has ended, with the last line of its log."""
    said = last_line(folder.server_log).removeprefix("impasto-server: ")
    if said.startswith("time="):
        # A line for administrators, which says nothing about why.
        said = ""
    return ToldError(
        _("The server on this computer has ended."),
        told.joined(
            told.ended(said) if said else "", _("Its log says more. Try again, or install it again.")
        ),
        TRY_AGAIN,
    )


def _late(folder: Folder) -> ToldError:
    return ToldError(
        _("The server on this computer does not start."),
        _("It has taken more than {seconds} seconds. Its log says more. Try again.").format(
            seconds=round(PATIENCE)
        ),
        TRY_AGAIN,
    )


def last_line(path: Path) -> str:
    """Returns the last line of a log that is not empty; empty if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
