"""The store on disks that are full, broken or read-only, or in a folder that another program uses."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.store import DATABASE, DiskFull, Record, Store, StoreError
from support.disks import fill, mounted, small_disk
from support.stored_jobs import ended, files_in, new_record, write_checkpoint


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 6) as disk:
        yield disk


def create_until_full(store: Store) -> list[str]:
    """Creates large jobs until the disk is full. Returns their names."""
    created: list[str] = []
    while len(created) < 1000:
        record = new_record()
        record.job.title = "x" * 50_000
        try:
            created.append(store.jobs.create(record).job.name)
        except DiskFull:
            return created
    raise AssertionError("there was always room")


def fail_all_writing(store: Store, record: Record) -> None:
    """Checks that every call that needs space is refused."""
    calls = (
        lambda: store.images.put("anna", os.urandom(100_000)),
        lambda: store.uploads.append("anna", "0" * 64, 100_000, 0, bytes(100_000)),
        lambda: write_checkpoint(store, record.job.name, 9, bytes(100_000)),
        lambda: store.results.finish(ended(record, pb.JOB_STATE_SUCCEEDED), io.BytesIO(bytes(100_000))),
    )
    for call in calls:
        with pytest.raises(DiskFull, match="make room"):
            call()
    record.job.state = pb.JOB_STATE_RUNNING


def test_a_full_disk_fails_only_the_call(disk: Path) -> None:
    store = Store(disk / "store")
    record = store.jobs.create(new_record([store.images.put("anna", b"content")]))
    write_checkpoint(store, record.job.name, 1, b"checkpoint")
    before = files_in(disk / "store")
    filler = fill(disk)
    fail_all_writing(store, record)
    created = create_until_full(store)
    assert files_in(disk / "store") == before
    assert store.uploads.offset("anna", "0" * 64, 100_000) == (0, False)
    assert [unfinished.job.name for unfinished in store.jobs.unfinished()] == [record.job.name, *created]
    path = store.checkpoints.path(record.job.name)
    assert path is not None
    assert path.read_bytes() == b"checkpoint"

    filler.unlink()
    assert write_checkpoint(store, record.job.name, 9, bytes(100_000))
    assert store.results.finish(ended(record, pb.JOB_STATE_SUCCEEDED), io.BytesIO(bytes(100_000)))
    store.close()
    store = Store(disk / "store")
    assert store.missing == ()
    assert store.results.path(record.job.name) is not None
    store.close()


def test_retention_works_on_a_full_disk(disk: Path) -> None:
    """Retention works even if SQLite has no space to record the deletions."""
    folder = disk / "store"
    store = Store(folder)
    records = [store.jobs.create(new_record()) for _ in range(40)]
    for record in records:
        store.results.finish(ended(record, pb.JOB_STATE_SUCCEEDED), io.BytesIO(bytes(20_000)))
    store.close()
    # After it is opened again, the database has no log whose space it could reuse.
    store = Store(folder)
    fill(disk)
    create_until_full(store)
    assert store.retention.sweep(time.time(), max_age=10, max_bytes=None) == [
        record.job.name for record in records
    ]
    assert store.images.put("anna", bytes(100_000))
    store.close()


def test_a_new_store_on_a_full_disk_is_refused(disk: Path) -> None:
    (disk / "store").mkdir()
    filler = fill(disk)
    with pytest.raises(DiskFull, match="make room"):
        Store(disk / "store")
    filler.unlink()
    store = Store(disk / "store")
    assert store.jobs.create(new_record())
    store.close()


def test_reaching_the_file_size_limit_counts_as_a_full_disk(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    record = store.jobs.create(new_record([store.images.put("anna", b"content")]))
    before = files_in(tmp_path / "store")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        fail_all_writing(store, record)
        big = new_record()
        big.job.title = "x" * 200_000
        with pytest.raises(StoreError):
            store.jobs.create(big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert files_in(tmp_path / "store") == before
    assert store.jobs.get(big.job.name) is None
    assert store.jobs.create(big)
    assert store.images.put("anna", bytes(100_000))
    store.close()


def test_a_file_whose_row_cannot_be_written_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    kept = {f"images/{store.images.put('anna', b'content')}"}
    assert store._database is not None
    store._database._writer.execute("PRAGMA max_page_count = 1")
    images = (f"images/{store.images.put('anna', b'%d' % number)}" for number in range(1000))
    with pytest.raises(DiskFull):
        kept.update(images)
    assert files_in(tmp_path / "store") == kept
    store._database._writer.execute("PRAGMA max_page_count = 1000000")
    assert store.images.put("anna", b"another")
    store.close()


def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "store").close()
    with mounted(tmp_path / "view", "--bind", str(tmp_path / "store")):
        subprocess.run(["mount", "-o", "remount,ro,bind", tmp_path / "view"], check=True)
        with pytest.raises(StoreError, match=r"view.*choose a folder that this user can write to"):
            Store(tmp_path / "view")
        with pytest.raises(StoreError, match="choose a folder"):
            Store(tmp_path / "view" / "new")


def test_only_one_server_can_use_a_folder(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(StoreError, match=rf"in use by another server \(process {os.getpid()}\); stop it"):
        Store(tmp_path / "store")
    program = f"""
from pathlib import Path
from impasto_server.store.store import Store, StoreError
try:
    Store(Path({str(tmp_path / "store")!r}))
except StoreError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "is in use by another server" in run.stdout
    assert store.jobs.create(new_record())
    store.close()
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not run.stdout
    store = Store(tmp_path / "store")
    assert store.generation == 3
    store.close()


@pytest.mark.parametrize("damage", ["header", "pages", "cut"])
def test_a_damaged_database_is_refused_and_not_changed(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "store"
    store = Store(folder)
    image = store.images.put("anna", b"content")
    for _ in range(200):
        store.jobs.create(new_record([image]))
    store.close()
    database = folder / DATABASE
    whole = bytearray(database.read_bytes())
    if damage == "header":
        whole[:100] = os.urandom(100)
    elif damage == "pages":
        whole[8192:] = os.urandom(len(whole) - 8192)
    else:
        del whole[len(whole) // 2 :]
    database.write_bytes(whole)
    for _ in range(2):
        with pytest.raises(StoreError, match=rf"{DATABASE} is damaged .*not changed.*another folder"):
            Store(folder)
        assert database.read_bytes() == whole
        assert (folder / "images" / image).is_file()


def test_files_without_a_database_are_not_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image = store.images.put("anna", b"content")
    store.close()
    (tmp_path / DATABASE).unlink()
    with pytest.raises(StoreError, match=rf"Restore a copy of {DATABASE}"):
        Store(tmp_path)
    assert (tmp_path / "images" / image).is_file()


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        database.execute("CREATE TABLE something (name)")
    with pytest.raises(StoreError, match="another program's"):
        Store(tmp_path)
