"""Serves the application with Hypercorn on a socket that the gateway has opened."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.typing import Framework

from impasto_server.web import hypercorn_limits
from impasto_server.web.application import Application
from impasto_server.web.options import Options
from impasto_server.web.tls import keep_renewed, server_context

_log = logging.getLogger(__name__)


async def serve_application(
    application: Application, options: Options, stop: Callable[[], Awaitable[object]]
) -> None:
    """Serves until `stop` returns, and then until all requests are answered or have ended.

    Args:
        application: what answers.
        options: of the process.
        stop: waits until the front end shall end.
    """
    hypercorn_limits.install()
    asyncio.get_running_loop().set_exception_handler(_on_loop_error)
    context = None if options.tls_cert is None else server_context(options)
    renewing = None if context is None else asyncio.create_task(keep_renewed(context, options))
    config = _Configuration(context)
    config.bind = [f"fd://{options.listener}"]
    try:
        await serve(cast(Framework, application), config, shutdown_trigger=stop, mode="asgi")
    finally:
        if renewing is not None:
            renewing.cancel()


class _Configuration(Config):
    """Hypercorn's settings."""

    logger_class: Any
    accesslog = None
    include_server_header = False
    include_date_header = False
    # For the head of a request, from when the connection or the last request before it has ended.
    keep_alive_timeout = 10.0
    keep_alive_max_requests = 100_000
    ssl_handshake_timeout = 5.0
    graceful_timeout = 1.0
    h2_max_concurrent_streams = 200
    h11_max_incomplete_size = 16 * 1024
    h2_max_header_list_size = 16 * 1024

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__()
        self.logger_class = _Quiet
        self._context = context

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._context

    @property
    def ssl_enabled(self) -> bool:
        return self._context is not None


class _Quiet(Logger):
    """Logs errors as this program does, and neither requests nor addresses, which contain tickets."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.error_logger = _log

    async def info(self, message: str, *arguments: Any, **options: Any) -> None:
        """Says nothing."""

    async def access(self, *_: Any) -> None:
        """Says nothing."""


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, OSError | ssl.SSLError | TimeoutError):
        # A caller's connection broke, or it does not speak TLS.
        return
    loop.default_exception_handler(context)
