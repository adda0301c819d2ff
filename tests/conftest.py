from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from server_process import ServerProcess, running_server

# A shell that runs the tests in the background has them ignore Ctrl-C, and so all the programs they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """A server on the CPU with the built-in weights, shared by all tests that leave it as it is."""
    with running_server("--private", "--device", "cpu", "--weights", "builtin") as running:
        running.ready()
        yield running
