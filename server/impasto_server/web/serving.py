"""Serves the application with Hypercorn on a socket that the gateway has opened."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import cast

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import Framework

from impasto_server.web.application import Application
from impasto_server.web.options import Options


async def serve_application(
    application: Application, options: Options, stop: Callable[[], Awaitable[object]]
) -> None:
    """Serves until `stop` returns, and then until all requests are answered or have ended.

    Args:
        application: what answers.
        options: of the process.
        stop: waits until the front end shall end.
    """
    await serve(
        cast(Framework, application), _configuration(options), shutdown_trigger=stop, mode="asgi"
    )


def _configuration(options: Options) -> Config:
    config = Config()
    config.bind = [f"fd://{options.listener}"]
    config.accesslog = None
    config.errorlog = logging.getLogger(__name__)
    config.include_server_header = False
    config.keep_alive_timeout = 60.0
    config.graceful_timeout = 5.0
    if options.tls_cert is not None:
        config.certfile, config.keyfile = str(options.tls_cert), str(options.tls_key)
        if options.tls_client_ca is not None:
            config.ca_certs = str(options.tls_client_ca)
            config.verify_mode = ssl.CERT_REQUIRED
    return config
