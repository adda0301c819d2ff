from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from impasto import process_notes
from impasto.process_notes import ProcessNotes, told_apart

Started = Callable[[], "subprocess.Popen[bytes]"]


def started() -> subprocess.Popen[bytes]:
    """A process that runs until its stdin closes."""
    return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)


@pytest.fixture
def notes(tmp_path: Path) -> ProcessNotes:
    return ProcessNotes(tmp_path / "users")


def test_a_note_holds_as_long_as_the_process(notes: ProcessNotes, tmp_path: Path) -> None:
    assert not notes.any()
    with started() as process:
        notes.write(process.pid)
        assert notes.processes() == [process.pid]
        process.kill()
        # Its parent has not asked for its end yet.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert told_apart(process.pid) is None
        assert not notes.any()
    assert list((tmp_path / "users").iterdir()) == []


def test_a_later_process_of_the_same_id_is_another_one(notes: ProcessNotes, tmp_path: Path) -> None:
    notes.write(os.getpid())
    (tmp_path / "users" / str(os.getpid())).write_text("started long ago")
    assert not notes.any()


def test_a_note_can_be_removed(notes: ProcessNotes) -> None:
    notes.write(os.getpid())
    notes.remove(os.getpid())
    notes.remove(os.getpid())
    assert not notes.any()


def test_a_note_can_stay(notes: ProcessNotes) -> None:
    assert not notes.stays
    notes.stay(True)
    assert notes.stays
    assert notes.any()
    notes.stay(False)
    notes.stay(False)
    assert not notes.any()


def test_only_the_user_can_read_the_notes(notes: ProcessNotes, tmp_path: Path) -> None:
    notes.write(os.getpid())
    assert (tmp_path / "users").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(sys.platform == "win32", reason="there is no ps")
def test_systems_without_proc_ask_ps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with started() as process:
        seen = told_apart(process.pid)
        assert seen is not None
        assert seen == told_apart(process.pid) != told_apart(os.getppid())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert told_apart(process.pid) is None
    assert told_apart(process.pid) is None


def test_a_server_that_ends_says_so(notes: ProcessNotes, tmp_path: Path) -> None:
    notes.write(os.getpid())
    assert not notes.end_unless_used()
    assert not notes.ending
    notes.remove(os.getpid())
    assert notes.end_unless_used()
    assert notes.ending
    # One that has ended since.
    (tmp_path / "users" / "ending").write_text(f"{os.getpid()} started long ago")
    assert not notes.ending


def test_a_user_who_comes_at_the_last_moment_keeps_the_server(
    notes: ProcessNotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = notes._write

    def late(name: str, text: str) -> None:
        notes.stay(True) if name == process_notes.ENDING else None
        write(name, text)

    monkeypatch.setattr(notes, "_write", late)
    assert not notes.end_unless_used()
    assert not notes.ending
