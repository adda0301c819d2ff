"""The front end's process: it is replaced when it dies, and ends with the server. Pictures and files."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto.python_programs import module_command
from support.samples import coded, photo
from support.server_process import PATIENCE, ServerProcess, children, is_alive, running_server, until
from support.web_calls import ask, call, streamed

IMAGE = {"encoded": base64.b64encode(coded(photo(64, 48))).decode()}
SPEC = {"content": IMAGE, "styles": [{"image": IMAGE}]}
LONG = {"spec": {**SPEC, "recipe": {"evaluations": 5000}}}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server("--mock", "--port", "0", "--web-port", "0") as running:
        running.ready()
        yield running


def web_pid(server: ServerProcess) -> int:
    """The process id of the front end."""

    def look() -> list[int]:
        own = children(server.process.pid)
        return [pid for pid in own if b"impasto_server.web" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    return until(look, lambda found: len(found) == 1)[0]


def test_it_is_replaced_and_streams_resume(server: ServerProcess) -> None:
    name = call(server.web, "CreateJob", LONG).json["name"]
    with streamed(server.web, "WatchJob", {"name": name}) as events:
        seen = next(events)
        os.kill(web_pid(server), signal.SIGKILL)
        begin = time.monotonic()
        with pytest.raises((OSError, http.client.IncompleteRead)):
            list(events)
    # The socket stays open meanwhile: the next call waits, and is not refused.
    with streamed(
        server.web, "WatchJob", {"name": name, "afterSequence": seen.get("sequence", "0")}
    ) as events:
        assert next(events)
    assert time.monotonic() - begin < PATIENCE
    call(server.web, "CancelJob", {"name": name})


def test_one_that_hangs_is_replaced() -> None:
    with running_server("--mock", "--port", "0", "--web-port", "0") as running:
        assert call(running.web, "GetServerInfo", {}).status == 200
        pid = web_pid(running)
        os.kill(pid, signal.SIGSTOP)
        until(lambda: is_alive(pid), lambda alive: not alive)
        assert call(running.web, "GetServerInfo", {}).status == 200
        assert f"front end does not answer and is killed pid={pid}" in running.log


def test_it_ends_with_the_server_in_good_order() -> None:
    with running_server("--mock", "--port", "0", "--web-port", "0") as running:
        name = call(running.web, "CreateJob", LONG).json["name"]
        pid = web_pid(running)
        with streamed(running.web, "WatchJob", {"name": name}) as events:
            next(events)
            running.process.terminate()
            *_, resume, end = events
        assert "resume" in resume
        assert end == {"end": {}}
        assert running.process.wait(PATIENCE) == 0
        assert not is_alive(pid)
        assert "Traceback" not in running.log
        assert not list(running.folder.glob("impasto-web-*"))


def test_it_ends_when_the_server_is_killed() -> None:
    with running_server("--mock", "--port", "0", "--web-port", "0") as running:
        pid = web_pid(running)
        running.process.kill()
        until(lambda: is_alive(pid), lambda alive: not alive)


def test_without_grpc_the_page_is_all_there_is() -> None:
    command = [*module_command("impasto_server"), "serve", "--mock", "--no-grpc"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "--no-grpc needs --web-port" in done.stderr


def test_files_of_the_page(server: ServerProcess) -> None:
    page = ask(server.web, "", headers={"accept-encoding": "gzip"})
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["content-encoding"] == "gzip"
    same = ask(server.web, "", headers={"if-none-match": page.headers["etag"]})
    assert (same.status, same.body) == (304, b"")
    assert ask(server.web, "style.css").headers["content-type"] == "text/css; charset=utf-8"
    assert ask(server.web, "openapi.json").json["openapi"].startswith("3.")
    assert ask(server.web, "nowhere").status == 404
    assert ask(server.web, "tsconfig.json").status == 404
    assert ask(server.web, "", "x", {"content-type": "text/plain"}).status == 405


def test_pictures_of_links(server: ServerProcess) -> None:
    name = call(server.web, "CreateJob", {"spec": {**SPEC, "recipe": {"evaluations": 2}}}).json["name"]
    until(lambda: call(server.web, "GetJob", {"name": name}).json["state"], "JOB_STATE_SUCCEEDED".__eq__)
    path = call(server.web, "CreateImageLinks", {"sources": [{"resultOf": name}]}).json["links"][0]["path"]
    whole = ask(server.web, path)
    assert (whole.status, whole.headers["content-type"]) == (200, "image/png")
    assert whole.headers["cache-control"].startswith("private, max-age=8")
    assert whole.body.startswith(b"\x89PNG")
    size, etag = len(whole.body), whole.headers["etag"]
    assert int(whole.headers["content-length"]) == size
    head = ask(server.web, path, method="HEAD")
    assert (head.headers["content-length"], head.body) == (str(size), b"")
    for wanted, part in (
        ("bytes=0-9", whole.body[:10]),
        ("bytes=10-19", whole.body[10:20]),
        (f"bytes={size - 5}-", whole.body[-5:]),
        ("bytes=-7", whole.body[-7:]),
    ):
        answer = ask(server.web, path, headers={"range": wanted})
        assert (answer.status, answer.body) == (206, part), wanted
        assert answer.headers["content-range"].endswith(f"/{size}")
    assert ask(server.web, path, headers={"range": f"bytes={size}-"}).status == 416
    assert ask(server.web, path, headers={"range": "bytes=5-", "if-range": '"old"'}).status == 200
    assert ask(server.web, path, headers={"if-none-match": etag}).status == 304
    saved = ask(server.web, f"{path}?download=..%2F%22a%0d%0aB%3A%20c%C3%A4.png")
    assert saved.headers["content-disposition"] == (
        "attachment; filename=\"__a__B_ c_.png\"; filename*=UTF-8''__a__B_%20c%C3%A4.png"
    )
    forged = ask(server.web, path[:-4] + "AAAA")
    assert (forged.status, forged.headers["content-type"]) == (403, "text/plain; charset=utf-8")
    assert b"not valid" in forged.body


def test_an_expired_link_is_gone(server: ServerProcess) -> None:
    request = {"sources": [{"resultOf": "anything"}], "lifetime": "1s"}
    path = call(server.web, "CreateImageLinks", request).json["links"][0]["path"]
    assert until(lambda: ask(server.web, path).status, lambda status: status == 410)
