"""Logs of the database that were damaged or truncated: the loss is noticed, and no file is deleted."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from impasto_server.store.log_damage import log_damage
from impasto_server.store.store import DATABASE, DiskFull, Store
from support.disks import fill, small_disk
from support.stored_jobs import files_in, make_job, new_record, succeed, write_checkpoint

PAGE_BYTES = 512
FRAME_BYTES = 24 + PAGE_BYTES


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


def frames(log: Path) -> int:
    return (log.stat().st_size - 32) // (24 + 4096)


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """The folder of a server that was started twice, created jobs each time, and then crashed."""
    store = Store(tmp_path / "running")
    make_job(store, b"kept")
    store.close()
    store = Store(tmp_path / "running")
    for number in range(6):
        make_job(store, b"picture %d" % number)
    succeed(store, make_job(store, b"done"), b"result")
    write_checkpoint(store, make_job(store, b"begun").job.name, 3, b"checkpoint")
    for number in range(6, 12):
        make_job(store, b"picture %d" % number)
    folder = tmp_path / "crashed"
    shutil.copytree(tmp_path / "running", folder)
    store.close()
    return folder


def contents(folder: Path) -> set[tuple[str, bytes]]:
    """Names and contents of all files of images, results and checkpoints, wherever they are in a folder."""
    paths = (folder / name for name in files_in(folder))
    return {(path.name, path.read_bytes()) for path in paths if not path.name.startswith(DATABASE)}


def damage(log: Path, way: str) -> None:
    middle = 32 + frames(log) // 2 * (24 + 4096)
    if way == "middle":
        flip(log, middle + 500)
    elif way == "last commit":
        flip(log, log.stat().st_size - 500)
    elif way == "head":
        flip(log, 20)
    elif way == "page size":
        flip(log, 8)
    elif way == "cut":
        os.truncate(log, middle)
    else:
        assert way == "cut within a frame"
        os.truncate(log, middle + 500)


@pytest.mark.parametrize("way", ["middle", "last commit", "head", "page size", "cut", "cut within a frame"])
def test_a_damaged_log_is_reported_and_no_file_is_deleted(
    crashed: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = crashed / f"{DATABASE}-wal"
    damage(log, way)
    before, database, damaged = contents(crashed), (crashed / DATABASE).read_bytes(), log.read_bytes()
    store = Store(crashed)
    [error] = [record for record in caplog.records if record.levelno == logging.ERROR]
    place = crashed / "unclaimed" / "1"
    assert f"are in {place}." in error.getMessage()
    assert 1 <= len(store.jobs.unfinished()) < 14
    assert before <= contents(crashed)
    assert (place / DATABASE).read_bytes() == database
    assert (place / log.name).read_bytes() == damaged
    assert store.missing == ()
    make_job(store, b"after")

    # The next opening finds nothing wrong, however this one ends.
    again = crashed.with_name("again")
    shutil.copytree(crashed, again)
    store.close()
    caplog.clear()
    for folder in (again, crashed):
        aside = {name for name in files_in(folder) if name.startswith("unclaimed")}
        Store(folder).close()
        assert {name for name in files_in(folder) if name.startswith("unclaimed")} == aside
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_damaged_log_that_cannot_be_copied_is_not_changed(crashed: Path, tmp_path: Path) -> None:
    damage(crashed / f"{DATABASE}-wal", "middle")
    with small_disk(tmp_path / "disk", 6) as disk:
        folder = disk / "store"
        shutil.copytree(crashed, folder)
        (folder / "reserve").unlink()
        names = {DATABASE, f"{DATABASE}-wal", *files_in(folder)}
        before = {name: (folder / name).read_bytes() for name in names}
        filler = fill(disk)
        with pytest.raises(DiskFull, match="make room"):
            Store(folder)
        assert {name: (folder / name).read_bytes() for name in names} == before
        assert files_in(folder) <= names
        filler.unlink()
        Store(folder).close()
        assert (folder / "unclaimed" / "1" / DATABASE).read_bytes() == before[DATABASE]


def test_an_intact_log_is_not_reported(crashed: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = files_in(crashed)
    store = Store(crashed)
    assert len(store.jobs.unfinished()) == 14
    assert files_in(crashed) == before
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    store.close()


def test_files_of_jobs_are_set_aside_if_the_log_was_removed(crashed: Path) -> None:
    (crashed / f"{DATABASE}-wal").unlink()
    before = contents(crashed)
    store = Store(crashed)
    assert len(store.jobs.unfinished()) == 1
    assert before <= contents(crashed)
    store.close()


def test_a_deleted_job_is_not_reported_as_lost(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(folder)
    store.jobs.delete(store.jobs.create(new_record()).job.name)
    store.close()
    Store(folder).close()
    assert not caplog.records


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a database with small pages: 6 commits of a row each, then frames of an earlier log."""
    path, copy = tmp_path / "made.sqlite3", tmp_path / "database.sqlite3"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE numbers (number INTEGER, text TEXT)")
        for number in range(20):
            database.execute("INSERT INTO numbers VALUES (?, ?)", (-number, "x" * 300))
        database.execute("PRAGMA wal_checkpoint(RESTART)")
        for number in range(6):
            database.execute("INSERT INTO numbers VALUES (?, ?)", (number, "y" * 300))
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    return tmp_path / "database.sqlite3-wal"


def rows(log: Path) -> int:
    """Number of rows that SQLite finds, in a copy, since it changes what it opens."""
    copy = log.with_name("copy.sqlite3")
    shutil.copy(log.with_name("database.sqlite3"), copy)
    shutil.copy(log, f"{copy}-wal")
    with contextlib.closing(sqlite3.connect(copy)) as database:
        database.execute("PRAGMA synchronous = OFF")
        return int(database.execute("SELECT count(*) FROM numbers").fetchone()[0])


def used_frames(log: Path) -> int:
    data = log.read_bytes()
    starts = range(32, len(data), FRAME_BYTES)
    return sum(data[start + 8 : start + 16] == data[16:24] for start in starts)


def test_every_flipped_byte_that_makes_sqlite_lose_rows_is_found(log: Path) -> None:
    assert log_damage(log) is None
    whole, used = log.read_bytes(), used_frames(log)
    assert rows(log) == 26
    assert len(whole) > 32 + (used + 2) * FRAME_BYTES
    last = 32 + (used - 1) * FRAME_BYTES
    missed = []
    version = range(4, 8)
    for place in [*range(32), *range(32, len(whole), 67), *range(last, last + 24)]:
        if place in version:
            # SQLite refuses another version of the format.
            continue
        log.write_bytes(whole)
        flip(log, place)
        has_lost, damage = rows(log) < 26, log_damage(log)
        if has_lost and damage is None:
            missed.append(place)
        assert has_lost or damage is None, place
    # A last commit that cannot be recognized is taken for a frame of an earlier log.
    assert set(missed) <= set(range(last, last + 16))


@pytest.mark.parametrize("cut", [0, 20, 32, 50, 56, 300])
def test_an_incomplete_frame_is_not_damage(log: Path, cut: int) -> None:
    used = used_frames(log)
    length = cut if cut <= 32 else 32 + (used - 1) * FRAME_BYTES + cut - 32
    os.truncate(log, length)
    assert log_damage(log) is None
    assert log_damage(log.with_name("none")) is None


def test_the_commits_that_damage_hides_are_counted(log: Path) -> None:
    used = used_frames(log)
    flip(log, 32 + 24 + 5)
    found = log_damage(log)
    assert found is not None
    assert (found.frame, found.commits) == (0, 6)
    flip(log, 32 + 24 + 5)
    flip(log, 32 + (used - 1) * FRAME_BYTES + 24 + 5)
    found = log_damage(log)
    assert found is not None
    assert (found.frame, found.commits) == (used - 1, 1)
