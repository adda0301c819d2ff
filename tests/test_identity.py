"""The keys with which gateway and workers on other machines know each other."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from impasto_server.identity import Identity
from impasto_server.v1 import worker_pb2, worker_pb2_grpc
from support.server_process import PATIENCE, until


def test_a_kept_identity_is_the_same_after_a_restart_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    first = Identity.kept_in(tmp_path)
    assert Identity.kept_in(tmp_path) == first != Identity.new()
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "PRIVATE" not in repr(first)


@pytest.mark.parametrize("program", ["impasto_server.mock", "impasto_server.worker"])
def test_a_worker_on_another_machine_answers_its_gateway_and_nobody_else(
    tmp_path: Path, program: str
) -> None:
    gateway, stranger = Identity.new(), Identity.new()
    (tmp_path / "gateway.pem").write_bytes(gateway.certificate)
    contact = tmp_path / "worker.contact"
    command = [sys.executable, "-m", program, "--listen", "127.0.0.1", "--device", "cpu"]
    command += ["--gateway-certificate", str(tmp_path / "gateway.pem"), "--contact-file", str(contact)]
    command += ["--turn-file", str(tmp_path / "turn"), "--heartbeat-file", str(tmp_path / "start")]
    command += ["--max-resident", "2", "--weights", "builtin", "--threads", "1"]
    command += ["--evaluation-time", "0"] if program.endswith("mock") else []
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            until(contact.exists, lambda exists: exists)
            told = json.loads(contact.read_text())
            worker = told["certificate"].encode()

            async def ask(who: Identity, trusted: bytes) -> grpc.StatusCode:
                async with who.channel(told["address"], trusted, []) as channel:
                    stub = worker_pb2_grpc.WorkerServiceStub(channel)
                    try:
                        await stub.Ping(worker_pb2.PingRequest(), timeout=PATIENCE)
                    except grpc.aio.AioRpcError as error:
                        return error.code()
                    return grpc.StatusCode.OK

            assert asyncio.run(ask(gateway, worker)) == grpc.StatusCode.OK
            assert asyncio.run(ask(stranger, worker)) == grpc.StatusCode.UNAVAILABLE
            assert asyncio.run(ask(gateway, stranger.certificate)) == grpc.StatusCode.UNAVAILABLE
            with grpc.insecure_channel(told["address"]) as channel, pytest.raises(grpc.RpcError) as caught:
                worker_pb2_grpc.WorkerServiceStub(channel).Ping(worker_pb2.PingRequest(), timeout=PATIENCE)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(PATIENCE)
    assert not tmp_path.exists(), "the folder that its supervisor made for it is removed"


def test_a_worker_that_no_gateway_calls_ends(tmp_path: Path) -> None:
    (tmp_path / "gateway.pem").write_bytes(Identity.new().certificate)
    command = [sys.executable, "-m", "impasto_server.mock", "--listen", "127.0.0.1", "--device", "cpu"]
    command += ["--gateway-certificate", str(tmp_path / "gateway.pem")]
    command += ["--contact-file", str(tmp_path / "contact"), "--turn-file", str(tmp_path / "turn")]
    command += ["--heartbeat-file", str(tmp_path / "start"), "--max-resident", "2"]
    command += ["--evaluation-time", "0", "--end-when-unused", "0.5"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(PATIENCE) == 0
