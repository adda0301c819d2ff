"""The database while another process locks it, and after it was removed."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store import database
from impasto_server.store.store import DATABASE, Store, StoreBusy, StoreClosed, StoreError
from support.stored_jobs import ended, make_job, new_record, succeed, write_checkpoint


@contextlib.contextmanager
def held_by_another(folder: Path) -> Iterator[None]:
    """Another program holds the database's write lock."""
    with contextlib.closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_reads_do_not_wait_for_another_process(store: Store, folder: Path) -> None:
    record = make_job(store)
    with held_by_another(folder):
        begin = time.monotonic()
        assert store.jobs.get(record.job.name) == record
        assert store.jobs.list("anna", page_size=5)[0] == [record]
        assert store.images.get("anna", record.spec.content.sha256) is not None
        assert time.monotonic() - begin < database.BUSY_SECONDS


def test_a_change_to_a_locked_database_fails_after_a_timeout(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.BUSY_SECONDS <= 5
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.5)
    record = make_job(store)
    with held_by_another(folder):
        begin = time.monotonic()
        with pytest.raises(StoreBusy, match="another process has locked"):
            store.jobs.save(ended(record, pb.JOB_STATE_CANCELLED))
        first = time.monotonic() - begin
        assert first > 0.4
        # Later changes do not each wait for the whole timeout.
        begin = time.monotonic()
        for _ in range(40):
            with pytest.raises(StoreBusy):
                store.jobs.create(new_record())
        assert time.monotonic() - begin < 40 * first / 2
    found = store.jobs.get(record.job.name)
    assert found is not None
    assert found.job.state == pb.JOB_STATE_QUEUED
    assert store.jobs.save(record)


def test_a_read_does_not_wait_for_a_transaction_of_another_thread(store: Store) -> None:
    record = make_job(store)
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        assert store._database is not None
        with store._database.transaction() as writer:
            writer.execute("UPDATE jobs SET deaths = 9")
            inside.set()
            assert done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(20)
    try:
        # Uncommitted changes are not visible.
        assert store.jobs.get(record.job.name) == record
    finally:
        done.set()
        thread.join()
    found = store.jobs.get(record.job.name)
    assert found is not None
    assert found.deaths == 9


@pytest.mark.parametrize("replaced", [False, True])
def test_changes_notice_that_the_folder_was_removed(store: Store, folder: Path, replaced: bool) -> None:
    record, other = make_job(store), make_job(store)
    writer = store.checkpoints.writer(other.job.name, 1)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    if replaced:
        copy.rename(folder)
    changes = (
        lambda: store.jobs.save(ended(record, pb.JOB_STATE_CANCELLED), with_reserve=True),
        lambda: store.jobs.save(other, durable=False),
        lambda: store.jobs.create(new_record()),
        lambda: store.jobs.delete(other.job.name),
        lambda: store.images.put("anna", b"another"),
        lambda: store.uploads.append("anna", "0" * 64, 3, 0, b"123"),
        writer.commit,
        lambda: write_checkpoint(store, other.job.name, 2, b"checkpoint"),
        lambda: succeed(store, other, b"result"),
        lambda: store.retention.sweep(time.time() + 1e9, max_age=0, max_bytes=0),
    )
    for change in changes:
        with pytest.raises(StoreError, match="the data folder was removed"):
            change()


def test_a_closed_store_says_so(store: Store) -> None:
    record = make_job(store)
    store.close()
    store.close()
    for call in (
        lambda: store.jobs.create(new_record()),
        store.jobs.unfinished,
        lambda: store.jobs.save(record),
        lambda: store.images.put("anna", b"image"),
        lambda: write_checkpoint(store, record.job.name, 1, b"checkpoint"),
    ):
        with pytest.raises(StoreClosed, match="closed"):
            call()
