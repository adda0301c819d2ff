"""Ctrl-C and broken pipes: real signals to real processes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.fake_server import FakeServer

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
    # The events up to the last preview, and some more of these.
    until(lambda: endless.sent >= 16)
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


def test_ctrl_c_before_the_job_is_accepted(endless: FakeServer, tmp_path: Path) -> None:
    asked = threading.Event()

    def slow(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        if not asked.is_set():
            asked.set()
            time.sleep(2)
        yield from fake_server.paint_forever(request, context)

    endless.script = slow
    process = subprocess.Popen(
        [*COMMAND, "demo", "--server", endless.address], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert asked.wait(20)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "cancelled\n")
    assert [request.name for request in endless.called("CancelJob")] == ["jobs/fake"]
    first, second = endless.requests
    assert first == second


@pytest.mark.parametrize(
    "arguments", [["watch", "jobs/fake"], ["stylize", "a.png", "a.png", "-o", "out.png", "--keep-running"]]
)
def test_ctrl_c_stops_watching_a_job_that_continues(
    endless: FakeServer, tmp_path: Path, arguments: list[str]
) -> None:
    heartbeats = 0

    def forever(request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        nonlocal heartbeats
        yield fake_server.course()[0]
        while context.is_active():
            time.sleep(0.05)
            yield fake_server.heartbeat(1)
            heartbeats += 1

    endless.watch_script = forever
    (tmp_path / "a.png").write_bytes(fake_server.png())
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--server", endless.address], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    until(lambda: endless.sent >= 16 or heartbeats >= 6)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.splitlines()[-1] == (
        "stopped watching; jobs/fake continues, and `impasto watch jobs/fake` returns to it"
    )
    assert not endless.called("CancelJob")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_leaving_the_live_table_prints_nothing(
    endless: FakeServer, tmp_path: Path, number: signal.Signals
) -> None:
    endless.jobs["jobs/abcdefghij"] = pb.Job(name="jobs/abcdefghij", state=pb.JOB_STATE_RUNNING, title="sky")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "jobs", "--server", endless.address],
        cwd=tmp_path,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
    )
    os.close(theirs)
    until(lambda: len(endless.called("ListJobs")) >= 3)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert (process.returncode, err) == (128 + number, "")
    assert "cancelled" not in shown
    assert "abcdefgh" in shown
    assert shown.count("running") >= 2


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
    process = subprocess.Popen([*COMMAND, "demo"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    until((tmp_path / "begun").exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "cancelled\n")
    until((tmp_path / "ended").exists)


def test_a_reader_of_stdout_that_leaves(endless: FakeServer, tmp_path: Path) -> None:
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
