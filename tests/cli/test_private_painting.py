"""`impasto` without a server: the real private server, from its start to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

COMMAND = [sys.executable, "-c", "from impasto.cli import main; main()"]
DEMO = [*COMMAND, "demo", "--size", "32", "--weights", "builtin", "--device", "cpu", "--json"]


def processes_in(folder: Path) -> list[int]:
    """Processes whose working folder this is: the command's and all that it started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def until_none_left_in(folder: Path) -> None:
    deadline = time.monotonic() + 20
    while processes_in(folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Settings of a server for others must not reach the private one.
    monkeypatch.setenv("IMPASTO_PORT", "1")
    monkeypatch.setenv("IMPASTO_HOST", "192.0.2.1")
    done = subprocess.run([*DEMO, "--evaluations", "2"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["event"] == "job"
    assert lines[-1]["event"] == "result"
    assert Image.open(tmp_path / "impasto-demo.png").size == (32, 32)
    assert processes_in(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--weights", "none.pth", "none.pth"), ("--device", "cuda:99", "cuda:99")],
)
def test_weights_or_a_device_that_do_not_exist(tmp_path: Path, option: str, value: str, message: str) -> None:
    done = subprocess.run([*COMMAND, "demo", option, value], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_an_interrupted_painting(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [*DEMO, "--evaluations", "100000"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "progress":
                break
        assert len(processes_in(tmp_path)) >= 3  # The command, the gateway and the worker.
        process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode == (130 if number == signal.SIGINT else -number)
    until_none_left_in(tmp_path)
    assert list(tmp_path.iterdir()) == []
