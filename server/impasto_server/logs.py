"""How the server's processes log: one line per event on stderr, as key=value or as JSON.

Where events are objects, everything on stderr is: what libraries and the interpreter write there themselves
is logged line by line.

An event is logged as what happened and what is to be known of it, with a template that says which is which:
`log.info("job ended job=%s state=%s", name, state)`. The pairs are taken from the template, never from the
values, so that no value can pass for another pair, whatever is in it.
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

# Where events go, if that is not where everything else goes that is written to stderr.
_events: int | None = None


def log_to_stderr(process: str, level: str, format: str = "text") -> None:
    """Logs this process's events, named after it, from a level of `LEVELS` up, in one of `FORMATS`.

    gRPC's core writes lines of its own, some for every call that somebody gets wrong: there are none unless
    the environment has GRPC_VERBOSITY. To be called before gRPC is imported.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    stream = sys.stderr if format != "json" else _take_over_stderr()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Json(process) if format == "json" else _Text(process))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(True)


def events_descriptor() -> int | None:
    """What a child process that logs in the same form is given as its stderr; None: this process's own."""
    return _events


def _take_over_stderr() -> TextIO:
    """Has whatever is written to stderr logged, and returns the stream that leads to where it led."""
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
    """The last lines are logged before the process ends."""
    sys.stderr.flush()
    os.dup2(events, sys.stderr.fileno())
    # Children may hold the pipe open.
    reader.join(1.0)


class _Text(logging.Formatter):
    """Events as key=value; what has blanks in it, as Python writes it."""

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
    """Events as objects."""

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
        # A terminal that shows the log obeys these, which JSON lets stand.
        return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(event, ensure_ascii=False))


def _read(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """What happened, and what is to be known of it."""
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
        # As it is, so that JSON has numbers as numbers and texts without quotes.
        if part in ("%s", "%r", "%d") and isinstance(own[0], str | int):
            return own[0]
        return part % tuple(own)

    what = str(filled(event["what"]))
    return what, {key: filled(part) for key, part in _PAIR.findall(event["pairs"])}


def _quoted(value: object) -> str:
    text = str(value)
    return text if re.fullmatch(r"[^\s'\"]+", text) and text.isprintable() else repr(text)
