from __future__ import annotations

from collections.abc import Iterator

import pytest

from server_process import ServerProcess, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """A server on the CPU with the built-in weights, shared by all tests that leave it as it is."""
    with running_server("--private", "--device", "cpu", "--weights", "builtin") as running:
        running.ready()
        yield running
