"""Data folders of older versions."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store import schema
from impasto_server.store.records import Record
from impasto_server.store.store import DATABASE, Store, StoreError
from support.stored_jobs import RESERVED_BYTES, ended, new_record, sha256_of


def make_version_1(folder: Path, records: list[Record], images: list[bytes]) -> None:
    """Makes a data folder as version 1 of the database left it, with jobs; final jobs have a result."""
    for name in ("images", "results", "checkpoints", "uploads", "temporary"):
        (folder / name).mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        for statement in schema.MIGRATIONS[0]:
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        database.execute("PRAGMA user_version = 1")
        database.execute("UPDATE settings SET value = 41 WHERE name = 'generation'")
        for data in images:
            (folder / "images" / sha256_of(data)).write_bytes(data)
            database.execute("INSERT INTO blobs VALUES (?, ?)", (sha256_of(data), len(data)))
            database.execute("INSERT INTO images VALUES ('anna', ?, 0, 1.5e9)", (sha256_of(data),))
        for number, record in enumerate(records, 1):
            final = record.job.state == pb.JOB_STATE_SUCCEEDED
            database.execute(
                """INSERT INTO jobs VALUES
                    (?, ?, 'anna', '', x'', ?, ?, ?, ?, ?, ?, NULL, 0, 0, ?, ?, ?)""",
                (
                    number,
                    record.job.name,
                    record.job.state,
                    final,
                    record.job.create_time.ToNanoseconds(),
                    record.job.end_time.ToNanoseconds(),
                    record.job.SerializeToString(),
                    record.spec.SerializeToString(),
                    None if final else 7,
                    0 if final else 10,
                    6 if final else None,
                ),
            )
            identifier = record.job.name.removeprefix("jobs/")
            if final:
                (folder / "results" / f"{identifier}.png").write_bytes(b"result")
            else:
                (folder / "checkpoints" / identifier).mkdir()
                (folder / "checkpoints" / identifier / "7.safetensors").write_bytes(b"checkpoint")
    database.close()


def test_a_folder_of_version_1_is_migrated(tmp_path: Path) -> None:
    running = new_record([sha256_of(b"image")])
    running.job.state = pb.JOB_STATE_RUNNING
    running.job.title = "The old harbour"
    done = ended(new_record([sha256_of(b"image")]), pb.JOB_STATE_SUCCEEDED)
    done.job.result.CopyFrom(pb.ImageInfo(sha256=sha256_of(b"result"), size_bytes=6))
    make_version_1(tmp_path / "store", [running, done], [b"image"])
    for generation in (42, 43):
        store = Store(tmp_path / "store")
        assert (store.generation, store.missing) == (generation, ())
        [found] = store.jobs.unfinished()
        assert (found.job, found.checkpoint) == (running.job, 7)
        path = store.checkpoints.path(running.job.name)
        assert path is not None
        assert path.read_bytes() == b"checkpoint"
        path = store.results.path(done.job.name)
        assert path is not None
        assert path.read_bytes() == b"result"
        listed = store.jobs.list("anna", page_size=5)[0]
        assert [record.job.name for record in listed] == [done.job.name, running.job.name]
        # Older jobs get reservations too, and the sizes of the images are not known yet.
        assert store.stored_bytes("anna") == 5 + 6 + RESERVED_BYTES
        # Their titles are found, too.
        found = store.jobs.list("anna", title="HARBOUR", page_size=5)[0]
        assert [record.job.name for record in found] == [running.job.name]
        image = store.images.get("anna", sha256_of(b"image"))
        assert image is not None
        assert (image.width, image.height) == (None, None)
        store.close()


def test_later_migrations_are_applied_and_an_older_program_refuses_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    record = store.jobs.create(new_record([store.images.put("anna", b"content")]))
    store.close()
    newer = (
        *schema.MIGRATIONS,
        ("ALTER TABLE jobs ADD COLUMN hue INTEGER NOT NULL DEFAULT 7", "UPDATE jobs SET deaths = hue"),
        ("CREATE TABLE palettes (name TEXT)",),
    )
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", newer)
        store = Store(tmp_path)
        migrated = store.jobs.get(record.job.name)
        assert migrated is not None
        assert (migrated.job, migrated.deaths) == (record.job, 7)
        store.close()
    with pytest.raises(StoreError, match=r"newer version .*\(its version is 6, this program knows up to 4\)"):
        Store(tmp_path)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    record = store.jobs.create(new_record())
    store.close()
    failing = (*schema.MIGRATIONS, ("UPDATE jobs SET deaths = 9", "CREATE TABLE jobs (again)"))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", failing)
        with pytest.raises(StoreError, match="already exists"):
            Store(tmp_path)
    store = Store(tmp_path)
    assert store.jobs.get(record.job.name) == record
    store.close()
