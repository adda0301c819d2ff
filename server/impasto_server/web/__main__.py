"""The front end's process: `python -m impasto_server.web`. The gateway starts it; people do not.

It ends when its stdin closes or with SIGTERM, after open requests have ended. What it reads from stdin it
writes to stdout, which shows that it is not stuck.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys

from impasto_server.logs import log_to_stderr
from impasto_server.web.options import Options, parse

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serves until the gateway ends."""
    options = parse()
    # The gateway decides when this process ends, but Ctrl-C in a terminal signals both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Before gRPC is imported.
    log_to_stderr("web", options.log_level, options.log_format)
    asyncio.run(_serve(options))


async def _serve(options: Options) -> None:
    from impasto_server.web.application import Application
    from impasto_server.web.serving import serve_application

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    os.set_blocking(sys.stdin.fileno(), False)
    loop.add_reader(sys.stdin.fileno(), _on_stdin, stop)
    application = Application(options)
    try:
        await serve_application(application, options, stop.wait)
    finally:
        await application.close()


def _on_stdin(stop: asyncio.Event) -> None:
    if ping := os.read(sys.stdin.fileno(), 4096):
        os.write(sys.stdout.fileno(), ping)
    else:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


if __name__ == "__main__":
    main()
