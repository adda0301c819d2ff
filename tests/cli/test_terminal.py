"""Output on a terminal: no control characters from others, and the terminal is restored."""

from __future__ import annotations

import ast
import io
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from google.rpc import error_details_pb2
from rich.console import Console

from impasto import cli, wire
from impasto.cli.terminal import Bar
from impasto.cli.words import ScaleName, clean
from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.command_line import Impasto
from support.fake_server import FakeServer, refuse

COMMAND = [sys.executable, "-c", "from impasto.cli import main; main()"]
EVIL = "a\x1b]0;owned\x07b\x1b[2Jc\x9b1md\x7f\ne\u202ef\r[red]g[/] \\"
HARMLESS = "a�]0;owned�b�[2Jc�1md� e�f [red]g[/] \\"


@pytest.mark.parametrize(
    "text",
    ["", "Sternennacht – La nuit étoilée", "星月夜", "ليلة النجوم", "👩‍👩‍👧 🏳️‍🌈 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "a\u200fb", "½ × [x]"],
)
def test_clean_keeps_every_language_and_emoji(text: str) -> None:
    assert clean(text) == text


def test_clean_replaces_control_characters() -> None:
    assert clean(EVIL) == HARMLESS
    assert clean("\udcff.png") == "\ufffd.png"
    assert clean("\0\b\t|\u2028|") == "\ufffd\ufffd | |"


def is_clean(shown: str) -> bool:
    return not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c == "\u202e" for c in shown)


def test_titles_and_names_of_others_are_harmless(at_fake: Impasto, fake: FakeServer) -> None:
    fake.jobs["jobs/abcdefghij"] = pb.Job(
        name="jobs/abcdefghij", state=pb.JOB_STATE_RUNNING, title=EVIL, device=EVIL
    )
    fake.jobs[f"jobs/x{EVIL}"] = pb.Job(name=f"jobs/x{EVIL}", state=pb.JOB_STATE_RUNNING)
    for arguments in (
        ["jobs"],
        ["pause", "x"],
        ["delete", "x"],
        ["pause", f"none{EVIL}"],
        ["cancel", f"jobs/{EVIL}"],
    ):
        outcome = at_fake(*arguments)
        assert outcome.out or outcome.err
        assert is_clean(outcome.out), arguments
        assert is_clean(outcome.err), arguments
    listed = at_fake("jobs").out
    assert "owned" in listed
    assert "[red]g[/]" in listed


def test_errors_of_the_server_are_harmless(stylize: Impasto, fake: FakeServer) -> None:
    told = error_details_pb2.BadRequest()
    told.field_violations.add(field="spec.styles[0]", description=EVIL)
    for script in (
        refuse(fake_server.grpc.StatusCode.INVALID_ARGUMENT, "no", told),
        refuse(fake_server.grpc.StatusCode.FAILED_PRECONDITION, EVIL),
    ):
        fake.script = script
        outcome = stylize()
        assert "owned" in outcome.err
        assert is_clean(outcome.err)


def test_names_of_files_are_harmless(impasto: Impasto, fake: FakeServer) -> None:
    at = ("--server", fake.address)
    name = EVIL.replace("/", "") + ".png"
    outcome = impasto("stylize", "content.png", "style.png", "-o", name, *at)
    assert outcome.code == 0
    assert Path(name).exists()
    assert is_clean(outcome.out)
    outcome = impasto("stylize", f"none{EVIL}", "style.png", "-o", "o.png", *at)
    assert outcome.code == 2
    assert is_clean(outcome.err)


def test_json_has_the_whole_text_with_control_characters_escaped(at_fake: Impasto, fake: FakeServer) -> None:
    fake.jobs["jobs/abc"] = pb.Job(name="jobs/abc", state=pb.JOB_STATE_RUNNING, title=EVIL)
    outcome = at_fake("jobs", "--json")
    assert is_clean(outcome.out)
    assert outcome.lines[0]["title"] == EVIL


def test_the_commands_print_only_text_that_is_safe() -> None:
    assert cli.__file__ is not None
    for file in Path(cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                printed = ast.unparse(node.args[0])
                # JSON escapes control characters, and a QR code has only blocks.
                assert printed.startswith(
                    ("clean(", "json.dumps(", "page.qr_code(", 'f"impasto {version', "f'impasto {version")
                ), (
                    file,
                    printed,
                )


def test_the_bar_shows_the_search_for_neighbours_instead_of_the_losses() -> None:
    shown = io.StringIO()
    bar = Bar(Console(file=shown, force_terminal=True, width=120, legacy_windows=False))
    no_content = fake_server.numbers(4)
    no_content.content_loss = 0
    try:
        for told, line in (
            (fake_server.numbers(0, preparing=0.4), "scale 1/2 24×16 0/4 finding neighbours 40 % 0.0 s"),
            (fake_server.numbers(1), "scale 1/2 24×16 1/4 content 0.25 style 1.25 0.1 s, 0.3 s left"),
            (
                fake_server.numbers(2, scale=2, preparing=0.996),
                "scale 2/2 48×32 2/4 finding neighbours 100 % 0.2 s",
            ),
            (no_content, "scale 1/2 24×16 4/4 style 1.25 0.4 s, 0.0 s left"),
        ):
            bar.event(wire.progress(told), None)
            bar._bar.refresh()
            *_, drawn = shown.getvalue().split("\x1b[2K")
            assert " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[━╸╺]", "", drawn).split()) == line
    finally:
        bar.close()


def test_a_last_pass_at_the_size_of_the_scale_before_is_named() -> None:
    names = ScaleName()
    shown = []
    for scale, size in ((1, 24), (2, 48), (3, 48), (3, 48)):
        told = fake_server.numbers(scale, scale=1)
        told.scale, told.scales, told.width, told.height = scale, 3, size, size
        shown.append(names.of(wire.progress(told)))
    assert shown == [
        "scale 1/3 24×24",
        "scale 2/3 48×48",
        "scale 3/3 48×48, last pass",
        "scale 3/3 48×48, last pass",
    ]


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
def test_a_log_has_no_redrawn_lines(fake: FakeServer, tmp_path: Path, variable: str) -> None:
    run = subprocess.run(
        [*COMMAND, "demo", "--server", fake.address],
        cwd=tmp_path,
        env={**os.environ, variable: "1", "TERM": "xterm"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0
    assert "evaluation 3/4" in run.stderr
    for control in ("\x1b[2K", "\x1b[?25l", "\x1b[1A"):
        assert control not in run.stderr + run.stdout


def test_the_table_of_jobs_is_printed_once_without_a_terminal(fake: FakeServer, tmp_path: Path) -> None:
    run = subprocess.run(
        [*COMMAND, "jobs", "--server", fake.address],
        cwd=tmp_path,
        env={**os.environ, "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0
    assert len(fake.called("ListJobs")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_leaves_the_terminal_and_the_job_as_ctrl_c_does(
    fake: FakeServer, tmp_path: Path, number: signal.Signals
) -> None:
    fake.script = fake_server.paint_forever
    ours, theirs = pty.openpty()
    # A shell that runs the tests in the background may ignore the signal, and so would the command.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            [*COMMAND, "demo", "--server", fake.address],
            cwd=tmp_path,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )
    finally:
        signal.signal(number, before)
    os.close(theirs)
    shown, drawn = bytearray(), threading.Event()

    def read() -> None:
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # The other end is closed.
                return
            shown.extend(piece)
            # It has begun to draw what it then has to take away.
            if b"\x1b[?25l" in shown and b"scale 2" in shown:
                drawn.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert drawn.wait(60)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    reader.join(60)
    os.close(ours)
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l") >= 0
    assert b"cancelled" in shown
    assert b"Traceback" not in shown
    assert fake.left.wait(10)
    assert fake.called("CancelJob")


def test_a_signal_that_is_ignored_stays_ignored(fake: FakeServer, tmp_path: Path) -> None:
    program = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "from impasto.cli.signals import end_in_good_order; end_in_good_order();"
        "signal.raise_signal(signal.SIGHUP); print('goes on')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, "goes on\n")
