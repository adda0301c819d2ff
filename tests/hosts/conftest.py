"""A host, a service and a storage for tests of the controller."""

from __future__ import annotations

import pytest

from support.fake_host import FakeHost, FakeService, FakeStorage


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def storage() -> FakeStorage:
    return FakeStorage()
