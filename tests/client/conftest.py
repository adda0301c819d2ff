from __future__ import annotations

from collections.abc import Iterator

import pytest

import impasto
from fake_server import FakeServer
from fake_server import fake as fake
from fake_server import line as line
from impasto import transport as transports


@pytest.fixture(params=["grpcio", "grpclib"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the calls of a client travel that is not told: each test is run over all."""
    monkeypatch.setattr(transports, "installed", lambda: request.param)
    return str(request.param)


@pytest.fixture
def client(way: str, fake: FakeServer) -> Iterator[impasto.Client]:
    with impasto.Client(fake.address) as client:
        yield client
