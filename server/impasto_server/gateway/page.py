"""Runs the front end, the process that browsers talk to, and replaces it when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from pathlib import Path

from impasto.python_programs import module_command
from impasto_server.fleet.worker_process import ConfigurationError
from impasto_server.gateway.listening import why_not
from impasto_server.gateway.settings import Settings
from impasto_server.logs import events_descriptor
from impasto_server.temporary import TemporaryFolder
from impasto_server.web.options import Options

_log = logging.getLogger(__name__)

_BACKLOG = 1024
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.2, 10.0
_LASTING_SECONDS = 30.0
"""A process that lived so long has started well; the next one is started at once."""

_END_SECONDS = 2.5

_PING_SECONDS = 2.0
_MOST_SILENCES = 5
"""Of so many pings in a row one must be answered; the first only once the process has started."""

_START_SECONDS = 60.0

# Connections inherit these. A caller that vanished, or that reads nothing for two minutes, is disconnected;
# and the system keeps little unsent data, so that a slow reader gets new previews.
_OPTIONS = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
if sys.platform == "linux":
    _OPTIONS += [
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 120_000),
        (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 16_384),
    ]


class FrontEnd:
    """The front end's process, the socket on which it listens, and the one on which it calls the gateway.

    Attributes:
        port: of the page.
        url: of the page on this server's host.
        gateway: address on which the gateway must listen for the front end.
        restarts: number of times that the process was replaced.
    """

    def __init__(self, settings: Settings, *, uses_tokens: bool) -> None:
        """Opens both sockets; `start` starts the process.

        Args:
            settings: of the server, with a `web_port`.
            uses_tokens: whether callers need a token.

        Raises:
            ConfigurationError: the front end cannot run with these settings.
        """
        check_page(settings, uses_tokens=uses_tokens)
        self.restarts = 0
        self._socket = _listen(settings)
        self.port: int = self._socket.getsockname()[1]
        scheme = "http" if settings.tls_cert is None else "https"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.url = f"{scheme}://{host}:{self.port}/"
        self._folder = TemporaryFolder("impasto-web-", parent=_short_parent())
        self.gateway = f"unix:{self._folder.path / 'gateway'}"
        self._options = Options(
            listener=self._socket.fileno(),
            gateway=self.gateway,
            needs_token=uses_tokens,
            origins=settings.web_origin,
            url=settings.web_url,
            tls_cert=settings.tls_cert,
            tls_key=settings.tls_key,
            tls_client_ca=settings.tls_client_ca,
            max_request_memory=settings.max_request_memory,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def process_id(self) -> int | None:
        """The PID of the process; None while there is no process."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Starts the process, and starts it again whenever it ends."""
        self._keeping = asyncio.create_task(self._keep_alive())

    async def stop(self) -> None:
        """Ends the process in good order, and closes the sockets."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._socket.close()
        process = self._process
        if process is not None and process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _END_SECONDS)
            except (asyncio.TimeoutError, TimeoutError):
                _log.warning("the front end does not end and is killed pid=%d", process.pid)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._folder.remove()

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = _FIRST_BACKOFF
        while True:
            started = loop.time()
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *module_command("impasto_server.web"),
                    *self._options.arguments(),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=events_descriptor(),
                    pass_fds=[self._socket.fileno()],
                )
                pinging = asyncio.create_task(_ping(self._process))
                try:
                    code = await self._process.wait()
                finally:
                    pinging.cancel()
                _log.error("front end ended and is started again pid=%d code=%d", self._process.pid, code)
            except OSError as error:
                _log.error("front end cannot be started error=%r", str(error))
            self.restarts += 1
            if loop.time() - started > _LASTING_SECONDS:
                backoff = _FIRST_BACKOFF
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF)


async def _ping(process: asyncio.subprocess.Process) -> None:
    """Kills a process that does not answer any more."""
    assert process.stdin is not None
    assert process.stdout is not None
    # Counted in pings, not by the clock: the process is not blamed if this one itself was stopped.
    most = round(_START_SECONDS / _PING_SECONDS)
    silences = 0
    with contextlib.suppress(OSError):
        while silences < most:
            process.stdin.write(b".")
            try:
                if not await asyncio.wait_for(process.stdout.read(4096), _PING_SECONDS):
                    return
            except (asyncio.TimeoutError, TimeoutError):
                silences += 1
                continue
            silences, most = 0, _MOST_SILENCES
            await asyncio.sleep(_PING_SECONDS)
        _log.error("front end does not answer and is killed pid=%d", process.pid)
        process.kill()


def check_page(settings: Settings, *, uses_tokens: bool) -> None:
    """Checks that a front end can run with these settings.

    Raises:
        ConfigurationError: it cannot.
    """
    if sys.version_info < (3, 11):
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise ConfigurationError(
            f"--web-port needs Python 3.11 or newer, and this is Python {version}; use a newer one, or leave "
            "--web-port out"
        )
    if settings.tls_client_ca is not None and not uses_tokens:
        raise ConfigurationError(
            "--web-port needs tokens where --tls-client-ca names the callers; make some with `impasto-server "
            "token add NAME`, or leave --web-port out"
        )


def _listen(settings: Settings) -> socket.socket:
    """Opens the socket on which the front end listens.

    The gateway keeps it open, so that callers wait, and are not refused, while the process is started again.
    """
    host, port = settings.host, settings.web_port or 0
    opened: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host == "::":
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        for level, option, value in _OPTIONS:
            opened.setsockopt(level, option, value)
        opened.bind(address)
        opened.listen(_BACKLOG)
    except OSError as error:
        if opened is not None:
            opened.close()
        raise ConfigurationError(why_not(error, host, port, "--web-port")) from error
    return opened


def _short_parent() -> str | None:
    """The folder for a socket, whose name must be short; None for the usual one for temporary files."""
    return "/tmp" if Path("/tmp").is_dir() else None
