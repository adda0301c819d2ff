"""Listens on the server's address, and protects it with TLS."""

from __future__ import annotations

import asyncio
import datetime
import errno
import ipaddress
import logging
import os
import socket
import ssl
from pathlib import Path

import grpc
import grpc.aio
from cryptography import x509

from impasto_server.fleet.worker_process import ConfigurationError
from impasto_server.gateway.settings import Settings
from impasto_server.given_files import read_pem

_log = logging.getLogger(__name__)

LONGEST_SOCKET = 103
"""Length of a Unix socket's name in bytes, at most, on macOS; on Linux it is 107."""


async def check_protection(settings: Settings, *, uses_tokens: bool) -> None:
    """Checks that a server that other machines can reach has encryption and access control.

    Raises:
        ConfigurationError: one of them is missing, and the settings do not allow that.
    """
    if settings.socket is not None:
        if settings.tls_cert is not None or settings.tls_client_ca is not None:
            raise ConfigurationError("--socket cannot have TLS; leave the certificates out, or --socket")
        return
    if settings.insecure or await _is_loopback(settings.host):
        return
    missing = []
    if settings.tls_cert is None:
        missing.append("encryption (--tls-cert and --tls-key)")
    if not uses_tokens and settings.tls_client_ca is None:
        missing.append("access control (`impasto-server token add NAME`, or --tls-client-ca)")
    if missing:
        raise ConfigurationError(
            f"other machines can reach {settings.host}, and there is no {' and no '.join(missing)}; listen "
            "on 127.0.0.1, add what is missing, or add --insecure if you trust the network"
        )


def listen(server: grpc.aio.Server, settings: Settings) -> str:
    """Binds a server to its address, and returns the address with the actual port.

    Raises:
        ConfigurationError: the address cannot be used, or a certificate is invalid.
    """
    if settings.socket is not None:
        return _listen_on_socket(server, settings.socket)
    authority = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{authority}:{settings.listening_port}"
    credentials = _credentials(settings)
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        # gRPC does not say why.
        raise ConfigurationError(_found_by_trying(settings.host, settings.listening_port)) from error
    return f"{authority}:{port}"


def _listen_on_socket(server: grpc.aio.Server, path: Path) -> str:
    path = path.absolute()
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        raise ConfigurationError(
            f"--socket {path} is longer than the {LONGEST_SOCKET} bytes that the path of a socket can have; "
            "give a shorter one"
        )
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise ConfigurationError(
            f"cannot listen on --socket {path}; give the name of a new file in a folder of your own"
        ) from error
    return f"unix:{path}"


def _found_by_trying(host: str, port: int) -> str:
    """Tries to listen on an address as gRPC did, and says why that is impossible."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Linux refuses a port in use only here if the other socket allows its address to be reused.
            probe.listen()
    except OSError as error:
        return why_not(error, host, port, "--port")
    return f"cannot listen on port {port} of {host}; choose another --host or --port"


def why_not(error: OSError, host: str, port: int, option: str) -> str:
    """Says why nothing can listen on an address, and what to do.

    Args:
        error: of the attempt.
        host, port: the address.
        option: the option that names the port.
    """
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another {option}, or stop the server that uses it"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is not an address of this machine; give one that is"
    if error.errno == errno.EACCES:
        return f"this user cannot listen on port {port}; choose another {option}"
    return f"cannot listen on port {port} of {host} ({error.strerror}); choose another --host or {option}"


def own_channel(settings: Settings) -> grpc.Channel:
    """Opens a channel from this machine to the server that these settings describe.

    With TLS the server must show the certificate of the settings; with mTLS the channel shows the same one.

    Raises:
        ConfigurationError: a certificate cannot be read.
    """
    if settings.socket is not None:
        return grpc.insecure_channel(f"unix:{settings.socket.absolute()}")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    address = f"[{host}]:{settings.listening_port}" if ":" in host else f"{host}:{settings.listening_port}"
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None or key is None:
        return grpc.insecure_channel(address)
    chain, private = _read_pair(cert, "--tls-cert", key, "--tls-key")
    own = (private, chain) if settings.tls_client_ca is not None else (None, None)
    credentials = grpc.ssl_channel_credentials(chain, *own)
    return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", _a_name(chain))])


def secure_channel(
    address: str, authorities: Path, cert: Path | None = None, key: Path | None = None
) -> grpc.Channel:
    """Opens a channel with TLS, for the options --ca, --cert and --key of `impasto-server health`.

    Args:
        address: HOST:PORT.
        authorities: file of the certificates to trust.
        cert, key: files of the certificate and its key that the channel shows; both or none.

    Raises:
        ConfigurationError: a file cannot be read, or does not contain what it should.
    """
    trusted = _read(authorities, "--ca")
    try:
        # Not `_certificates`: lists of a system's authorities have certificates that cryptography dislikes.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cadata=trusted.decode("ascii", "ignore")
        )
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(_no_certificate(authorities, "--ca")) from error
    chain = private = None
    if cert is not None and key is not None:
        chain, private = _read_pair(cert, "--cert", key, "--key")
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(trusted, private, chain))


def _a_name(chain: bytes) -> str:
    """Returns one of the names for which a certificate is valid."""
    certificate = x509.load_pem_x509_certificates(chain)[0]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    dns = names.get_values_for_type(x509.DNSName)
    return dns[0].replace("*", "any", 1) if dns else str(names.get_values_for_type(x509.IPAddress)[0])


async def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host's addresses."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except socket.gaierror as error:
        raise ConfigurationError(
            f"--host {host} cannot be resolved ({error.strerror}); give an address of this machine"
        ) from error
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    cert, key, client_ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
    if cert is None and key is None:
        if client_ca is not None:
            raise ConfigurationError("--tls-client-ca needs --tls-cert and --tls-key; give them too")
        return None
    if cert is None or key is None:
        given, missing = ("--tls-key", "--tls-cert") if cert is None else ("--tls-cert", "--tls-key")
        raise ConfigurationError(f"{given} needs {missing}; give it too")
    configuration = _configuration(cert, key, client_ca)
    latest = _stamps(cert, key, client_ca)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """Called at every handshake, so that a renewed certificate needs no restart."""
        nonlocal latest
        now = _stamps(cert, key, client_ca)
        if now == latest:
            return None
        latest = now
        try:
            configuration = _configuration(cert, key, client_ca)
        except ConfigurationError as error:
            # Perhaps only one of the files is renewed yet. The old certificate is used until both are.
            _log.warning("certificate not renewed error=%r", str(error))
            return None
        _log.info("certificate renewed path=%s", cert)
        return configuration

    return grpc.dynamic_ssl_server_credentials(
        configuration,
        renewed,  # type: ignore[arg-type]
        require_client_authentication=client_ca is not None,
    )


def _configuration(cert: Path, key: Path, client_ca: Path | None) -> grpc.ServerCertificateConfiguration:
    chain, private = _read_pair(cert, "--tls-cert", key, "--tls-key")
    _check_dates(chain, cert, "--tls-cert")
    authorities = None
    if client_ca is not None:
        authorities = _read(client_ca, "--tls-client-ca")
        _check_dates(authorities, client_ca, "--tls-client-ca")
    return grpc.ssl_server_certificate_configuration([(private, chain)], authorities)


def _read_pair(cert: Path, cert_option: str, key: Path, key_option: str) -> tuple[bytes, bytes]:
    """Reads a certificate chain and its private key, and checks that they belong together."""
    chain, private = _read(cert, cert_option), _read(key, key_option)
    _certificates(chain, cert, cert_option)
    if b"ENCRYPTED" in private:
        # OpenSSL would ask for the password at the terminal.
        raise ConfigurationError(
            f"{key_option} {key} is encrypted, and this program cannot ask for a password; decrypt the key: "
            f"openssl pkey -in {key} -out NEW.key"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise ConfigurationError(
                f"{key_option} {key} is not the key of the certificate {cert}; give the certificate's own key"
            ) from error
        raise ConfigurationError(
            f"{key_option} {key} contains no private key; give the certificate's key as a PEM file"
        ) from error
    return chain, private


def _check_dates(pem: bytes, path: Path, option: str) -> None:
    certificate = _certificates(pem, path, option)[0]
    now = datetime.datetime.now(datetime.timezone.utc)
    if now > certificate.not_valid_after_utc:
        raise ConfigurationError(
            f"{option} {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; renew the certificate"
        )
    if now < certificate.not_valid_before_utc:
        raise ConfigurationError(
            f"{option} {path} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; "
            "check the clock of this machine"
        )


def _certificates(pem: bytes, path: Path, option: str) -> list[x509.Certificate]:
    """Returns the certificates in a file's text."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise ConfigurationError(_no_certificate(path, option)) from error


def _no_certificate(path: Path, option: str) -> str:
    return f"{option} {path} contains no certificate; give a PEM file"


def _read(path: Path, flag: str) -> bytes:
    try:
        return read_pem(path)
    except OSError as error:
        raise ConfigurationError(
            f"{flag} {path} cannot be read ({error.strerror}); give a PEM file"
        ) from error


def _stamps(*paths: Path | None) -> object:
    found = []
    for path in paths:
        try:
            stat = path.stat() if path is not None else None
        except OSError:
            stat = None
        found.append(None if stat is None else (stat.st_mtime_ns, stat.st_ino, stat.st_size))
    return found
