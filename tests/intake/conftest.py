"""These tests run the code of the intake's child processes in the process of the tests."""

from __future__ import annotations

import pytest

from impasto_server.intake.loading import prepare


@pytest.fixture(scope="session", autouse=True)
def prepared() -> None:
    prepare()
