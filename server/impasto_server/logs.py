"""How the server's processes log: one line per event on stderr, key=value."""

from __future__ import annotations

import logging
import sys

LEVELS = ("debug", "info", "warning", "error")


def log_to_stderr(process: str, level: str) -> None:
    """Logs this process's events, named after it, from a level of `LEVELS` up."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format=f"time=%(asctime)s.%(msecs)03d level=%(levelname)s process={process} event=%(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
