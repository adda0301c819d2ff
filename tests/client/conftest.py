from __future__ import annotations

from collections.abc import Iterator

import pytest

import impasto
from impasto import transport as transports
from support import asyncio_client
from support.fake_server import FakeServer
from support.fake_server import fake as fake
from support.fake_server import line as line


@pytest.fixture(params=["grpcio", "grpclib", "grpcio-asyncio", "grpclib-asyncio"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with each client in place of `impasto.Client`, and over each transport."""
    stack, _, loop = request.param.partition("-")
    monkeypatch.setattr(transports, "installed", lambda: stack)
    if loop:
        monkeypatch.setattr(impasto, "Client", asyncio_client.Client)
    return str(request.param)


@pytest.fixture
def client(way: str, fake: FakeServer) -> Iterator[impasto.Client]:
    with impasto.Client(fake.address) as client:
        yield client
