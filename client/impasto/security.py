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
        """Checks that the files can be read several times: by the transport, and for diagnosis.

        Raises:
            OSError: a file cannot; `strerror` says why and what to do.
        """
        for file in (self.ca, self.cert, self.key):
            if file is not None and stat.S_ISFIFO(check_readable(file)):
                sentence = "is a pipe, which can be read only once; give a regular file"
                raise OSError(errno.EINVAL, sentence, os.fspath(file))


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """Return the TLS settings for Python's own sockets.

    Raises:
        OSError: a file cannot be read.
        ssl.SSLError: a file has no certificate or no key.
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
        ValueError: the token is invalid, or a network would carry it in plaintext.
    """
    if token is None:
        return ()
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
