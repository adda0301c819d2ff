"""Who gets in: tokens, the page's cookie, other sites, other names of the server; and before what is read."""

from __future__ import annotations

import base64
import json
import shutil
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
from support.samples import coded, photo
from support.server_process import PATIENCE, ServerProcess, running_server, until
from support.web_calls import JSON, Answer, ask, call, connected, enveloped

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


def test_a_tenant_has_few_unused_codes(server: ServerProcess, tokens: tuple[Path, str]) -> None:
    own = {**JSON, "sec-fetch-site": "same-origin"}

    def made(token: str) -> str:
        return str(ask(server.web, "session/code", "", {"authorization": f"Bearer {token}"}).json["code"])

    token = new_token(tokens[0], "ben")
    about = {"authorization": f"Bearer {token}"}
    until(lambda: call(server.web, "GetServerInfo", {}, about).status, (200).__eq__)
    bens = made(token)
    codes = [made(tokens[1]) for _ in range(12)]
    for code, status in ((codes[0], 401), (codes[1], 401), (codes[2], 204), (codes[-1], 204), (bens, 204)):
        assert ask(server.web, "session", f'{{"code": "{code}"}}', own).status == status


@pytest.mark.parametrize("token", [b"\xff", b"a\tb", b"x" * 9000, "\u00e4".encode()])
def test_odd_tokens_are_no_tokens(server: ServerProcess, token: bytes) -> None:
    name = f"impasto-{urlsplit(server.web).port}".encode()
    cookie = b"Sec-Fetch-Site: same-origin\r\nCookie: " + name + b"=" + token
    bearer = b"Authorization: Bearer " + token
    info = "impasto.v1.StyleTransfer/GetServerInfo?encoding=json&message={}"
    for request, header, status in (
        ("GET /session", cookie, b"200"),
        ("POST /session/code", cookie, b"401"),
        ("POST /session/code", bearer, b"401"),
        (f"GET /{info}", bearer, b"401"),
        (f"GET /{info}", cookie, b"401"),
    ):
        head = [request.encode() + b" HTTP/1.1", _host(server), b"Content-Length: 0", header, b"", b""]
        assert said(server, b"\r\n".join(head)).split()[1] == status, (request, header)
    assert "Traceback" not in server.log


def _host(server: ServerProcess) -> bytes:
    return f"Host: {urlsplit(server.web).netloc}".encode()


def said(server: ServerProcess, request: bytes) -> bytes:
    """Sends bytes, and returns the first of the answer."""
    url = urlsplit(server.web)
    with socket.create_connection((url.hostname or "", url.port or 0), timeout=PATIENCE) as raw:
        raw.sendall(request)
        return raw.recv(4096)


def test_an_odd_host_is_refused(open_server: ServerProcess) -> None:
    for host in (b"[", b"[::1", b"\xff", b""):
        request = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        assert said(open_server, request).split()[1] in (b"400", b"421"), host
    assert "Traceback" not in open_server.log


@pytest.mark.parametrize("to", [b"h2c", b"websocket", b"H2C"])
def test_a_connection_keeps_its_protocol(open_server: ServerProcess, to: bytes) -> None:
    head = [
        b"GET /session HTTP/1.1",
        _host(open_server),
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: " + to,
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
        b"",
        b"",
    ]
    assert said(open_server, b"\r\n".join(head)).startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in open_server.log


def test_a_request_with_two_lengths_is_refused(open_server: ServerProcess) -> None:
    head = [b"POST /session HTTP/1.1", _host(open_server), b"Content-Length: 5"]
    request = b"\r\n".join([*head, b"Transfer-Encoding: chunked", b"", b"0", b"", b"GET / HTTP/1.1"])
    answer = said(open_server, request + b"\r\n" + _host(open_server) + b"\r\n\r\n")
    assert answer.split()[1] == b"400"
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


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


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_large_answers_and_streams_over_tls(tmp_path: Path, version: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    arguments = ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--insecure"]
    with running_server("--mock", "--port", "0", "--web-port", "0", *arguments) as running:
        image = {"encoded": base64.b64encode(coded(photo(640, 480))).decode()}
        spec = {"content": image, "styles": [{"image": image}], "recipe": {"evaluations": 3}}
        name = call(running.web, "CreateJob", {"spec": spec}, authority=authority.cert).json["name"]

        def fetched(path: str, *more: str) -> bytes:
            url = running.web + path
            command = [curl, "-sf", version, "--cacert", str(authority.cert), *more, url]
            return subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True).stdout

        # Each of many writes: files, a picture of many parts, and the events of a stream.
        for file in ("", "openapi.json", "style.css") * 3:
            assert fetched(file) == ask(running.web, file, authority=authority.cert).body
        body = tmp_path / "body"
        body.write_bytes(enveloped(json.dumps({"name": name}).encode()))
        events = fetched(
            "impasto.v1.StyleTransfer/WatchJob",
            "--data-binary",
            f"@{body}",
            "-H",
            "content-type: application/connect+json",
        )
        assert events.endswith(b"{}")
        links = call(
            running.web, "CreateImageLinks", {"sources": [{"resultOf": name}]}, authority=authority.cert
        )
        assert fetched(links.json["links"][0]["path"]).endswith(b"IEND\xaeB`\x82")


@pytest.mark.skipif(sys.platform != "linux", reason="the front end's sockets are inherited on Linux")
def test_a_port_in_use_is_reported(open_server: ServerProcess) -> None:
    port = str(urlsplit(open_server.web).port)
    command = [*module_command("impasto_server"), "serve", "--mock", "--port", "0", "--web-port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 is in use; choose another --web-port" in done.stderr
