"""TLS and tokens as plain data: they show who the server is, and who calls."""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from typing import TYPE_CHECKING

from impasto.address import is_local
from impasto.files import check_readable

if TYPE_CHECKING:
    import ssl


@dataclasses.dataclass(frozen=True)
class Tls:
    """Protection of a connection by TLS.

    Attributes:
        ca: file with the certificates (PEM) that sign the server's; None for those that the system trusts.
        cert, key: files with the caller's certificate and its private key (PEM), if the server asks for one
            (mTLS); give both or neither.
        server_name: the name in the server's certificate; None if it is the name in the address.

    Raises:
        ValueError: only one of `cert` and `key` is given.
    """

    ca: str | os.PathLike[str] | None = None
    cert: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            given, missing = ("cert", "key") if self.key is None else ("key", "cert")
            raise ValueError(f"{given} is given without {missing}; give both or neither")

    def check_files(self) -> None:
        """Checks the files: that they can be read several times (by the transport, and for diagnosis), and
        that they contain certificates and the key of the caller's certificate.

        Raises:
            OSError: a file cannot be read; `strerror` says why and what to do.
            TlsFileError: a file does not contain what it should.
        """
        for file in (self.ca, self.cert, self.key):
            if file is not None and stat.S_ISFIFO(check_readable(file)):
                sentence = "is a pipe, which can be read only once; give a regular file"
                raise OSError(errno.EINVAL, sentence, os.fspath(file))
        if self.ca is not None and not _has_certificate(self.ca):
            raise TlsFileError("ca", self.ca, "contains no certificate", "give a PEM file")
        if self.cert is not None and self.key is not None:
            _check_pair(self.cert, self.key)


class TlsFileError(ValueError):
    """A file of a `Tls` does not contain what it should.

    Attributes:
        argument: the file's name in `Tls`: "ca", "cert" or "key".
        file: the file.
        cause: what is wrong, as a clause that follows the file's name.
        remedy: what to do, as a clause.
    """

    def __init__(self, argument: str, file: str | os.PathLike[str], cause: str, remedy: str) -> None:
        super().__init__(f"{argument} {os.fspath(file)} {cause}; {remedy}")
        self.argument = argument
        self.file = os.fspath(file)
        self.cause = cause
        self.remedy = remedy


def _has_certificate(file: str | os.PathLike[str]) -> bool:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(os.fspath(file))
    except ssl.SSLError:
        return False
    # A file of revoked certificates can be loaded too.
    return context.cert_store_stats()["x509"] > 0


def _check_pair(cert: str | os.PathLike[str], key: str | os.PathLike[str]) -> None:
    """Checks a certificate and its private key.

    Raises:
        TlsFileError: a file does not contain what it should, or they do not belong together.
    """
    import ssl

    if not _has_certificate(cert):
        raise TlsFileError("cert", cert, "contains no certificate", "give a PEM file")
    encrypted = False

    def password() -> str:
        nonlocal encrypted
        encrypted = True
        return ""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # Without a function for the password, OpenSSL asks for it on the terminal.
        context.load_cert_chain(cert, key, password)
    except ssl.SSLError as error:
        if encrypted:
            cause, remedy = "is protected by a passphrase", "give a key without one"
        elif error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            cause = f"is not the key of the certificate {os.fspath(cert)}"
            remedy = "give the key that belongs to it"
        elif error.reason in (None, "PEM_LIB", "NO_START_LINE", "UNSUPPORTED"):
            cause, remedy = "contains no private key", "give a PEM file"
        else:
            return  # OpenSSL rejects the certificate, but another library may accept it.
        raise TlsFileError("key", key, cause, remedy) from None


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """Return the TLS settings for Python's own sockets.

    Raises:
        OSError: a file cannot be read.
        TlsFileError: a file does not contain what it should.
        ssl.SSLError: OpenSSL rejects a certificate, for example because its key is too short.
    """
    import ssl  # Importing it slows the command line's start.

    tls.check_files()
    context = ssl.create_default_context(cafile=None if tls.ca is None else os.fspath(tls.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def call_metadata(
    token: str | None, address: str, *, encrypted: bool, allow_plaintext_token: bool
) -> tuple[tuple[str, str], ...]:
    """Return the metadata of every call, which shows who calls; empty without a token.

    Args:
        token: the token, as `impasto-server token add` printed it.
        address: the address in full, as `impasto.address.parse` returns it.
        encrypted: whether TLS protects the connection.
        allow_plaintext_token: whether to send the token over a network without TLS.

    Raises:
        TypeError: the token is not a text.
        ValueError: the token is invalid, or a network would carry it in plaintext.
    """
    if token is None:
        return ()
    if not isinstance(token, str):
        raise TypeError(f"token cannot be of the type {type(token).__name__}; give it as a text")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            "the token is empty, or has spaces or other characters that no token has; give it as "
            "`impasto-server token add` printed it"
        )
    if not encrypted and not allow_plaintext_token and not is_local(address):
        raise ValueError(
            f"a token is not sent to {address} in plaintext, where anyone on the way can read it; use TLS "
            "(tls=True), or give allow_plaintext_token=True if the network itself is protected"
        )
    return (("authorization", f"Bearer {token}"),)
