"""Tokens and TLS, with certificates made by the tests."""

from __future__ import annotations

import codecs
import datetime
import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

import impasto
from impasto.security import call_metadata
from impasto.transport import Endpoint
from support import fake_server
from support.fake_server import FakeServer, png

pytestmark = pytest.mark.usefixtures("way")

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority. Writes each certificate as NAME.crt and NAME.key, and its own as ca.crt."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self._write("ca", self._key, self._signed(self._name, self._key, constraints))

    def issue(self, name: str, *, host: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            alternative: Any = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._write(name, key, self._signed(subject, key, x509.SubjectAlternativeName([alternative])))

    def _signed(self, subject: x509.Name, key: Any, extension: Any) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + DAY)
            .add_extension(extension, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, key: Any, certificate: x509.Certificate) -> None:
        pem = serialization.Encoding.PEM
        (self._folder / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self._folder / f"{name}.key").write_bytes(private)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    authority = Authority(tmp_path)
    authority.issue("server", host="127.0.0.1")
    authority.issue("elsewhere", host="painter.example")
    authority.issue("caller", host="caller.example")
    return tmp_path


def credentials(folder: Path, name: str = "server", *, mutual: bool = False) -> grpc.ServerCredentials:
    pair = ((folder / f"{name}.key").read_bytes(), (folder / f"{name}.crt").read_bytes())
    return grpc.ssl_server_credentials(
        [pair], (folder / "ca.crt").read_bytes() if mutual else None, require_client_auth=mutual
    )


@pytest.fixture
def protected(certificates: Path) -> Iterator[FakeServer]:
    with fake_server.serving(credentials=credentials(certificates)) as fake:
        yield fake


def test_every_call_sends_the_token(fake: FakeServer) -> None:
    fake.token = "s3cret"
    with impasto.Client(fake.address, token="s3cret") as client:
        assert client.info().tenant == "a tenant"
        client.stylize(png(), png()).result()
        client.watch("jobs/fake").result()
        client.upload(png())
        list(client.jobs())
    assert len(fake.calls) >= 7
    assert {metadata.get("authorization") for _, _, metadata in fake.calls} == {"Bearer s3cret"}


def test_a_missing_or_wrong_token_is_unauthenticated(fake: FakeServer) -> None:
    fake.token = "s3cret"
    with impasto.Client(fake.address) as client:
        for call in (client.info, lambda: client.stylize(png(), png()), lambda: client.upload(png())):
            with pytest.raises(impasto.Unauthenticated, match=r"needs a token") as caught:
                call()
            assert caught.value.code == "UNAUTHENTICATED"
    with (
        impasto.Client(fake.address, token="wrong") as client,
        pytest.raises(impasto.Unauthenticated, match="missing or unknown") as caught,
    ):
        client.info()
    assert "asks for" not in str(caught.value)


@pytest.mark.parametrize("address", ["10.1.2.3", "painter.example:5", "[2001:db8::1]:5"])
def test_a_token_is_not_sent_in_plaintext(address: str) -> None:
    with pytest.raises(ValueError, match=r"not sent to .* in plaintext.*tls=True"):
        impasto.Client(address, token="s3cret")
    for allowed in ({"tls": True}, {"allow_plaintext_token": True}):
        impasto.Client(address, token="s3cret", **allowed).close()  # type: ignore[arg-type]
    impasto.Client(address).close()


@pytest.mark.parametrize("address", ["127.0.0.1:5", "localhost:5", "[::1]:5", "unix:/a"])
def test_a_local_server_gets_the_token_in_plaintext(address: str) -> None:
    told = call_metadata("t", address, encrypted=False, allow_plaintext_token=False)
    assert told == (("authorization", "Bearer t"),)


@pytest.mark.parametrize("token", ["", "two words", "line\n", "tökén"])
def test_an_invalid_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="no token has") as caught:
        impasto.Client("127.0.0.1", token=token)
    assert not token or token not in str(caught.value)


def test_a_token_is_not_in_the_repr() -> None:
    endpoint = Endpoint("127.0.0.1:1", metadata=(("authorization", "Bearer s3cret"),))
    assert "s3cret" not in repr(endpoint)


def test_a_client_paints_over_tls(protected: FakeServer, certificates: Path) -> None:
    tls = impasto.Tls(ca=certificates / "ca.crt")
    with impasto.Client(protected.address, tls=tls, token="t") as client:
        assert client.stylize(png(), png()).result().data == png()
    assert {metadata["authorization"] for _, _, metadata in protected.calls} == {"Bearer t"}


def test_an_untrusted_server_is_refused(protected: FakeServer) -> None:
    with impasto.Client(protected.address, tls=True) as client, pytest.raises(impasto.Unreachable):
        client.info()


def test_plaintext_to_a_server_with_tls_fails(protected: FakeServer) -> None:
    with impasto.Client(protected.address, timeout=2) as client, pytest.raises(impasto.Unavailable):
        client.info()


def test_the_name_in_the_certificate_can_be_given(certificates: Path) -> None:
    with fake_server.serving(credentials=credentials(certificates, "elsewhere")) as fake:
        ca = certificates / "ca.crt"
        with (
            impasto.Client(fake.address, tls=impasto.Tls(ca=ca)) as client,
            pytest.raises(impasto.Unreachable),
        ):
            client.info()
        named = impasto.Tls(ca=ca, server_name="painter.example")
        with impasto.Client(fake.address, tls=named) as client:
            assert client.info().version == "9.9"


def test_a_server_that_asks_for_a_certificate(certificates: Path) -> None:
    with fake_server.serving(credentials=credentials(certificates, mutual=True)) as fake:
        ca = certificates / "ca.crt"
        own = impasto.Tls(ca=ca, cert=certificates / "caller.crt", key=certificates / "caller.key")
        with impasto.Client(fake.address, tls=own) as client:
            assert client.info().version == "9.9"
        with (
            impasto.Client(fake.address, tls=impasto.Tls(ca=ca), timeout=2) as client,
            pytest.raises(impasto.Unavailable),
        ):
            client.info()


def test_certificate_files_may_begin_with_a_byte_order_mark(certificates: Path, tmp_path: Path) -> None:
    marked = {}
    for name in ("ca.crt", "caller.crt", "caller.key"):
        marked[name] = tmp_path / f"marked-{name}"
        marked[name].write_bytes(codecs.BOM_UTF8 + (certificates / name).read_bytes())
    with fake_server.serving(credentials=credentials(certificates, mutual=True)) as fake:
        own = impasto.Tls(ca=marked["ca.crt"], cert=marked["caller.crt"], key=marked["caller.key"])
        with impasto.Client(fake.address, tls=own) as client:
            assert client.info().version == "9.9"


def test_wrong_certificate_files_are_refused(certificates: Path) -> None:
    with pytest.raises(ValueError, match="cert is given without key"):
        impasto.Tls(cert=certificates / "caller.crt")
    with pytest.raises(FileNotFoundError):
        impasto.Client("127.0.0.1", tls=impasto.Tls(ca=certificates / "none.crt"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("text", None, None), "ca {text} contains no certificate; give a PEM file"),
        (("caller.key", None, None), "ca {caller.key} contains no certificate; give a PEM file"),
        (("ca.crt", "text", "caller.key"), "cert {text} contains no certificate; give a PEM file"),
        ((None, "caller.key", "caller.key"), "cert {caller.key} contains no certificate; give a PEM file"),
        ((None, "caller.crt", "text"), "key {text} contains no private key; give a PEM file"),
        ((None, "caller.crt", "caller.crt"), "key {caller.crt} contains no private key; give a PEM file"),
        (
            (None, "caller.crt", "rsa.key"),
            "key {rsa.key} is not the key of the certificate {caller.crt}; give",
        ),
        (
            (None, "caller.crt", "server.key"),
            "key {server.key} is not the key of the certificate {caller.crt}; give the key that belongs to",
        ),
        (
            (None, "caller.crt", "locked.key"),
            "key {locked.key} is protected by a passphrase; give a key without one",
        ),
    ],
)
def test_a_file_without_a_certificate_or_key_is_refused_at_once(
    certificates: Path, names: tuple[str | None, ...], message: str
) -> None:
    (certificates / "text").write_text("no certificate")
    for name, key, encryption in (
        ("rsa.key", rsa.generate_private_key(65537, 2048), serialization.NoEncryption()),
        (
            "locked.key",
            ec.generate_private_key(ec.SECP256R1()),
            serialization.BestAvailableEncryption(b"secret"),
        ),
    ):
        form = serialization.PrivateFormat.PKCS8
        data = key.private_bytes(serialization.Encoding.PEM, form, encryption)
        (certificates / name).write_bytes(data)
    ca, cert, key = (None if name is None else certificates / name for name in names)
    with pytest.raises(ValueError, match="; give ") as caught:
        impasto.Client("127.0.0.1", tls=impasto.Tls(ca=ca, cert=cert, key=key))
    assert str(caught.value).startswith(re.sub("{(.*?)}", rf"{certificates}/\1", message))


@pytest.mark.parametrize("which", ["ca", "cert", "key"])
def test_a_pipe_in_place_of_a_certificate_is_refused_at_once(
    certificates: Path, tmp_path: Path, which: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    own = {"cert": certificates / "caller.crt", "key": certificates / "caller.key"}
    given = impasto.Tls(**{**own, which: tmp_path / "pipe"})
    with pytest.raises(OSError, match="is a pipe, which can be read only once; give a regular file"):
        impasto.Client("127.0.0.1", tls=given)
