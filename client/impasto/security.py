"""Who the server is and who calls: TLS and tokens, as plain data."""

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
    """How a connection is protected.

    Attributes:
        ca: file of the certificates (PEM) that vouch for the server; None for those the system trusts.
        cert, key: files of the caller's own certificate and its private key (PEM), where the server asks
            for one (mTLS); both or none.
        server_name: the name in the server's certificate, where it is not the address's.

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
            raise ValueError(f"{given} is given without {missing}; give both, or none of them")

    def check_files(self) -> None:
        """Makes sure that the files can be read as often as needed: by the transport, and to find a fault.

        Raises:
            OSError: one cannot; `strerror` says why, and what to do where that helps.
        """
        for file in (self.ca, self.cert, self.key):
            if file is not None and stat.S_ISFIFO(check_readable(file)):
                sentence = "is a pipe, which can be read only once; give a regular file"
                raise OSError(errno.EINVAL, sentence, os.fspath(file))


def ssl_context(tls: Tls) -> ssl.SSLContext:
    """How Python's own sockets protect a connection.

    Raises:
        OSError: a file cannot be read; ssl.SSLError, which is one, if there is in it what should not be.
    """
    import ssl  # The command line does without it where nothing is protected.

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
    """What goes with every call to show who calls: nothing without a token.

    Args:
        token: the bearer token, as `impasto-server token add` showed it.
        address: in full, as `impasto.address.parse` gives it.
        encrypted: whether the connection is protected by TLS.
        allow_plaintext_token: send the token over an unprotected network all the same.

    Raises:
        ValueError: the token is none, or anyone on the way could read it.
    """
    if token is None:
        return ()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            "the token is not one: it is empty, or has spaces or other signs that no token has; give it as "
            "`impasto-server token add` showed it"
        )
    if not encrypted and not allow_plaintext_token and not is_local(address):
        raise ValueError(
            f"a token is not sent to {address} in plaintext, where anyone on the way can read it; use TLS "
            "(tls=True), or say allow_plaintext_token=True if the network itself is protected"
        )
    return (("authorization", f"Bearer {token}"),)
