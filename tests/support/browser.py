"""A real Chromium in front of a real server's page."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from impasto.python_programs import module_command
from support.server_process import PATIENCE

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
AXE = ROOT / "tests/web/npm/node_modules/axe-core/axe.min.js"
PHOTO = ROOT / "client/impasto/data/astronaut.jpg"
OWN_STYLE = ROOT / "client/impasto/data/starry_night.jpg"


def cannot(why: str) -> None:
    """Skips the test, or fails it where everything has to be there."""
    if os.environ.get("IMPASTO_REQUIRE_EXAMPLES") == "1":
        pytest.fail(why)
    pytest.skip(why)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Starts a headless Chromium: a playwright `Browser`. Skips the test where there is none."""
    if not shutil.which(CHROMIUM):
        cannot(f"{CHROMIUM} is not installed")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        cannot("playwright is not installed")
    with sync_playwright() as playwright:
        # In a container there is no user namespace for Chromium's own sandbox.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class PageServer:
    """A mock server with a page, which can be ended and started again with the same data.

    Attributes:
        url: the page's address.
        address: where it answers gRPC, HOST:PORT, once started.
    """

    address: str

    def __init__(self, folder: Path, *arguments: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        self._arguments = (
            "--mock",
            "--port",
            "0",
            "--web-port",
            str(port),
            "--data-dir",
            str(folder / "data"),
        )
        self._arguments += arguments
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text()

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*module_command("impasto_server"), "serve", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the server did not start:\n{self.log}"
        told = json.loads(line)
        assert told["web"] == self.url
        self.address = told["address"]

    def end(self) -> None:
        """Ends it as an administrator does."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextlib.contextmanager
def page_server(folder: Path, *arguments: str) -> Iterator[PageServer]:
    """Runs a mock server with a page.

    Args:
        folder: for its data and its log.
        arguments: further ones of `impasto-server serve`.
    """
    server = PageServer(folder, *arguments)
    server.start()
    try:
        yield server
    finally:
        server.end()


def serious_faults(page: Any) -> list[str]:
    """What axe finds on a page that keeps people from using it, as "rule: element" each.

    Args:
        page: a playwright `Page` of a context with `bypass_csp`, since axe comes as a script.
    """
    if not AXE.exists():
        cannot(f"{AXE} is missing: run `npm ci` in tests/web/npm")
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run()")
    return [
        f"{violation['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
