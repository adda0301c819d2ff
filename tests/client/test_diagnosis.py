"""The diagnosis of an unreachable server: it comes at once and says what to do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import impasto
from impasto import diagnosis
from impasto.transport import Endpoint
from support import fake_server
from support.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.contextmanager
def protected(pair: Pair, callers: Path | None = None) -> Iterator[str]:
    """The address of a server with TLS. `callers` signs the certificates that it asks for."""
    with fake_server.serving(credentials=pair.for_server(callers)) as fake:
        yield fake.address


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a program that is not a gRPC server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def said(address: str, tls: impasto.Tls | bool | None = None) -> str:
    """The error of every kind of call to an unreachable server, which is the same for all."""
    causes = set()
    for call in (
        lambda client: client.info(),
        lambda client: client.stylize(b"content", b"style"),
        lambda client: client.upload(b"image"),
        lambda client: client.download(result_of="jobs/1"),
        lambda client: client.delete("jobs/1"),
    ):
        # Calls with a painting's patience would take too long here.
        with impasto.Client(address, tls=tls, timeout=60, patience=60) as client:
            begun = time.monotonic()
            with pytest.raises(impasto.Unreachable) as told:
                call(client)
            assert time.monotonic() - begun < 30
            # The reason depends on the name server.
            causes.add(told.value.cause.partition(":")[0])
    assert len(causes) == 1
    return told.value.message


@pytest.mark.slow
@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
@pytest.mark.parametrize("tls", [None, True])
def test_a_misspelt_host_is_diagnosed(way: str, host: str, tls: bool | None) -> None:
    words = said(f"{host}:50051", tls)
    assert f"{host} cannot be found" in words
    assert "check the spelling" in words


def test_a_closed_port_is_diagnosed(way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    assert said(address) == f"no server answers at {address} (Connection refused)"


def test_a_missing_socket_is_diagnosed(way: str, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/none"
    assert said(address) == f"no server answers at {address} (the socket does not exist)"


def test_an_untrusted_certificate_is_diagnosed(way: str, authority: Authority, tmp_path: Path) -> None:
    with protected(authority.issue("server")) as address:
        words = said(address, True)
        assert "the server's certificate is not trusted by this system (" in words
        assert "give the certificate that signed it as tls=Tls(ca=FILE)" in words
        other = Authority(tmp_path, "Another authority")
        assert "not signed by a certificate in the CA file" in said(address, impasto.Tls(ca=other.cert))


def test_a_certificate_for_another_name_is_diagnosed(way: str, authority: Authority) -> None:
    with protected(authority.issue("server")) as address:
        words = said(address, impasto.Tls(ca=authority.cert, server_name="painter.example"))
    assert "the server's certificate is not for painter.example" in words


@pytest.mark.parametrize(("days", "word"), [((-9, -1), "has expired"), ((1, 9), "is not valid yet")])
def test_an_expired_or_future_certificate_is_diagnosed(
    way: str, authority: Authority, days: tuple[float, float], word: str
) -> None:
    with protected(authority.issue("server", days=days)) as address:
        assert f"the server's certificate {word}" in said(address, impasto.Tls(ca=authority.cert))


def test_a_server_without_tls_is_diagnosed(way: str, authority: Authority) -> None:
    with fake_server.serving() as fake:
        words = said(fake.address, impasto.Tls(ca=authority.cert))
    assert "the server there speaks no TLS; leave out tls" in words


def test_a_server_with_tls_is_diagnosed(way: str, authority: Authority) -> None:
    with protected(authority.issue("server")) as address:
        assert "the server there needs TLS; give tls=True" in said(address)
    with protected(authority.issue("server"), authority.cert) as address:
        assert "the server there needs TLS; give tls=True" in said(address)


def test_a_server_that_asks_for_a_certificate(way: str, authority: Authority, tmp_path: Path) -> None:
    with protected(authority.issue("server"), authority.cert) as address:
        words = said(address, impasto.Tls(ca=authority.cert))
        assert "needs a certificate of the caller; give tls=Tls(cert=FILE, key=FILE)" in words
        stranger = Authority(tmp_path, "Another authority").issue("stranger")
        words = said(address, impasto.Tls(ca=authority.cert, cert=stranger.cert, key=stranger.key))
        assert "does not accept the caller's certificate" in words


def test_a_web_server_is_diagnosed(way: str) -> None:
    with answering(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address:
        assert "a web server answers there, not an Impasto server" in said(address)


def test_another_protocol_is_diagnosed(way: str) -> None:
    with answering(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")) as address:
        assert "the program that answers there is not a gRPC server; check the port" in said(address)


def test_a_working_server_has_no_finding(authority: Authority) -> None:
    caller, server = authority.issue("caller"), authority.issue("server")
    with fake_server.serving() as fake:
        assert diagnosis.find(Endpoint(fake.address)) is None
    with protected(server) as address:
        assert diagnosis.find(Endpoint(address, impasto.Tls(ca=authority.cert))) is None
    with protected(server, authority.cert) as address:
        own = impasto.Tls(ca=authority.cert, cert=caller.cert, key=caller.key)
        assert diagnosis.find(Endpoint(address, own)) is None


def test_a_silent_server_has_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "PATIENCE", 0.2)
    over = threading.Event()
    with answering(lambda connection: over.wait(20) and None) as address:
        assert diagnosis.find(Endpoint(address)) is None
        over.set()


def test_invalid_certificate_files_are_diagnosed(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    found = diagnosis.find(Endpoint("127.0.0.1:1", impasto.Tls(ca=tmp_path / "junk.pem")))
    assert found is not None
    assert (found.cause, found.remedy) == (f"{tmp_path}/junk.pem contains no certificate", "give a PEM file")
    one, other = authority.issue("one"), authority.issue("other")
    found = diagnosis.find(Endpoint("127.0.0.1:1", impasto.Tls(cert=one.cert, key=other.key)))
    assert found is not None
    assert found.cause == f"{other.key} is not the key of the certificate {one.cert}"


def test_a_server_behind_a_proxy_has_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    assert diagnosis.find(Endpoint("no-such-host.invalid:1")) is None
