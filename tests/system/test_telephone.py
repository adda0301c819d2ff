"""The README's four lines, as a stranger types them, and a telephone that opens what they print."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.example_programs import skip
from support.server_process import PATIENCE, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info < (3, 11), reason="the page needs Python 3.11 or newer"),
]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CHROMIUM = "/usr/bin/chromium"
BEGIN = "impasto-server certificate\n"


def lines(folder: Path) -> list[str]:
    """The four lines, with ports that are free."""
    (block,) = re.findall(rf"^```sh\n({BEGIN}.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    block = block.replace("50052", str(ports[0])).replace("localhost", f"localhost:{ports[1]}")
    block = block.replace("serve ", f"serve --port {ports[1]} ")
    return block.strip().splitlines()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A new user's environment, with the quickest device and weights."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IMPASTO_")}
    return {
        **kept,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "share"),
        "IMPASTO_DEVICE": "cpu",
        "IMPASTO_WEIGHTS": "builtin",
    }


@pytest.fixture
def printed(tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    """What the last of the four lines prints."""

    def run(line: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-euc", line],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    certificate, token, serve, web = lines(tmp_path)
    run(certificate)
    run(token)
    log = tmp_path / "log.txt"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            serve.split(), cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as server,
    ):
        try:
            assert server.stdout is not None
            assert server.stdout.readline(), log.read_text()
            yield run(web).stdout
        finally:
            server.terminate()
            server.wait(PATIENCE)


def test_a_telephone_in_the_same_network_is_signed_in(printed: str) -> None:
    if not Path(CHROMIUM).exists():
        skip("the telephone is a Chromium; apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    address = printed.split()[-1]
    host = re.fullmatch(r"https://([\d.]+):\d+/#code=[\w-]+", address)
    assert host is not None, printed
    assert not host[1].startswith("127.")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        # The stranger presses "Advanced" and "Proceed".
        telephone = {**playwright.devices["Pixel 5"], "ignore_https_errors": True}
        visitor = browser.new_context(**telephone).new_page()
        visitor.goto(address)
        photo = visitor.locator("input[type=file]").first
        photo.wait_for(state="attached")
        # The code is gone from the address, and works no more.
        assert until(lambda: visitor.url, lambda url: "code" not in url)
        second = browser.new_context(**telephone).new_page()
        second.goto(address)
        second.locator("input[type=password]").wait_for()
        browser.close()
