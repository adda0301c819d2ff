"""Fixtures of the page's tests: one Chromium for each file of them, a page of its own for each test.

Playwright runs an event loop in this thread as long as its browser is open. Other tests run loops of their
own there, so no browser outlives its file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.browser import PageServer, chromium, page_server
from support.server_process import PATIENCE


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """A mock server that paints a picture in a few seconds."""
    with page_server(tmp_path_factory.mktemp("page"), "--mock-evaluation-time", "0.03s") as started:
        yield started


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page in a context of its own; the test fails if a script on it failed."""
    contexts, faults = [], []

    def open_(address: str, **options: Any) -> Any:
        context = browser.new_context(
            **{
                "viewport": {"width": 1440, "height": 900},
                "bypass_csp": True,
                "accept_downloads": True,
                **options,
            }
        )
        context.set_default_timeout(1000 * PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not faults
