"""The certificate that `impasto-server certificate` makes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from impasto import Client, Tls
from impasto_server.commands import app
from impasto_server.gateway.certificate import names_of_this_machine
from support.server_process import running_server


def made(folder: Path, *arguments: str) -> tuple[int, str, Path, Path]:
    cert, key = folder / "server.pem", folder / "server.key"
    done = CliRunner().invoke(app, ["certificate", *arguments, "--cert", str(cert), "--key", str(key)])
    return done.exit_code, done.output, cert, key


def test_a_server_with_it_is_trusted_by_those_who_have_it(tmp_path: Path) -> None:
    code, output, cert, key = made(tmp_path)
    assert code == 0, output
    arguments = ["--mock", "--port", "0", "--tls-cert", str(cert), "--tls-key", str(key)]
    with running_server(*arguments) as server:
        port = server.address.rpartition(":")[2]
        for host in ("localhost", "127.0.0.1"):
            with Client(f"{host}:{port}", tls=Tls(ca=cert)) as client:
                assert client.info().version


def test_only_its_owner_can_read_it_and_nothing_is_overwritten(tmp_path: Path) -> None:
    _, _, cert, key = made(tmp_path)
    before = cert.read_bytes(), key.read_bytes()
    assert [stat.S_IMODE(file.stat().st_mode) for file in (cert, key)] == [0o600, 0o600]
    code, output, *_ = made(tmp_path)
    assert code == 2
    assert "exists; remove it" in output
    key.unlink()
    assert made(tmp_path)[0] == 2
    assert not key.exists()
    assert cert.read_bytes() == before[0]


def test_it_is_valid_for_the_names_given_and_for_this_machine(tmp_path: Path) -> None:
    code, output, cert, _ = made(tmp_path, "--name", "studio.example", "--name", "10.1.2.3")
    assert code == 0, output
    found = x509.load_pem_x509_certificate(cert.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    valid_for = {str(name.value) for name in found.value}
    assert valid_for == {"studio.example", "10.1.2.3", *names_of_this_machine()}


@pytest.mark.parametrize("name", ["a b", "", "http://studio"])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    code, output, cert, key = made(tmp_path, "--name", name)
    assert code == 2
    assert "is neither a host name nor an address" in output
    assert not cert.exists()
    assert not key.exists()
