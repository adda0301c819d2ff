from __future__ import annotations

from pathlib import Path

from impasto_server.worker.turn_file import LENGTH, TurnFile


def test_it_contains_the_name_of_the_job_whose_turn_it_is(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    turn_file = TurnFile(path)
    assert path.read_bytes() == bytes(LENGTH)
    for name in ("jobs/a-rather-long-name", "jobs/b", ""):
        turn_file.write(name)
        assert path.read_bytes() == name.encode().ljust(LENGTH, b"\0")


def test_the_name_from_an_earlier_process_is_cleared(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    TurnFile(path).write("jobs/a")
    assert path.read_bytes().strip(b"\0") == b"jobs/a"
    TurnFile(path)
    assert path.read_bytes() == bytes(LENGTH)
