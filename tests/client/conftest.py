from __future__ import annotations

from collections.abc import Iterator

import pytest

import impasto
from fake_server import FakeServer, serving


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with serving() as server:
        yield server


@pytest.fixture
def client(fake: FakeServer) -> Iterator[impasto.Client]:
    with impasto.Client(fake.address) as client:
        yield client
