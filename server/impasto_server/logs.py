"""Logging of the server's processes: one line per event on stderr, as key=value or as JSON.

With JSON every line on stderr is an object: lines that libraries or the interpreter write there are logged as
events.

An event is logged with a template that names what happened and its values:
`log.info("job ended job=%s state=%s", name, state)`. The keys are taken from the template, never from the
values, so that no value can pass for another key, whatever it contains.
"""

from __future__ import annotations

import atexit
import datetime
import json
import logging
import os
import re
import sys
import threading
from typing import TextIO

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

_EVENT = re.compile(r"(?P<what>[^=]*?)(?P<pairs>(?: \w+=\S+)*)", re.DOTALL)
_PAIR = re.compile(r" (\w+)=(\S+)")
_CONTROLS = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_PLACE = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")


_log = logging.getLogger(__name__)

# The descriptor that events are written to, if it is not stderr.
_events: int | None = None


def log_to_stderr(process: str, level: str, format: str = "text") -> None:
    """Logs the events of this process to stderr. Call it before gRPC is imported.

    Also silences the lines of gRPC's core, which writes some for every invalid call, unless GRPC_VERBOSITY is
    set in the environment.

    Args:
        process: its name in the log.
        level: the lowest level that is logged, one of `LEVELS`.
        format: one of `FORMATS`.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    stream = sys.stderr if format != "json" else _take_over_stderr()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Json(process) if format == "json" else _Text(process))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(True)


def events_descriptor() -> int | None:
    """The stderr for a child process that logs in the same format; None for this process's own stderr."""
    return _events


def _take_over_stderr() -> TextIO:
    """Has everything logged that is written to stderr, and returns a stream to the original stderr."""
    global _events
    sys.stderr.flush()
    _events = os.dup(sys.stderr.fileno())
    source, sink = os.pipe()
    os.dup2(sink, sys.stderr.fileno())
    os.close(sink)
    reader = threading.Thread(target=_log_lines, args=(source,), name="stderr", daemon=True)
    reader.start()
    atexit.register(_give_stderr_back, _events, reader)
    return os.fdopen(_events, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _log_lines(source: int) -> None:
    with os.fdopen(source, encoding="utf-8", errors="backslashreplace") as lines:
        for line in lines:
            if line.strip():
                _log.warning("line written to stderr line=%s", line.rstrip("\n"))


def _give_stderr_back(events: int, reader: threading.Thread) -> None:
    """Restores stderr, and waits until the last lines are logged."""
    sys.stderr.flush()
    os.dup2(events, sys.stderr.fileno())
    # Child processes may keep the pipe open.
    reader.join(1.0)


class _Text(logging.Formatter):
    """Writes events as key=value; a value with blanks is quoted as in Python."""

    def __init__(self, process: str) -> None:
        super().__init__(
            f"time=%(asctime)s.%(msecs)03d level=%(levelname)s process={process} event=%(message)s",
            datefmt="%Y-%m-%dT%H:%M:%S",
        )

    def formatMessage(self, record: logging.LogRecord) -> str:
        what, pairs = _read(record)
        record.message = what + "".join(f" {key}={_quoted(value)}" for key, value in pairs.items())
        return super().formatMessage(record)


class _Json(logging.Formatter):
    """Writes events as JSON objects."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        what, pairs = _read(record)
        time = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        event: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._process,
            "event": what,
        }
        event = {**event, **pairs, **event}
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        # JSON leaves these characters as they are, and a terminal that shows the log would obey them.
        return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(event, ensure_ascii=False))


def _read(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """Splits a record into what happened and its values by key."""
    template = str(record.msg)
    event = _EVENT.fullmatch(template)
    if event is None or (record.args and not isinstance(record.args, tuple)):
        return record.getMessage(), {}
    values = list(record.args or ())

    def filled(part: str) -> object:
        if not record.args:
            return part
        count = len(_PLACE.findall(part))
        own = values[:count]
        del values[:count]
        # Not formatted, so that JSON has numbers as numbers and text without extra quotes.
        if part in ("%s", "%r", "%d") and isinstance(own[0], str | int):
            return own[0]
        return part % tuple(own)

    what = str(filled(event["what"]))
    return what, {key: filled(part) for key, part in _PAIR.findall(event["pairs"])}


def _quoted(value: object) -> str:
    text = str(value)
    return text if re.fullmatch(r"[^\s'\"]+", text) and text.isprintable() else repr(text)
