"""Keys and certificates with which the gateway and the workers on other machines know each other.

Each process makes its own private key, which never leaves it. It shows a certificate that it has signed
itself, and the other side accepts exactly this certificate and no other. So there is no authority to protect.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
from pathlib import Path

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NAME = "impasto"
"""The name in every certificate. Callers check it instead of the machine's address, which may change."""
_YEARS = 20
_DAY = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Identity:
    """A private key and its certificate.

    Attributes:
        key: the private key (PEM, PKCS #8).
        certificate: the certificate, which is no secret (PEM).
    """

    key: bytes = dataclasses.field(repr=False)
    certificate: bytes

    @classmethod
    def new(cls) -> Identity:
        """Makes a key (ECDSA, P-256) and its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # The clocks of the machines may differ.
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _YEARS * 365 * _DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        encoding = serialization.Encoding.PEM
        pem = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return cls(pem, certificate.public_bytes(encoding))

    @classmethod
    def kept_in(cls, folder: Path) -> Identity:
        """Reads the identity in a folder, and makes one first if there is none.

        Args:
            folder: an existing folder that only this user can enter.

        Raises:
            OSError: the file cannot be read or written.
            ValueError: the file is damaged.
        """
        file = folder / "identity.pem"
        if not file.exists():
            made = cls.new()
            # One file, renamed when it is complete: key and certificate always belong together.
            new = folder / "identity.pem.new"
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(made.key + made.certificate)
                out.flush()
                os.fsync(out.fileno())
            new.replace(file)
        key, start, rest = file.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
        certificate = start + rest
        # Refuses damaged files.
        serialization.load_pem_private_key(key, None)
        x509.load_pem_x509_certificate(certificate)
        return cls(key, certificate)

    def server_credentials(self, trusted: bytes) -> grpc.ServerCredentials:
        """Returns credentials for a server that only the owner of a certificate can call.

        Args:
            trusted: the caller's certificate (PEM).
        """
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], root_certificates=trusted, require_client_auth=True
        )

    def channel(self, address: str, trusted: bytes, options: list[tuple[str, str | int]]) -> grpc.aio.Channel:
        """Opens a channel to a server that must show one certificate.

        Args:
            address: HOST:PORT.
            trusted: the server's certificate (PEM).
            options: further options of the channel.
        """
        credentials = grpc.ssl_channel_credentials(trusted, self.key, self.certificate)
        name = [("grpc.ssl_target_name_override", _NAME), ("grpc.default_authority", _NAME)]
        return grpc.aio.secure_channel(address, credentials, options=[*options, *name])
