"""Where a server listens, and how it is protected there."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
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


async def check_protection(settings: Settings, *, uses_tokens: bool) -> None:
    """
    Raises:
        ConfigurationError: others could reach the server without its knowing who they are, or could listen.
    """
    if settings.insecure or await _is_loopback(settings.host):
        return
    missing = []
    if settings.tls_cert is None:
        missing.append("encryption (--tls-cert and --tls-key)")
    if not uses_tokens and settings.tls_client_ca is None:
        missing.append("access control (`impasto-server token add NAME`, or --tls-client-ca)")
    if missing:
        raise ConfigurationError(
            f"{settings.host} can be reached from other machines, and there is no "
            f"{' and no '.join(missing)}; listen on 127.0.0.1, add what is missing, or add --insecure if the "
            "network is trusted"
        )


def listen(server: grpc.aio.Server, settings: Settings) -> str:
    """Binds a server to its address, and returns that with the port as it is.

    Raises:
        ConfigurationError: it is in use, or the certificates will not do.
    """
    authority = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{authority}:{settings.listening_port}"
    credentials = _credentials(settings)
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise ConfigurationError(
            f"cannot listen on {address} ({error}); is another server running there?"
        ) from error
    return f"{authority}:{port}"


def own_channel(settings: Settings) -> grpc.Channel:
    """A channel to the server that these settings run, from its own machine.

    With TLS the server has to show the certificate of the settings; with mTLS the same is shown to it.

    Raises:
        ConfigurationError: the certificates will not do.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    address = f"[{host}]:{settings.listening_port}" if ":" in host else f"{host}:{settings.listening_port}"
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None or key is None:
        return grpc.insecure_channel(address)
    chain, private = _read(cert, "--tls-cert"), _read(key, "--tls-key")
    own = (private, chain) if settings.tls_client_ca is not None else (None, None)
    credentials = grpc.ssl_channel_credentials(chain, *own)
    return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", _a_name(chain))])


def _a_name(chain: bytes) -> str:
    """One that a certificate is for."""
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
        raise ConfigurationError(f"there is no host {host} ({error.strerror}); give an address") from error
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    cert, key, client_ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
    if cert is None and key is None:
        if client_ca is not None:
            raise ConfigurationError("--tls-client-ca needs --tls-cert and --tls-key; give them too")
        return None
    if cert is None or key is None:
        missing = "--tls-cert" if cert is None else "--tls-key"
        raise ConfigurationError(f"{missing} is missing; a certificate and its key go together")
    configuration = _configuration(cert, key, client_ca)
    latest = _stamps(cert, key, client_ca)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """Asked at every handshake: a renewed certificate needs no restart."""
        nonlocal latest
        now = _stamps(cert, key, client_ca)
        if now == latest:
            return None
        latest = now
        try:
            configuration = _configuration(cert, key, client_ca)
        except ConfigurationError as error:
            # Perhaps half of a renewal; the rest changes the files again. Until then the old one serves.
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
    chain, private = _read(cert, "--tls-cert"), _read(key, "--tls-key")
    authorities = None if client_ca is None else _read(client_ca, "--tls-client-ca")
    if b"ENCRYPTED" in private:
        # OpenSSL would ask for its password at the terminal.
        raise ConfigurationError(
            f"--tls-key {key} is encrypted, and nobody is there to give its password at each start; give it "
            f"without: openssl pkey -in {key} -out NEW.key"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(
            f"{cert} and {key} are no certificate and its key ({error}); both are wanted in PEM"
        ) from error
    _check_dates(chain, cert)
    if authorities is not None:
        _check_dates(authorities, client_ca or cert)
    return grpc.ssl_server_certificate_configuration([(private, chain)], authorities)


def _check_dates(pem: bytes, path: Path) -> None:
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
    except ValueError as error:
        raise ConfigurationError(f"{path} is no certificate in PEM ({error}); give another file") from error
    now = datetime.datetime.now(datetime.timezone.utc)
    if now > certificate.not_valid_after_utc:
        raise ConfigurationError(
            f"{path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; renew the certificate"
        )
    if now < certificate.not_valid_before_utc:
        raise ConfigurationError(
            f"{path} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; look at this "
            "machine's clock"
        )


def _read(path: Path, flag: str) -> bytes:
    try:
        return read_pem(path)
    except OSError as error:
        raise ConfigurationError(f"{flag} {path} cannot be read ({error.strerror})") from error


def _stamps(*paths: Path | None) -> object:
    found = []
    for path in paths:
        try:
            stat = path.stat() if path is not None else None
        except OSError:
            stat = None
        found.append(None if stat is None else (stat.st_mtime_ns, stat.st_ino, stat.st_size))
    return found
