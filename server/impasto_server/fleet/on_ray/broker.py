"""The gateway's side of the broker, the process that speaks to Ray."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from typing import Any

from impasto.python_programs import module_command
from impasto_server.logs import events_descriptor

_log = logging.getLogger(__name__)

_MODULE = "impasto_server.fleet.on_ray"
# See `__main__.NOT_INSTALLED`, which cannot be imported without running that program's module.
_NOT_INSTALLED = 78
_FIRST_BACKOFF, _MAX_BACKOFF = 0.5, 10.0
_STABLE_SECONDS = 30.0
_END_SECONDS = 3.0
_SLOW_SECONDS = 10.0
"""Time after which a connection in progress is told about. Ray itself gives up after more than a minute."""
_LINE_BYTES = 1 << 26


class BrokerGone(Exception):
    """The broker ended before it answered, or is not connected to a cluster."""


class ClusterError(Exception):
    """Ray could not do what was asked.

    Attributes:
        kind: see `cluster.kind_of`.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class RayMissing(Exception):
    """Ray is not installed."""


class Broker:
    """The broker's process, which is started again whenever it ends.

    Attributes:
        connected: set while it is connected to a cluster.
        connections: number of times that it has connected.
        address: of the cluster.
        trouble: why it is not connected, if that is known.
    """

    def __init__(self, address: str, namespace: str, *, log_level: str, log_format: str) -> None:
        """
        Args:
            address: of the cluster.
            namespace: of the actors.
            log_level, log_format: of the process.
        """
        self.connected = asyncio.Event()
        self.connections = 0
        self.address = address
        self.trouble = ""
        self._command = [*module_command(_MODULE), "--address", address, "--namespace", namespace]
        self._command += ["--log-level", log_level, "--log-format", log_format]
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def keep_alive(self) -> None:
        """Starts the process, and starts it again whenever it ends, until cancelled.

        Raises:
            RayMissing: Ray is not installed.
        """
        backoff = _FIRST_BACKOFF
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            why = self.trouble = await self._run_once()
            _log.warning("cluster cannot be reached address=%s why=%r", self.address, why)
            if loop.time() - started > _STABLE_SECONDS:
                backoff = _FIRST_BACKOFF
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _MAX_BACKOFF)

    async def call(self, method: str, **arguments: Any) -> Any:
        """Has the broker do something; see the methods of `cluster.Cluster`.

        Raises:
            BrokerGone: the broker ended before it answered.
            ClusterError: Ray could not do it.
        """
        if not self.connected.is_set() or self._process is None or self._process.stdin is None:
            raise BrokerGone
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            line = json.dumps({"id": number, "do": method, **arguments}).encode() + b"\n"
            with contextlib.suppress(ConnectionError):
                self._process.stdin.write(line)
                await self._process.stdin.drain()
            return await answer
        finally:
            self._waiting.pop(number, None)

    def kill(self) -> None:
        """Kills the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _run_once(self) -> str:
        """Runs the process from start to end, and returns why it ended."""
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=events_descriptor(),
            limit=_LINE_BYTES,
            start_new_session=True,
        )
        why = ""
        slow = asyncio.create_task(self._tell_if_slow())
        try:
            assert process.stdout is not None
            while line := await process.stdout.readline():
                why = self._take(json.loads(line)) or why
            code = await process.wait()
            if code == _NOT_INSTALLED:
                raise RayMissing
            return why or f"the broker ended with exit code {code}"
        finally:
            slow.cancel()
            self.connected.clear()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(BrokerGone())
                    # Nobody may be waiting any more.
                    answer.exception()
            await self._end(process)

    async def _tell_if_slow(self) -> None:
        await asyncio.sleep(_SLOW_SECONDS)
        if not self.connected.is_set():
            self.trouble = f"no answer for {_SLOW_SECONDS:g} s"
            _log.warning("cluster does not answer yet address=%s seconds=%g", self.address, _SLOW_SECONDS)

    def _take(self, message: dict[str, Any]) -> str:
        """Handles a line of the broker; returns why it cannot connect, if it says so."""
        if "failed" in message:
            return str(message["failed"])
        if "connected" in message:
            _log.info("connected to a cluster address=%s version=%r", self.address, message["connected"])
            self.trouble = ""
            self.connections += 1
            self.connected.set()
            return ""
        answer = self._waiting.get(message["id"])
        if answer is not None and not answer.done():
            if "error" in message:
                answer.set_exception(ClusterError(**message["error"]))
            else:
                answer.set_result(message["answer"])
        return ""

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except (asyncio.TimeoutError, asyncio.CancelledError):
            self.kill()
            await process.wait()
