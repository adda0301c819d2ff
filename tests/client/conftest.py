from __future__ import annotations

from collections.abc import Iterator

import pytest

import impasto
from fake_server import FakeServer
from fake_server import fake as fake
from fake_server import line as line


@pytest.fixture
def client(fake: FakeServer) -> Iterator[impasto.Client]:
    with impasto.Client(fake.address) as client:
        yield client
