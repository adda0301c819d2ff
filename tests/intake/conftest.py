"""These tests run what the children of the intake process run, in their own process."""

from __future__ import annotations

import pytest

from impasto_server.intake.loading import prepare


@pytest.fixture(scope="session", autouse=True)
def prepared() -> None:
    prepare()
