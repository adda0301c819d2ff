"""Who gets in: tokens, the page's cookie, other sites, other names of the server; and before what is read."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from impasto.python_programs import module_command
from support.certificates import Authority
from support.server_process import PATIENCE, ServerProcess, running_server
from support.web_calls import JSON, Answer, ask, call, connected

OTHER = "https://other.example"


def new_token(file: Path, *arguments: str) -> str:
    command = [*module_command("impasto_server"), "token", "add", *arguments, "--tokens-file", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    file = tmp_path_factory.mktemp("tokens") / "tokens.json"
    return file, new_token(file, "ann")


@pytest.fixture(scope="module")
def server(tokens: tuple[Path, str]) -> Iterator[ServerProcess]:
    arguments = ["--tokens-file", str(tokens[0]), "--web-origin", OTHER]
    with running_server("--mock", "--port", "0", "--web-port", "0", *arguments) as running:
        yield running


@pytest.fixture(scope="module")
def open_server() -> Iterator[ServerProcess]:
    with running_server("--mock", "--port", "0", "--web-port", "0") as running:
        yield running


def signed_in(server: ServerProcess, token: str) -> str:
    """Signs in as the page does, and returns the cookie."""
    answer = ask(server.web, "session", f'{{"token": "{token}"}}', {**JSON, "sec-fetch-site": "same-origin"})
    assert answer.status == 204
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Max-Age" not in cookie
    return cookie.partition(";")[0]


def test_a_token_is_needed(server: ServerProcess, tokens: tuple[Path, str]) -> None:
    assert call(server.web, "GetServerInfo", {}).status == 401
    assert call(server.web, "GetServerInfo", {}, {"authorization": "Bearer wrong"}).status == 401
    good = call(server.web, "GetServerInfo", {}, {"authorization": f"Bearer {tokens[1]}"})
    assert good.json["tenant"] == "ann"


def test_the_body_of_a_stranger_is_not_read(server: ServerProcess) -> None:
    # None of it is sent, and the answer comes all the same.
    connection = connected(server.web)
    connection.putrequest("POST", "/impasto.v1.StyleTransfer/CreateJob")
    for key, value in {**JSON, "content-length": str(50 << 20)}.items():
        connection.putheader(key, value)
    connection.endheaders()
    answer = Answer(connection.getresponse())
    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
    connection.close()


def test_the_cookie_signs_the_page_in_and_out(server: ServerProcess, tokens: tuple[Path, str]) -> None:
    assert ask(server.web, "session").json == {"signed_in": False, "needs_token": True}
    cookie = signed_in(server, tokens[1])
    assert ask(server.web, "session", headers={"cookie": cookie}).json["signed_in"]
    own = {"cookie": cookie, "sec-fetch-site": "same-origin"}
    assert call(server.web, "GetServerInfo", {}, own).json["tenant"] == "ann"
    own_origin = {"cookie": cookie, "origin": server.web.rstrip("/")}
    assert call(server.web, "GetServerInfo", {}, own_origin).status == 200
    out = ask(server.web, "session", headers=own, method="DELETE")
    assert "Max-Age=0" in out.headers["set-cookie"]


def test_a_wrong_token_does_not_sign_in(server: ServerProcess) -> None:
    own = {**JSON, "sec-fetch-site": "same-origin"}
    for body, status in (
        ('{"token": "wrong"}', 401),
        ('{"token": "a; Path=/"}', 400),
        ('{"token": 5}', 400),
        ('{"code": "wrong"}', 401),
        ("[", 400),
        ("x" * 5000, 413),
    ):
        answer = ask(server.web, "session", body, own)
        assert (answer.status, "set-cookie" in answer.headers) == (status, False), body[:30]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": OTHER},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "origin": OTHER},
    ],
)
def test_another_site_cannot_use_the_cookie(
    server: ServerProcess, tokens: tuple[Path, str], headers: dict[str, str]
) -> None:
    cookie = signed_in(server, tokens[1])
    assert call(server.web, "GetServerInfo", {}, {"cookie": cookie, **headers}).status == 401
    assert ask(server.web, "session/code", "", {"cookie": cookie, **headers}).status == 401
    assert ask(server.web, "session", f'{{"token": "{tokens[1]}"}}', {**JSON, **headers}).status == 403


def test_a_code_signs_in_once(server: ServerProcess, tokens: tuple[Path, str]) -> None:
    told = ask(server.web, "session/code", "", {"authorization": f"Bearer {tokens[1]}"}).json
    assert told["expires_in"] == 600
    own = {**JSON, "sec-fetch-site": "same-origin"}
    assert ask(server.web, "session", f'{{"code": "{told["code"]}", "keep": true}}', own).status == 204
    assert ask(server.web, "session", f'{{"code": "{told["code"]}"}}', own).status == 401


def test_only_given_origins_may_call(server: ServerProcess) -> None:
    path = "impasto.v1.StyleTransfer/CreateJob"
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    good = ask(server.web, path, headers={"origin": OTHER, **asked}, method="OPTIONS")
    assert good.headers["access-control-allow-origin"] == OTHER
    assert "authorization" in good.headers["access-control-allow-headers"]
    # The cookie is for the page alone.
    assert "access-control-allow-credentials" not in good.headers
    bad = ask(server.web, path, headers={"origin": "https://evil.example", **asked}, method="OPTIONS")
    assert not [key for key in bad.headers if key.startswith("access-control")]
    # Errors can be read too.
    refused = call(server.web, "GetServerInfo", {}, {"origin": OTHER})
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, OTHER)


def test_a_server_without_tokens_answers_under_its_own_names_only(open_server: ServerProcess) -> None:
    port = urlsplit(open_server.web).port
    for host, status in (
        (f"localhost:{port}", 200),
        (f"127.0.0.1:{port}", 200),
        (f"[::1]:{port}", 200),
        (f"rebound.example:{port}", 421),
        ("127.0.0.1.evil.example", 421),
    ):
        assert call(open_server.web, "GetServerInfo", {}, {"host": host}).status == status, host


def test_every_answer_has_headers_that_protect(server: ServerProcess) -> None:
    for path in ("", "session", "nowhere", "impasto.v1.StyleTransfer/GetServerInfo", "images/x"):
        headers = ask(server.web, path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


def test_nothing_outside_of_the_page_is_served(server: ServerProcess) -> None:
    for path in (
        "../serving.py",
        "%2e%2e/serving.py",
        "js/../../serving.py",
        "//etc/passwd",
        "tsconfig.json\0",
    ):
        with socket.create_connection(("127.0.0.1", urlsplit(server.web).port or 0)) as raw:
            raw.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            raw.settimeout(PATIENCE)
            assert raw.recv(20).split()[1] in (b"404", b"400"), path


def test_secrets_are_not_logged(server: ServerProcess, tokens: tuple[Path, str]) -> None:
    cookie = signed_in(server, tokens[1])
    ask(server.web, "images/SECRETTICKET")
    ask(server.web, "session", '{"code": "SECRETCODE"}', {**JSON, "sec-fetch-site": "same-origin"})
    for secret in (tokens[1], cookie.partition("=")[2], "SECRETTICKET", "SECRETCODE"):
        assert secret not in server.log


def test_tls_and_a_renewed_certificate(tmp_path: Path, tokens: tuple[Path, str]) -> None:
    authority = Authority(tmp_path)
    pair, other = authority.issue("server"), authority.issue("other")
    arguments = ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--tokens-file", str(tokens[0])]
    with running_server("--mock", "--port", "0", "--web-port", "0", *arguments) as running:
        assert running.web.startswith("https://")
        own = {**JSON, "sec-fetch-site": "same-origin"}
        body = f'{{"token": "{tokens[1]}"}}'
        answer = ask(running.web, "session", body, own, authority=authority.cert)
        assert "Secure" in answer.headers["set-cookie"]
        pair.key.write_bytes(other.key.read_bytes())
        pair.cert.write_bytes(other.cert.read_bytes())
        seen = threading.Event()
        for _ in range(600):
            if "certificate renewed" in running.log:
                break
            seen.wait(0.1)
        assert "certificate renewed" in running.log
        assert ask(running.web, "session", authority=authority.cert).status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="the front end's sockets are inherited on Linux")
def test_a_port_in_use_is_reported(open_server: ServerProcess) -> None:
    port = str(urlsplit(open_server.web).port)
    command = [*module_command("impasto_server"), "serve", "--mock", "--port", "0", "--web-port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 is in use; choose another --web-port" in done.stderr
