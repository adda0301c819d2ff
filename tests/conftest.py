from __future__ import annotations

import signal
from collections.abc import Iterator

import hypothesis
import pytest

from support import clean_environment
from support.server_process import ServerProcess, running_server

# Before any test module is imported: some libraries read the environment only then.
clean_environment.enter()

# A shell that runs the tests in the background has them ignore Ctrl-C, and so all the programs they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


# How long an example takes says something about what else the machine does, and nothing about what is tested.
hypothesis.settings.register_profile(
    "impasto", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("impasto")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """pytest's own report has colours as the caller wants it, of whom nothing else is seen any more."""
    callers = clean_environment.CALLERS
    if config.option.color == "auto":
        if callers.get("NO_COLOR") or callers.get("TERM") == "dumb":
            config.option.color = "no"
        elif callers.get("FORCE_COLOR"):
            config.option.color = "yes"


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """A server on the CPU with the built-in weights, shared by all tests that leave it as it is."""
    with running_server("--private", "--device", "cpu", "--weights", "builtin") as running:
        running.ready()
        yield running
