"""Callers that read or send slowly, and many connections: they cost little, and hold nobody back."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import h2.events
import PIL.Image
import pytest

from support.raw_http2 import Caller, framed
from support.samples import coded, photo
from support.server_process import PATIENCE, ServerProcess, children, running_server, until
from support.web_calls import call

IMAGE = {"encoded": base64.b64encode(coded(photo(64, 48))).decode()}
SPEC = {"content": IMAGE, "styles": [{"image": IMAGE}]}
LONG = {"spec": {**SPEC, "recipe": {"evaluations": 50_000}}}
WATCH = "impasto.v1.StyleTransfer/WatchJob"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    arguments = ("--mock-evaluation-time", "2ms", "--port", "0", "--web-port", "0")
    with running_server("--mock", *arguments) as running:
        running.ready()
        yield running


@pytest.fixture
def job(server: ServerProcess) -> Iterator[str]:
    name = call(server.web, "CreateJob", LONG).json["name"]
    yield name
    call(server.web, "CancelJob", {"name": name})


def raw(server: ServerProcess, buffer: int | None = None) -> socket.socket:
    """Opens a connection, whose unread data may be small."""
    url = urlsplit(server.web)
    opened = socket.socket()
    if buffer is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    opened.settimeout(PATIENCE)
    opened.connect((url.hostname, url.port))
    return opened


def memory(server: ServerProcess) -> int:
    """Memory of the front end in KiB."""
    pids = [
        pid
        for pid in children(server.process.pid)
        if b"impasto_server.web" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    status = Path(f"/proc/{pids[0]}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def head(path: str, length: int) -> bytes:
    lines = [f"POST /{path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def test_a_request_that_does_not_arrive_ends(server: ServerProcess) -> None:
    with raw(server) as slow:
        slow.sendall(head("impasto.v1.StyleTransfer/GetJob", 100) + b"{")
        answer = slow.recv(4096)
        assert b"deadline_exceeded" in answer + slow.recv(4096)


def test_a_head_that_does_not_arrive_ends(server: ServerProcess) -> None:
    with raw(server) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert slow.recv(4096) == b""


def test_a_huge_head_is_refused(server: ServerProcess) -> None:
    with raw(server) as huge:
        huge.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Huge: " + b"x" * 60_000)
        assert huge.recv(4096).split()[1] in (b"400", b"431")


def test_a_thousand_silent_connections_hold_nobody_back(server: ServerProcess) -> None:
    before = memory(server)
    silent = [raw(server) for _ in range(800)]
    assert call(server.web, "GetServerInfo", {}).status == 200
    assert memory(server) - before < 80_000
    for each in silent:
        each.close()


@pytest.mark.parametrize("http_2", [False, True], ids=["http 1.1", "http 2"])
def test_a_caller_that_does_not_read_costs_little_and_holds_nobody_back(
    server: ServerProcess, job: str, http_2: bool
) -> None:
    body = f'{{"name": "{job}"}}'.encode()
    stream = framed(body)
    if http_2:
        caller = Caller(urlsplit(server.web).netloc)
        type = b"application/connect+json"
        number = caller.open(f"/{WATCH}".encode(), type=type, authority=b"127.0.0.1")
        caller.send(number, stream, end=True)
    else:
        slow = raw(server, 4096)
        slow.sendall(head(WATCH, len(stream)).replace(b"/json", b"/connect+json") + stream)
    evaluation = _evaluation(server, job)
    before = memory(server)
    # Thousands of evaluations, each with events: megabytes, if nobody held them back.
    until(lambda: _evaluation(server, job), lambda now: now > evaluation + 1500)
    assert memory(server) - before < 8_000
    if not http_2:
        slow.close()


def _evaluation(server: ServerProcess, job: str) -> int:
    return int(call(server.web, "GetJob", {"name": job}).json.get("progress", {}).get("evaluation", 0))


def test_a_refused_request_does_not_disturb_others_on_its_connection(server: ServerProcess) -> None:
    caller = Caller(urlsplit(server.web).netloc)
    about = {"type": b"application/json", "authority": b"127.0.0.1"}
    length = [(b"content-length", b"9000000")]
    refused = caller.open(b"/impasto.v1.StyleTransfer/GetJob", length, **about)
    caller.listen(lambda: any(isinstance(e, h2.events.ResponseReceived) for e in caller.events))
    # Its body comes all the same.
    caller.send(refused, b"x" * 10_000)
    good = caller.open(b"/impasto.v1.StyleTransfer/GetServerInfo", **about)
    caller.send(good, b"{}", end=True)
    caller.listen(
        lambda: any(isinstance(e, h2.events.StreamEnded) and e.stream_id == good for e in caller.events)
    )
    assert not caller.closed


def test_abandoned_requests_leave_room_for_others_on_their_connection(server: ServerProcess) -> None:
    caller = Caller(urlsplit(server.web).netloc)
    caller.listen(lambda: caller.room > 65535)
    before = caller.room
    about = {"type": b"application/proto", "authority": b"127.0.0.1"}
    for size in (16_000, 500):
        for _ in range(20):
            stream = caller.open(b"/impasto.v1.StyleTransfer/CreateJob", **about)
            for _ in range(60_000 // size):
                caller.send(stream, b"x" * size)
            caller.reset(stream)
    assert caller.listen(lambda: caller.room > before - 65535)
    good = caller.open(b"/impasto.v1.StyleTransfer/GetServerInfo", **about)
    caller.send(good, b"", end=True)
    caller.send(good, b"")
    assert caller.listen(
        lambda: any(isinstance(e, h2.events.ResponseReceived) and e.stream_id == good for e in caller.events)
    )


def test_a_picture_that_nobody_waits_for_any_more_is_not_sent(server: ServerProcess) -> None:
    name = call(server.web, "CreateJob", {"spec": {**SPEC, "recipe": {"evaluations": 2}}}).json["name"]
    until(lambda: call(server.web, "GetJob", {"name": name}).json["state"], "JOB_STATE_SUCCEEDED".__eq__)
    path = call(server.web, "CreateImageLinks", {"sources": [{"resultOf": name}]}).json["links"][0]["path"]
    for _ in range(20):
        with raw(server, 4096) as leaving:
            leaving.sendall(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            leaving.recv(100)
    assert call(server.web, "GetServerInfo", {}).status == 200
    assert "exception" not in server.log
    assert "Traceback" not in server.log


def test_a_body_that_becomes_too_large_ends_its_connection(server: ServerProcess) -> None:
    with raw(server) as large:
        start = head("impasto.v1.StyleTransfer/GetJob", 0)
        large.sendall(start.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
        answer = b""
        with contextlib.suppress(OSError):
            for _ in range(1000):
                large.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        with contextlib.suppress(ConnectionError):
            while data := large.recv(1 << 16):
                answer += data
    assert not answer or b"invalid_argument" in answer


def test_http_2_without_any_request_ends(server: ServerProcess) -> None:
    caller = Caller(urlsplit(server.web).netloc)
    caller.listen(lambda: False)
    assert caller.closed


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_large_pictures_arrive_whole(server: ServerProcess, version: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    data = coded(PIL.Image.frombytes("RGB", (1200, 1200), os.urandom(3 * 1200 * 1200)))
    about = {"sha256": hashlib.sha256(data).hexdigest(), "sizeBytes": len(data)}
    for offset in range(0, len(data), 1 << 20):
        piece = base64.b64encode(data[offset : offset + (1 << 20)]).decode()
        answer = call(server.web, "UploadImagePiece", {**about, "offset": offset, "data": piece})
        assert answer.status == 200, answer.body
    links = call(server.web, "CreateImageLinks", {"sources": [{"sha256": about["sha256"]}]}).json["links"]
    for _ in range(10):
        command = [curl, "-sf", version, server.web + links[0]["path"]]
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
        assert (done.returncode, len(done.stdout)) == (0, len(data))
        assert done.stdout == data


def test_a_connection_outlives_many_abandoned_requests(server: ServerProcess) -> None:
    caller = Caller(urlsplit(server.web).netloc)
    about = {"type": b"application/proto", "authority": b"127.0.0.1"}
    for _ in range(1500):
        caller.reset(caller.open(b"/impasto.v1.StyleTransfer/GetServerInfo", **about))
    good = caller.open(b"/impasto.v1.StyleTransfer/GetServerInfo", **about)
    caller.send(good, b"", end=True)
    assert caller.listen(
        lambda: any(isinstance(e, h2.events.StreamEnded) and e.stream_id == good for e in caller.events)
    )
