from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from impasto_server import logs


def line(format: str, template: str, *arguments: object) -> str:
    """An event as a separate process logs it."""
    program = (
        "import logging, sys; from impasto_server.logs import log_to_stderr; "
        f"log_to_stderr('gateway', 'info', {format!r}); logging.info({template!r}, *{arguments!r})"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (only,) = ended.stderr.splitlines()
    return only


def json_of(template: str, *arguments: object) -> dict[str, object]:
    record = logging.LogRecord("a", logging.INFO, "a.py", 1, template, arguments, None)
    read = json.loads(logs._Json("gateway").format(record))
    assert isinstance(read, dict)
    return read


@pytest.mark.parametrize(
    ("template", "arguments", "event", "pairs"),
    [
        ("job left job=%s state=%s", ("jobs/1", "failed"), "job left", {"job": "jobs/1", "state": "failed"}),
        ("worker died restarts=%d", (3,), "worker died", {"restarts": 3}),
        ("job accepted size=%dx%d", (3, 4), "job accepted", {"size": "3x4"}),
        ("style path=%s error=%r", ("/My Styles/a", 'it\'s "x"\n'), "style", {
            "path": "/My Styles/a", "error": 'it\'s "x"\n'}),
        ("job ended error=%r", ("state=succeeded level=x",), "job ended", {
            "error": "state=succeeded level=x"}),
        ("shutting down", (), "shutting down", {}),
        ("what a=1 happened", (), "what a=1 happened", {}),
    ],
)  # fmt: skip
def test_an_event_is_logged_as_json(
    template: str, arguments: tuple[object, ...], event: str, pairs: dict[str, object]
) -> None:
    read = json_of(template, *arguments)
    assert read.pop("event") == event
    assert (read.pop("level"), read.pop("process")) == ("INFO", "gateway")
    assert str(read.pop("time")).endswith("+00:00")
    assert read == pairs


def test_no_value_can_replace_a_field_of_the_log() -> None:
    assert json_of("x level=%s time=%s event=%s", "a", "b", "c")["level"] == "INFO"


def test_an_event_is_always_one_line() -> None:
    said = line("text", "style cannot be read path=%s number=%d", "a\nevent=b c", 1)
    assert said.endswith(r"process=gateway event=style cannot be read path='a\nevent=b c' number=1")
    read = json.loads(line("json", "style cannot be read path=%s", "a\nb"))
    assert read["path"] == "a\nb"


def test_an_exception_is_logged_with_its_event() -> None:
    try:
        raise KeyError("x")
    except KeyError:
        record = logging.LogRecord("a", logging.ERROR, "a.py", 1, "call failed", (), sys.exc_info())
    read = json.loads(logs._Json("gateway").format(record))
    assert "KeyError: 'x'" in read["exception"]
    assert "KeyError: 'x'" in logs._Text("gateway").format(record)


def test_every_line_on_stderr_is_an_event_of_a_json_log() -> None:
    program = """
import logging, os, sys, threading, warnings
from impasto_server.logs import events_descriptor, log_to_stderr
log_to_stderr("gateway", "info", "json")
logging.info("first name=%s", "é\\u009b2J\\u202e")
os.write(2, b"E1126 call.cc:358] from a library \\xff\\n\\n")
warnings.warn("careful")
os.write(events_descriptor(), b'{"process": "worker", "event": "its own"}\\n')
threading.Thread(target=lambda: 1 / 0).start()
print("no line end", end="", file=sys.stderr)
raise KeyError("last")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert ended.returncode == 1
    assert b"\xc2\x9b" not in ended.stderr
    assert b"\xe2\x80\xae" not in ended.stderr
    events = [json.loads(line) for line in ended.stderr.splitlines()]
    assert {event["process"] for event in events} == {"gateway", "worker"}
    assert events[0]["name"] == "é\x9b2J\u202e"
    said = " ".join(str(event.get("line", event["event"])) for event in events)
    for words in ("from a library \\xff", "careful", "its own", "ZeroDivisionError", "KeyError: 'last'"):
        assert words in said
    assert "no line end" in said
