"""The broker's process, `python -m impasto_server.fleet.on_ray`. The fleet starts it, not people.

It reads requests from stdin and writes answers to stdout, each a line of JSON; see `broker.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import secrets
import sys
from collections.abc import Callable
from typing import Any

from impasto_server.logs import FORMATS, LEVELS, log_to_stderr

_log = logging.getLogger(__name__)

NOT_INSTALLED = 78
"""Exit code if Ray is not installed."""


def main() -> None:
    """Connects to a cluster, then does what the gateway asks until stdin closes."""
    parser = argparse.ArgumentParser(prog="python -m impasto_server.fleet.on_ray", description=__doc__)
    parser.add_argument(
        "--address", required=True, help="of the cluster: auto, HOST:PORT, ray://HOST:PORT, local"
    )
    parser.add_argument("--namespace", required=True, help="namespace of this gateway's actors")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="minimum level of log lines")
    parser.add_argument("--log-format", choices=FORMATS, default="text", help="format of log lines")
    arguments = parser.parse_args()
    # Ray prints to stdout, where the gateway expects only answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    log_to_stderr("broker", arguments.log_level, arguments.log_format)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without this, a client of Ray that has lost its cluster would connect to any other that runs here, or
    # start one.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    if arguments.address == "local":
        # Only this process needs to reach its cluster. Without these, Ray would write a token for all
        # clusters of this user into the home folder.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray  # noqa: F401
    except ImportError:
        sys.exit(NOT_INSTALLED)
    from impasto_server.fleet.on_ray.cluster import Cluster

    try:
        cluster = Cluster(arguments.address, arguments.namespace)
    except Exception as error:
        # The gateway may have ended meanwhile.
        with contextlib.suppress(BrokenPipeError):
            _tell(answers, {"failed": _in_a_line(error)})
        sys.exit(1)
    with contextlib.suppress(BrokenPipeError):
        _tell(answers, {"connected": cluster.description})
    try:
        asyncio.run(_Broker(cluster, answers).serve())
    finally:
        cluster.leave()


def _tell(descriptor: int, message: dict[str, Any]) -> None:
    line = json.dumps(message).encode() + b"\n"
    while line:
        line = line[os.write(descriptor, line) :]


def _in_a_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith("Traceback ") for line in lines):
        lines = lines[-1:]
    return f"{type(error).__name__}: {' '.join(lines[:3])[:500]}" if lines else type(error).__name__


class _Broker:
    """Answers requests."""

    def __init__(self, cluster: Any, answers: int) -> None:
        self._cluster = cluster
        self._answers = answers
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Answers requests until stdin closes."""
        reader = asyncio.StreamReader(limit=1 << 22)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            task = asyncio.create_task(self._answer(json.loads(line)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: dict[str, Any]) -> None:
        from impasto_server.fleet.on_ray.cluster import kind_of

        number, method = request.pop("id"), request.pop("do")
        answer: dict[str, Any] = {"id": number}
        try:
            work: Callable[..., Any] = getattr(self._cluster, method)
            answer["answer"] = await work(**request)
        except Exception as error:
            if self._cluster.is_lost(error):
                with contextlib.suppress(BrokenPipeError):
                    _tell(self._answers, {"failed": _in_a_line(error)})
                # The gateway starts a new broker. A tidy end could wait for the cluster.
                os._exit(1)
            answer["error"] = {"kind": kind_of(error), "text": _in_a_line(error)}
        with contextlib.suppress(BrokenPipeError):
            _tell(self._answers, answer)


if __name__ == "__main__":
    main()
