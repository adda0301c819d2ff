"""`impasto web`, and the demo in a browser. The browser is a program that writes down what it should open."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto.python_programs import module_command
from support.certificates import Authority
from support.command_line import Impasto
from support.fake_server import FakeServer
from support.server_process import PATIENCE, ServerProcess, running_server, until

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="the page needs Python 3.11 or newer")


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server("--mock", "--port", "0", "--web-port", "0") as running:
        running.ready()
        yield running


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that names what was opened in the browser."""
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" >"{opened}.new"\nmv "{opened}.new" "{opened}"\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    # The module looks for browsers only once.
    monkeypatch.setattr(webbrowser, "_tryorder", None)
    monkeypatch.setattr(webbrowser, "_browsers", {})
    return opened


@pytest.fixture
def headless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a screen."""
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def test_the_page_of_a_server_is_opened(impasto: Impasto, server: ServerProcess, opened: Path) -> None:
    done = impasto("web", "--server", server.address)
    assert done.code == 0, done.err
    assert done.out == f"The page is {server.web}\n"
    assert until(opened.exists, bool)
    assert opened.read_text() == f"{server.web}\n"


@pytest.mark.usefixtures("headless")
def test_without_a_screen_the_address_is_printed(impasto: Impasto, server: ServerProcess) -> None:
    assert impasto("web", "--server", server.address).out == f"{server.web}\n"


def test_no_open_prints_only(impasto: Impasto, server: ServerProcess, opened: Path) -> None:
    done = impasto("web", "--server", server.address, "--no-open", "--json")
    assert done.lines == [{"event": "page", "address": server.web, "opened": False}]
    assert not opened.exists()


def test_a_server_without_a_page_says_what_to_do(impasto: Impasto, fake: FakeServer) -> None:
    done = impasto("web", "--server", fake.address)
    assert done.code == 2
    assert "has no page; its administrator can give it one with --web-port" in " ".join(done.err.split())


def test_a_token_gives_codes_that_work_once(impasto: Impasto, tmp_path: Path, headless: None) -> None:
    authority = Authority(tmp_path, "ca")
    pair = authority.issue("server")
    tokens = tmp_path / "tokens.json"
    made = [*module_command("impasto_server"), "token", "add", "ada", "--tokens-file", str(tokens)]
    token = tmp_path / "token.txt"
    token.write_text(subprocess.run(made, capture_output=True, text=True, check=True).stdout)
    token.chmod(0o600)
    arguments = ["--mock", "--port", "0", "--web-port", "0", "--tokens-file", str(tokens)]
    arguments += ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]
    with running_server(*arguments) as server:
        options = ["--server", server.address, "--ca", authority.cert]
        done = impasto("web", *options, "--token-file", token, "--qr")
        assert done.code == 0, done.err
        # One for this machine, and another one for the telephone.
        codes = re.findall(r"#code=(\S+)", done.out)
        assert len(set(codes)) == 2
        assert "▄" in done.out
        assert "On a telephone in the same network, scan this" in done.err
        assert server.web is not None
        assert [sign_in(server.web, code, authority.cert) for code in (*codes, codes[0])] == [204, 204, 401]
        # Without a token, the server does not say where its page is.
        assert impasto("web", *options).code == 1


def sign_in(page: str, code: str, ca: Path) -> int:
    import ssl

    request = urllib.request.Request(
        page + "session",
        json.dumps({"code": code}).encode(),
        {"Content-Type": "application/json", "Origin": page.rstrip("/")},
    )
    try:
        context = ssl.create_default_context(cafile=str(ca))
        with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_telephone_needs_a_server_that_it_can_reach(impasto: Impasto) -> None:
    done = impasto("web", "--qr")
    assert done.code == 2
    assert "--qr needs a server that telephones can reach" in " ".join(done.err.split())


def test_the_demo_is_shown_on_the_page(impasto: Impasto, server: ServerProcess, opened: Path) -> None:
    assert impasto("demo", "--web", "--server", server.address, "--size", 32).code == 0
    assert until(opened.exists, bool)
    assert re.fullmatch(rf"{server.web}#/jobs/\S+\n", opened.read_text())
    assert not Path("impasto-demo.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", [["web"], ["demo", "--web", "--size", "64", "--effort", "draft"]])
def test_without_a_server_one_runs_on_this_machine_until_ctrl_c(
    command: list[str], opened: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    started = [sys.executable, "-c", "from impasto.cli import main; main()", *command]
    with subprocess.Popen(started, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        try:
            until(opened.exists, bool, patience=2 * PATIENCE)
            address = opened.read_text().strip().partition("#")[0]
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(address + "session", timeout=PATIENCE) as response:
                assert json.load(response) == {"signed_in": True, "needs_token": False}
        finally:
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, said
    until(lambda: is_open(address), lambda found: not found)
    assert (tmp_path / "share" / "impasto" / "web" / "data").is_dir() == (command == ["web"])


def is_open(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=PATIENCE).close()
    except OSError:
        return False
    return True
