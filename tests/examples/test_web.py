"""The example for browsers: a page of another origin, in a real Chromium, against a real server."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import web_calls  # noqa: F401 - skips where a server has no page
from support.browser import PHOTO, chromium, page_server
from support.example_programs import EXAMPLES
from support.server_process import PATIENCE

MS = PATIENCE * 1000


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[str]:
    """Where the example's files are served."""
    handler = functools.partial(Quiet, directory=str(EXAMPLES / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def opened(browser: Any, origin: str, server: str) -> Any:
    page = browser.new_page()
    page.goto(origin)
    page.fill("#server", server)
    page.press("#server", "Tab")
    return page


@pytest.mark.slow
def test_a_page_of_another_origin_paints_a_photograph(browser: Any, origin: str, tmp_path: Path) -> None:
    arguments = ("--web-origin", origin, "--mock-evaluation-time", "10ms")
    with page_server(tmp_path, *arguments) as server:
        page = opened(browser, origin, server.url)
        page.wait_for_selector("#style option", state="attached", timeout=MS)
        page.set_input_files("#photo", str(PHOTO))
        page.fill("#size", "64")
        page.click("#paint")
        # A preview, and then the picture itself, in its own size.
        page.wait_for_function("picture.src.startsWith('data:image/jpeg')", timeout=MS)
        page.wait_for_function(f"picture.src.startsWith('{server.url}images/')", timeout=MS)
        page.wait_for_function("picture.complete && picture.naturalWidth === 64", timeout=MS)
        assert page.inner_text("#status") == "succeeded"
        with page.expect_download(timeout=MS) as download:
            page.click("#download")
        assert download.value.suggested_filename == "painted.png"
        page.close()


@pytest.mark.slow
def test_a_job_is_cancelled_and_a_fault_is_shown(browser: Any, origin: str, tmp_path: Path) -> None:
    arguments = ("--web-origin", origin, "--mock-evaluation-time", "1s")
    with page_server(tmp_path, *arguments) as server:
        page = opened(browser, origin, server.url)
        page.wait_for_selector("#style option", state="attached", timeout=MS)
        page.set_input_files("#photo", str(PHOTO))
        page.click("#paint")
        page.click("#cancel", timeout=MS)
        page.wait_for_function("document.getElementById('status').textContent === 'cancelled'", timeout=MS)
        page.set_input_files("#photo", str(EXAMPLES / "README.md"))
        page.click("#paint")
        said = "document.getElementById('status').textContent.startsWith('spec.content')"
        page.wait_for_function(said, timeout=MS)
        page.close()


@pytest.mark.slow
def test_a_server_that_was_not_told_of_the_origin_is_not_called(
    browser: Any, origin: str, tmp_path: Path
) -> None:
    with page_server(tmp_path) as server:
        page = opened(browser, origin, server.url)
        said = "document.getElementById('status').textContent.startsWith('The styles cannot be listed')"
        page.wait_for_function(said, timeout=MS)
        page.close()
