"""TLS with certificates that can be renewed without a restart."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import NoReturn

from impasto_server.web.options import Options

_log = logging.getLogger(__name__)

_SECONDS = 2.0


def server_context(options: Options) -> ssl.SSLContext:
    """Makes the context of the listening socket.

    Args:
        options: with `tls_cert` and `tls_key`.
    """
    assert options.tls_cert is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.load_cert_chain(options.tls_cert, options.tls_key)
    if options.tls_client_ca is not None:
        context.load_verify_locations(options.tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def keep_renewed(context: ssl.SSLContext, options: Options) -> NoReturn:
    """Loads the certificate again whenever its files change, for connections from then on."""
    cert, key = options.tls_cert, options.tls_key
    assert cert is not None
    assert key is not None
    latest = _stamps(cert, key)
    while True:
        await asyncio.sleep(_SECONDS)
        now = _stamps(cert, key)
        if now == latest:
            continue
        latest = now
        try:
            # On trial first: a context that has half of a pair serves nobody.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
            context.load_cert_chain(cert, key)
            _log.info("certificate renewed path=%s", cert)
        except (OSError, ssl.SSLError) as error:
            # Perhaps only one of the files is renewed yet. The old certificate is used until both are.
            _log.warning("certificate not renewed error=%r", str(error))


def _stamps(*paths: Path) -> list[object]:
    found: list[object] = []
    for path in paths:
        try:
            stat = path.stat()
            found.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
        except OSError:
            found.append(None)
    return found
