"""Finds out why a server cannot be reached, with a separate socket.

The errors of gRPC libraries change from release to release, and rarely tell the caller what to do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator

from impasto.address import is_local
from impasto.security import Tls, TlsFileError, ssl_context
from impasto.transport import Endpoint

PATIENCE = 3.0
"""Longest time for each step, in seconds."""
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">HBBBL", 0, 0, 4, 0, 0)
"""The start of an HTTP/2 connection: the client's preface, and an empty frame of settings."""
_SETTINGS = 4
_HOSTNAME_MISMATCH, _ADDRESS_MISMATCH, _EXPIRED, _NOT_YET_VALID = 62, 64, 10, 9
_NAME_REMEDY = "check the spelling and the network"
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")


@dataclasses.dataclass(frozen=True)
class Finding:
    """Why a server cannot be reached.

    Attributes:
        cause: the cause, as a clause.
        remedy: what to do, as a clause; empty if no server is running there.
        kind: the cause as a key, for those who have words of their own for it: one of `KINDS`, or empty if no
            server is running there.
    """

    cause: str
    remedy: str = ""
    kind: str = ""


KINDS = (
    "unknown host",
    "web server",
    "another program",
    "needs TLS",
    "no TLS",
    "TLS fails",
    "certificate files",
    "certificate for another name",
    "certificate expired",
    "certificate not valid yet",
    "certificate not trusted",
    "needs a certificate",
)


def find(endpoint: Endpoint) -> Finding | None:
    """Returns why a server cannot be reached; None if no cause is found."""
    local = is_local(endpoint.address)
    if not local and any(os.environ.get(name) for name in _PROXIES):
        return None  # The proxy may know names and hosts that are unknown here.
    try:
        return _look(endpoint)
    except OSError as error:
        return _unreached(endpoint, error)


def _look(endpoint: Endpoint) -> Finding | None:
    """Raises OSError if there is no connection."""
    missing = _unresolved(endpoint.address)
    if missing is not None:
        return missing
    if endpoint.tls is None:
        answer = _greeted_in_plaintext(endpoint.address)
        return _not_plaintext(endpoint.address, answer)
    try:
        context = ssl_context(endpoint.tls)
    except TlsFileError as error:  # The file has changed since the client was made.
        return Finding(f"{error.file} {error.cause}", error.remedy, "certificate files")
    except ssl.SSLError as error:
        return Finding(
            f"the certificate files cannot be used ({error.reason or error})",
            "give PEM files, and the key that belongs to the certificate",
            "certificate files",
        )
    return _shaken(endpoint, context, endpoint.tls)


def _unreached(endpoint: Endpoint, error: OSError) -> Finding | None:
    if isinstance(error, TimeoutError):
        return None  # It may only be slow.
    said = os.strerror(error.errno) if error.errno else error.strerror or str(error)
    if endpoint.address.startswith("unix:") and error.errno == errno.ENOENT:
        said = "the socket does not exist"
    return Finding(said)


# Names.


def _unresolved(address: str) -> Finding | None:
    if address.startswith("unix:"):
        return None
    host, port = _host_and_port(address)
    failed: list[str] = []

    def resolve() -> None:
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            failed.append(error.strerror or str(error))
        except UnicodeError:
            failed.append("it is not a valid host name")

    # A name server may take long, and a lookup cannot be interrupted.
    resolving = threading.Thread(target=resolve, name="impasto-resolve", daemon=True)
    resolving.start()
    resolving.join(PATIENCE)
    if resolving.is_alive():
        failed.append("the name server does not answer")
    if not failed:
        return None
    return Finding(f"{host} cannot be found: {failed[0]}", _NAME_REMEDY, "unknown host")


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


# Plaintext.


def _not_plaintext(address: str, answer: bytes) -> Finding | None:
    """The finding from a server's answer to a greeting in plaintext; None if it speaks gRPC."""
    if _is_settings(answer):
        return None
    if answer.startswith(b"HTTP/1"):
        return Finding(
            "a web server answers there, not an Impasto server",
            "check the port; a proxy there must pass on HTTP/2 (gRPC)",
            "web server",
        )
    if _speaks_tls(address):
        return Finding(
            "the server there needs TLS",
            "give tls=True, or tls=Tls(ca=FILE) with its certificate",
            "needs TLS",
        )
    return _another_program()


def _another_program() -> Finding:
    return Finding("the program that answers there is not a gRPC server", "check the port", "another program")


def _greeted_in_plaintext(address: str) -> bytes:
    with _connected(address) as connection:
        return _greet(connection)


def _greet(connection: socket.socket) -> bytes:
    """Sends an HTTP/2 client's greeting; returns the start of the answer, empty if there is none."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        connection.sendall(_GREETING)
        deadline = time.monotonic() + PATIENCE
        while len(answer) < 9 and time.monotonic() < deadline:
            piece = connection.recv(64)
            if not piece:
                break
            answer += piece
    return answer


def _is_settings(answer: bytes) -> bool:
    """Whether an answer begins with a frame of settings, as that of every HTTP/2 server does."""
    return len(answer) >= 4 and answer[3] == _SETTINGS and not answer.startswith(b"HTTP")


def _speaks_tls(address: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _connected(address) as connection, context.wrap_socket(connection):
            return True
    except ssl.SSLError as error:
        # A server that refuses a client without a certificate uses TLS too.
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


# TLS.


def _shaken(endpoint: Endpoint, context: ssl.SSLContext, tls: Tls) -> Finding | None:
    host = "localhost" if endpoint.address.startswith("unix:") else _host_and_port(endpoint.address)[0]
    name = tls.server_name or host
    connected = False
    try:
        with _connected(endpoint.address) as connection:
            connected = True
            with context.wrap_socket(connection, server_hostname=name) as protected:
                # A server may refuse the caller's certificate after the handshake.
                answer = _greet(protected)
                if _is_settings(answer):
                    return None
                return _another_program() if answer else _without_certificate(tls)
    except ssl.SSLCertVerificationError as error:
        return _untrusted(error, name, tls)
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        if "CERTIFICATE" in reason and "ALERT" in reason:
            return _without_certificate(tls)
        plain = _is_settings(_greeted_in_plaintext(endpoint.address))
        return (
            _no_tls()
            if plain
            else Finding(
                f"TLS fails ({reason})", "check that the server speaks TLS 1.2 or newer", "TLS fails"
            )
        )
    except OSError:
        if not connected:
            raise
        # The server closed the connection during the handshake.
        return (
            _no_tls() if _is_settings(_greeted_in_plaintext(endpoint.address)) else _without_certificate(tls)
        )


def _no_tls() -> Finding:
    return Finding(
        "the server there speaks no TLS", "leave out tls, or switch on TLS on the server", "no TLS"
    )


def _without_certificate(tls: Tls) -> Finding:
    if tls.cert is None:
        return Finding(
            "the server needs a certificate of the caller",
            "give tls=Tls(cert=FILE, key=FILE), and ca with them",
            "needs a certificate",
        )
    return Finding(
        "the server does not accept the caller's certificate",
        "give one that is signed by an authority that the server trusts",
        "needs a certificate",
    )


def _untrusted(error: ssl.SSLCertVerificationError, name: str, tls: Tls) -> Finding:
    if error.verify_code in (_HOSTNAME_MISMATCH, _ADDRESS_MISMATCH):
        return Finding(
            f"the server's certificate is not for {name}",
            "call the server by the name in its certificate, or give that as tls=Tls(server_name=NAME)",
            "certificate for another name",
        )
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        when, kind = "has expired", "certificate expired"
        if error.verify_code == _NOT_YET_VALID:
            when, kind = "is not valid yet", "certificate not valid yet"
        remedy = "have it renewed, or correct this machine's clock"
        return Finding(f"the server's certificate {when}", remedy, kind)
    given = (
        "not signed by a certificate in the CA file" if tls.ca is not None else "not trusted by this system"
    )
    return Finding(
        f"the server's certificate is {given} ({error.verify_message})",
        "give the certificate that signed it as tls=Tls(ca=FILE)",
        "certificate not trusted",
    )


@contextlib.contextmanager
def _connected(address: str) -> Iterator[socket.socket]:
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        try:
            connection.connect(address[len("unix:") :])
        except BaseException:
            connection.close()
            raise
    else:
        connection = socket.create_connection(_host_and_port(address), PATIENCE)
    with connection:
        yield connection
