"""How the server's processes log: one line per event on stderr, as key=value or as JSON."""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

_PAIR = re.compile(r" (\w+)=('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S*)")


class _Json(logging.Formatter):
    """Events of the form "what happened key=value key='other value'" as objects."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        time = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        event = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._process,
            "event": _PAIR.sub("", message),
        }
        event |= {key: value.strip("'\"") for key, value in _PAIR.findall(message)}
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


def log_to_stderr(process: str, level: str, format: str = "text") -> None:
    """Logs this process's events, named after it, from a level of `LEVELS` up, in one of `FORMATS`."""
    handler = logging.StreamHandler(sys.stderr)
    if format == "json":
        handler.setFormatter(_Json(process))
    else:
        handler.setFormatter(
            logging.Formatter(
                f"time=%(asctime)s.%(msecs)03d level=%(levelname)s process={process} event=%(message)s",
                datefmt="%Y-%m-%dT%H:%M:%S",
            )
        )
    logging.basicConfig(level=level.upper(), handlers=[handler])
