"""A server for the programs of one user: on a Unix socket, and only as long as one of them runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import impasto
from impasto.process_notes import ProcessNotes
from impasto.python_programs import module_command
from support.server_process import PATIENCE, running_server


@pytest.mark.parametrize("transport", ["grpcio", "grpclib"])
def test_it_answers_on_a_socket(tmp_path: Path, transport: str) -> None:
    socket = tmp_path / "socket"
    with running_server("--mock", "--socket", str(socket)) as server:
        assert server.address == f"unix:{socket}"
        with impasto.Client(server.address, transport=transport) as client:  # type: ignore[arg-type]
            assert client.info().devices


def test_its_health_can_be_asked(tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    with running_server("--mock", "--socket", str(socket)) as server:
        server.ready()
        command = [*module_command("impasto_server"), "health"]
        told = subprocess.run(
            command, env={**os.environ, "IMPASTO_SOCKET": str(socket)}, capture_output=True, text=True
        )
        assert (told.returncode, told.stdout) == (0, "SERVING\n")


def test_an_unfit_socket_is_refused(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / ("long" * 30), "give a shorter one"),
        (tmp_path / "none" / "socket", "in a folder of your own"),
    ):
        command = [*module_command("impasto_server"), "serve", "--mock", "--socket", str(path)]
        told = subprocess.run(command, capture_output=True, text=True)
        assert told.returncode == 2
        assert words in told.stderr.splitlines()[-1]


def test_it_ends_with_the_last_program_that_uses_it(tmp_path: Path) -> None:
    users = ProcessNotes(tmp_path / "users")
    wait = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with (
        subprocess.Popen(wait, stdin=subprocess.PIPE) as first,
        subprocess.Popen(wait, stdin=subprocess.PIPE) as second,
    ):
        users.write(first.pid)
        users.write(second.pid)
        with running_server("--mock", "--port", "0", "--users-dir", str(tmp_path / "users")) as server:
            first.kill()
            first.wait()
            assert server.info().version
            second.kill()
            second.wait()
            assert server.process.wait(PATIENCE) == 0
            assert "nobody uses this server any more" in server.log


def test_it_goes_on_for_nobody_if_asked_to(tmp_path: Path) -> None:
    users = ProcessNotes(tmp_path / "users")
    users.stay(True)
    with running_server("--mock", "--port", "0", "--users-dir", str(tmp_path / "users")) as server:
        assert server.info().version
        users.stay(False)
        assert server.process.wait(PATIENCE) == 0


def test_its_address_is_printed(tmp_path: Path) -> None:
    """A server without users ends at once, but not before it has listened."""
    command = [*module_command("impasto_server"), "serve", "--mock", "--socket", str(tmp_path / "s")]
    told = subprocess.run(
        [*command, "--users-dir", str(tmp_path / "users")], capture_output=True, text=True, timeout=PATIENCE
    )
    assert json.loads(told.stdout) == {"address": f"unix:{tmp_path}/s"}
