"""A real server for tests: the command `impasto-server` in its own process, on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import grpc

from impasto.python_programs import module_command
from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which a test gives up waiting; far more than anything takes."""


class ServerProcess:
    """A running `impasto-server serve`.

    Attributes:
        address: HOST:PORT; empty if it has no port for gRPC.
        web: address of its page, which ends with "/"; empty if it has none.
        process: the gateway's process; its stdin is a pipe.
        channel, stub: a connection to it.
        folder: folder for temporary files.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the server did not start:\n{log.read_text()}"
        told = json.loads(line)
        self.address: str = told.get("address", "")
        self.web: str = told.get("web", "")
        self.process = process
        self.folder = folder
        self._log = log
        self.channel = grpc.insecure_channel(self.address, [("grpc.max_send_message_length", -1)])
        self.stub = style_transfer_pb2_grpc.StyleTransferStub(self.channel)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def info(self) -> pb.GetServerInfoResponse:
        return self.stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=PATIENCE)

    def ready(self) -> pb.GetServerInfoResponse:
        """Waits until every worker is ready."""
        return until(self.info, lambda info: all(d.state == pb.DEVICE_STATE_READY for d in info.devices))

    def worker_pids(self) -> list[int]:
        """Process ids of the running workers."""
        return [pid for pid in children(self.process.pid) if b"impasto_server.worker" in _command(pid)]


def until(look: Callable[[], T], is_so: Callable[[T], bool], *, patience: float = PATIENCE) -> T:
    """Calls `look` repeatedly until its value satisfies a condition, and returns the value."""
    deadline = time.monotonic() + patience
    while not is_so(seen := look()):
        assert time.monotonic() < deadline, f"still {seen!r}"
        time.sleep(0.02)
    return seen


def job_starts(log: str, name: str) -> list[int]:
    """The evaluations from which a server has started a job, by its log; 0 without a checkpoint."""
    return [int(at) for at in re.findall(rf"job started job={name} .*evaluation=(\d+)", log)]


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        # The process has ended meanwhile.
        return b""


def is_alive(pid: int) -> bool:
    """Whether a process is running; a zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def running_server(
    *arguments: str, within: Sequence[str] = (), cwd: Path | None = None
) -> Iterator[ServerProcess]:
    """Starts a server with a new data folder. Ends it with its stdin and SIGTERM, or kills it.

    Args:
        arguments: arguments of `impasto-server serve`.
        within: a command that runs another command, which follows it, in the same process.
        cwd: working folder of the server.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as data,
        tempfile.NamedTemporaryFile() as log,
    ):
        process = subprocess.Popen(
            [*within, *module_command("impasto_server"), "serve", *arguments],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "TMPDIR": folder, "IMPASTO_DATA_DIR": data},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            server = ServerProcess(process, Path(folder), Path(log.name))
            with server.channel:
                yield server
        finally:
            process.stdin.close()
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
