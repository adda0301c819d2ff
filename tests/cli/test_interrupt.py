"""Ctrl-C and broken pipes: real signals to real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import fake_server
from fake_server import FakeServer

COMMAND = [sys.executable, "-c", "from impasto.cli import main; main()"]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def endless(fake: FakeServer) -> FakeServer:
    fake.script = fake_server.paint_forever
    return fake


@pytest.mark.parametrize(
    "output", [["--quiet"], ["--json"], ["--preview-dir", "previews", "--animate", "f.webp"]]
)
def test_ctrl_c_while_painting(endless: FakeServer, tmp_path: Path, output: list[str]) -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo", "--server", endless.address, *output],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: endless.requests)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert endless.left.wait(10)
    assert "Traceback" not in err
    if output == ["--json"]:
        assert '"exit_code": 130' in out.splitlines()[-1]
    else:
        assert err.splitlines()[-1] == "cancelled"
    assert {path.name for path in tmp_path.iterdir()} <= {"previews"}
    assert not list(tmp_path.rglob("*.part"))


def test_ctrl_c_while_a_private_server_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "impasto_server"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import sys\n"
        f"open({str(tmp_path / 'begun')!r}, 'w').close()\n"
        "sys.stdin.read()\n"
        f"open({str(tmp_path / 'ended')!r}, 'w').close()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("IMPASTO_SERVER", raising=False)
    process = subprocess.Popen([*COMMAND, "demo"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    until((tmp_path / "begun").exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "cancelled\n")
    assert (tmp_path / "ended").exists()


def test_a_reader_that_has_enough(endless: FakeServer, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "demo", "--server", endless.address, "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith('{"event": "job"')
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == ""
    assert endless.left.wait(10)
