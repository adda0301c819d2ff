"""How the server's processes log: one line per event on stderr, as key=value or as JSON.

An event is logged as what happened and what is to be known of it, with a template that says which is which:
`log.info("job ended job=%s state=%s", name, state)`. The pairs are taken from the template, never from the
values, so that no value can pass for another pair, whatever is in it.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

_EVENT = re.compile(r"(?P<what>[^=]*?)(?P<pairs>(?: \w+=\S+)*)", re.DOTALL)
_PAIR = re.compile(r" (\w+)=(\S+)")
_PLACE = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")


def log_to_stderr(process: str, level: str, format: str = "text") -> None:
    """Logs this process's events, named after it, from a level of `LEVELS` up, in one of `FORMATS`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(process) if format == "json" else _Text(process))
    logging.basicConfig(level=level.upper(), handlers=[handler])


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
        return json.dumps(event, ensure_ascii=False)


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
