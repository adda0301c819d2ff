from __future__ import annotations

from collections.abc import Iterator

import pytest

import asyncio_client
import impasto
from fake_server import FakeServer
from fake_server import fake as fake
from fake_server import line as line
from impasto import transport as transports


@pytest.fixture(params=["grpcio", "grpclib", "grpcio-asyncio", "grpclib-asyncio"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which client is meant by `impasto.Client`, and how its calls travel: a test is run over all of them."""
    stack, _, loop = request.param.partition("-")
    monkeypatch.setattr(transports, "installed", lambda: stack)
    if loop:
        monkeypatch.setattr(impasto, "Client", asyncio_client.Client)
    return str(request.param)


@pytest.fixture
def client(way: str, fake: FakeServer) -> Iterator[impasto.Client]:
    with impasto.Client(fake.address) as client:
        yield client
