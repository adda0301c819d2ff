"""The server on this machine for `impasto web`, which keeps its jobs: one for all of the user's windows.

It is started as the plugins' server is, but it is another one, with a page and with a folder of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from impasto.errors import PrivateServerError
from impasto.hosts.own_server import Folder, started
from impasto.hosts.pythons import clean, data_folder
from impasto.hosts.told import ToldError
from impasto.private_server import check_installed

PORT = 50052
"""The usual port of the page: the same each time, so that bookmarks and the browser's settings hold."""


@contextlib.contextmanager
def kept_server() -> Iterator[tuple[str, Path]]:
    """Starts the server, or takes the one that runs. Gives its address and its folder.

    It ends with the last program that uses it, even if that is killed.

    Raises:
        PrivateServerError: it cannot be started.
    """
    if sys.platform == "win32":
        raise PrivateServerError(
            "the server does not run on Windows; use WSL 2, or name a server with --server"
        )
    check_installed()
    folder = Folder(data_folder(os.environ) / "web")
    # The settings in the environment are meant for a server for others.
    kept = clean(os.environ).items()
    environment = {name: value for name, value in kept if not name.startswith("IMPASTO_")}
    arguments = ["--host", "127.0.0.1", "--web-port", str(PORT if _is_free(PORT) else 0)]
    try:
        server = started(folder, sys.executable, environment, os.getpid(), arguments)
    except (ToldError, OSError) as error:
        raise PrivateServerError(f"{error} (the log is {folder.server_log})") from None
    try:
        yield server.address, folder.path
    finally:
        folder.users.remove(os.getpid())


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
