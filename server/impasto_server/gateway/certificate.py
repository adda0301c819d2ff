"""A certificate of this machine that no authority has signed: enough for a house or a studio."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_FOR = datetime.timedelta(days=800)
"""Telephones refuse certificates that are valid for longer than 825 days."""

_SOMEWHERE = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""Addresses that stand for any other machine (RFC 5737, RFC 3849). Nothing is sent to them."""

_HOST = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*")


def names_of_this_machine() -> list[str]:
    """The names and addresses under which this machine can be reached, those for others first."""
    host = socket.gethostname()
    names = [host, *([] if "." in host else [f"{host}.local"])]
    for address, family in _SOMEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            names.append(probe.getsockname()[0])
    with contextlib.suppress(OSError):
        names += [str(info[4][0]) for info in socket.getaddrinfo(host, None)]
    names += ["localhost", "127.0.0.1", "::1"]
    # An address that is valid on one cable only ("fe80::1%eth0") cannot stand in a certificate.
    return list(dict.fromkeys(name for name in names if "%" not in name))


def write_certificate(cert: Path, key: Path, names: Iterable[str]) -> None:
    """Writes a new key and a certificate for it, signed by itself. Only the user can read them.

    Args:
        cert, key: the files, in PEM.
        names: host names and addresses for which the certificate is valid.

    Raises:
        FileExistsError: one of the files is there already; nothing is changed.
        OSError: a file cannot be written.
        ValueError: a name is neither a host name nor an address.
    """
    kept = [_alternative(name) for name in names]
    for file in (cert, key):
        if file.exists():
            raise FileExistsError(f"{file} exists; remove it, or give another name")
    secret = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Impasto")])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that is a little behind is no reason to refuse it.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.SubjectAlternativeName(kept), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    _write(
        key,
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    try:
        _write(cert, signed.public_bytes(serialization.Encoding.PEM))
    except OSError:
        key.unlink()
        raise


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    with contextlib.suppress(UnicodeError):
        host = name.encode("idna").decode()
        if _HOST.fullmatch(host):
            return x509.DNSName(host)
    raise ValueError(f"{name!r} is neither a host name nor an address; leave it out")


def _write(file: Path, data: bytes) -> None:
    with open(file, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as new:
        new.write(data)
