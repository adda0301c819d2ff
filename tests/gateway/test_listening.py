"""What administrators see of a server: systemd's notifications, `impasto-server health`, shutdown."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import reason_of
from support.certificates import Authority
from support.samples import stylize_request
from support.server_process import PATIENCE, ServerProcess, is_alive, running_server, until

CPU = ("--port", "0", "--device", "cpu", "--weights", "builtin")
ENDLESS = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=100_000)


@pytest.fixture
def notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """systemd's end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield manager


def test_systemd_is_notified(notified: socket.socket) -> None:
    with running_server(*CPU) as server:
        assert notified.recv(100) == b"READY=1"
        assert server.info().version
        server.process.send_signal(signal.SIGTERM)
        assert notified.recv(100) == b"STOPPING=1"
        assert server.process.wait(PATIENCE) == 0


def health(*arguments: str, **variables: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "impasto_server", "health", *arguments]
    environment = {**os.environ, **variables}
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment
    )
    return ended.returncode, (ended.stdout or ended.stderr).strip()


def as_variables(server: ServerProcess, **more: Path) -> dict[str, str]:
    port = server.address.rpartition(":")[2]
    return {"IMPASTO_PORT": port} | {f"IMPASTO_{name.upper()}": str(path) for name, path in more.items()}


@pytest.mark.slow
def test_health_tells_whether_the_server_takes_jobs() -> None:
    with running_server(*CPU) as server:
        server.ready()
        assert health(server.address) == (0, "SERVING")
        # As in a container, the server's environment variables give the address.
        assert health(**as_variables(server), IMPASTO_HOST="0.0.0.0") == (0, "SERVING")
        (worker,) = server.worker_pids()
        os.kill(worker, signal.SIGKILL)
        until(lambda: health(server.address), lambda said: said == (1, "NOT_SERVING"))
    code, said = health(server.address, "--timeout", "2")
    assert code == 1
    assert said.startswith(("UNAVAILABLE", "DEADLINE_EXCEEDED"))


@pytest.mark.slow
def test_health_can_use_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    flags = ("--tls-cert", str(pair.cert), "--tls-key", str(pair.key))
    with running_server(*CPU, *flags) as server:
        variables = as_variables(server, tls_cert=pair.cert, tls_key=pair.key)
        until(lambda: health(**variables), lambda said: said == (0, "SERVING"))
        assert health(server.address, "--ca", str(authority.cert)) == (0, "SERVING")
        assert health(server.address, "--timeout", "2")[0] == 1
        # Another server at the same address is not mistaken for it.
        other = Authority(tmp_path, "Other").issue("other")
        assert health(**as_variables(server, tls_cert=other.cert, tls_key=other.key))[0] == 1
    more = (*flags, "--tls-client-ca", str(authority.cert))
    with running_server(*CPU, *more) as server:
        mutual = as_variables(server, tls_cert=pair.cert, tls_key=pair.key, tls_client_ca=authority.cert)
        until(lambda: health(**mutual), lambda said: said == (0, "SERVING"))
        own = ("--cert", str(pair.cert), "--key", str(pair.key))
        assert health(server.address, "--ca", str(authority.cert), *own) == (0, "SERVING")
        assert health(server.address, "--ca", str(authority.cert), "--timeout", "2")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("localhost:1", "--ca", "/nowhere.pem"), "--ca /nowhere.pem cannot be read (No such file"),
        (("localhost:1", "--cert", __file__), "belong together"),
        (("--ca", __file__), "needs HOST:PORT"),
    ],
)
def test_health_refuses_incomplete_tls_options(arguments: tuple[str, ...], sentence: str) -> None:
    code, said = health(*arguments)
    assert code == 2
    assert sentence in said


def test_health_names_the_option_whose_file_contains_no_certificate_or_key(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, other = authority.issue("caller"), authority.issue("other")
    picture = tmp_path / "text.png"
    picture.write_bytes(b"\x89PNG\r\n\xff")
    good = {"--ca": authority.cert, "--cert": pair.cert, "--key": pair.key}
    for wrong, sentence in (
        ({"--ca": picture}, f"--ca {picture} contains no certificate; give a PEM file"),
        ({"--cert": picture}, f"--cert {picture} contains no certificate; give a PEM file"),
        ({"--key": picture}, f"--key {picture} contains no private key; give the certificate's key"),
        ({"--key": other.key}, f"--key {other.key} is not the key of the certificate {pair.cert}"),
    ):
        options = [str(word) for option in (good | wrong).items() for word in option]
        code, said = health("localhost:1", *options)
        assert code == 2
        assert said.startswith(f"impasto-server: {sentence}")
    code, said = health(IMPASTO_TLS_CERT=str(picture), IMPASTO_TLS_KEY=str(pair.key))
    assert (code, "--tls-cert" in said) == (2, True)


def stopped_while_painting(server: ServerProcess) -> int:
    """Stops a worker with SIGSTOP and returns its process ID."""
    server.ready()
    request = pb.CreateJobRequest(spec=stylize_request(recipe=ENDLESS).spec)
    job = server.stub.CreateJob(request, timeout=PATIENCE)
    watch = server.stub.WatchJob(pb.WatchJobRequest(name=job.name), timeout=PATIENCE)
    assert any(event.HasField("progress") for event in watch)
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    return worker


@pytest.mark.slow
def test_a_drain_ends_in_time_even_if_a_worker_does_not_answer() -> None:
    with running_server(*CPU, "--drain", "1s") as server:
        worker = stopped_while_painting(server)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        # By default the drain takes 25 seconds.
        assert time.monotonic() - begin < 20
        until(lambda: is_alive(worker), lambda alive: not alive)


def test_calls_interrupted_by_a_shutdown_are_told_to_come_back(tmp_path: Path) -> None:
    sent = threading.Event()

    def half_an_upload() -> Iterator[pb.UploadImageRequest]:
        yield pb.UploadImageRequest(sha256="0" * 64, size_bytes=10_000, data=b"x")
        sent.wait(PATIENCE)

    with running_server(*CPU, "--drain", "0s", "--data-dir", str(tmp_path)) as server:
        call = server.stub.UploadImage.future(half_an_upload(), timeout=PATIENCE)
        until(lambda: list(tmp_path.glob("uploads/*")), bool)
        server.process.send_signal(signal.SIGTERM)
        error = call.exception(PATIENCE)
        sent.set()
        assert server.process.wait(PATIENCE) == 0
    assert isinstance(error, grpc.RpcError)
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert (status.code, reason_of(status)) == (grpc.StatusCode.UNAVAILABLE.value[0], "SHUTTING_DOWN")
    assert any(detail.Unpack(retry) for detail in status.details)


@pytest.mark.slow
def test_a_second_signal_ends_the_server_at_once() -> None:
    with running_server(*CPU) as server:
        worker = stopped_while_painting(server)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.log, lambda log: "shutting down" in log)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM
        # Not only after the 25 seconds of the drain.
        assert time.monotonic() - begin < 15
        until(lambda: is_alive(worker), lambda alive: not alive)
