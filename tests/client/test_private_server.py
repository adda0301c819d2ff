"""Starting and stopping the private server, with a stand-in for its program."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import impasto
from impasto import private_server

StandIn = Callable[[str], None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Replaces `python -m impasto_server` with a program."""

    def put(program: str) -> None:
        package = tmp_path / "impasto_server"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(f"import json, os, signal, sys, time\n{program}\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return put


LISTEN = 'print(json.dumps({"address": "127.0.0.1:1"}), flush=True)'


def test_the_server_listens_and_ends_with_its_stdin(stand_in: StandIn, tmp_path: Path) -> None:
    end = tmp_path / "end"
    stand_in(f"{LISTEN}\nsys.stdin.read()\nopen({str(end)!r}, 'w').write(repr(sys.argv))")
    with impasto.PrivateServer(weights="builtin", device="cpu") as server:
        assert server.address == server.address == "127.0.0.1:1"
        assert not end.exists()
    for option in ("--private", "--port', '0", "--weights', 'builtin", "--device', 'cpu"):
        assert option in end.read_text()


def test_a_server_that_ignores_signals_is_killed(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_server, "GRACE", 0.2)
    pid = tmp_path / "pid"
    stand_in(
        f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        f"{LISTEN}\ntime.sleep(100)"
    )
    with impasto.PrivateServer() as server:
        assert server.address
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_error_has_the_servers_last_message_and_exit_code(stand_in: StandIn) -> None:
    stand_in("print('noise', file=sys.stderr); sys.exit('impasto-server: there is no device tpu')")
    lines: list[str] = []
    with (
        impasto.PrivateServer(on_line=lines.append) as server,
        pytest.raises(impasto.PrivateServerError, match="ended: there is no device tpu") as caught,
    ):
        _ = server.address
    assert caught.value.exit_code == 1
    assert lines == ["noise", "impasto-server: there is no device tpu"]


def test_a_killed_server_is_told_with_the_signal(stand_in: StandIn) -> None:
    stand_in(f"{LISTEN}\nos.kill(os.getpid(), signal.SIGKILL)")
    with impasto.PrivateServer() as server:
        assert server.address
        death = server.death()
    assert death is not None
    assert "killed (SIGKILL)" in str(death)
    assert death.exit_code == -9


def test_a_server_that_starts_too_slowly_raises_an_error(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_server, "START_TIMEOUT", 0.2)
    stand_in("sys.stdin.read()")
    with impasto.PrivateServer() as server, pytest.raises(impasto.PrivateServerError, match="did not start"):
        _ = server.address


def test_a_missing_server_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_server, "_NEEDED", ("no_such_package",))
    with (
        pytest.raises(impasto.PrivateServerError, match=r"impasto-server\[torch\].*--server"),
        impasto.PrivateServer(),
    ):
        pass


def test_the_server_ends_if_its_parent_is_killed(stand_in: StandIn, tmp_path: Path) -> None:
    end = tmp_path / "end"
    stand_in(f"{LISTEN}\nsys.stdin.read()\nopen({str(end)!r}, 'w')")
    program = (
        "import impasto, os, signal\n"
        "with impasto.PrivateServer() as server:\n"
        "    server.address\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program])
    deadline = time.monotonic() + 20
    while not end.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
