from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.store import (
    MissingImage,
    Store,
)
from support.stored_jobs import ended, files_in, make_job, new_record, sha256_of, succeed, write_checkpoint

DAY = 86_400.0


def test_old_final_jobs_are_deleted_but_never_unfinished_ones(store: Store) -> None:
    now = time.time()
    old, new, running = (make_job(store) for _ in range(3))
    succeed(store, old, b"old", now - 100)
    store.jobs.save(ended(new, pb.JOB_STATE_FAILED, now - 10))
    assert store.retention.sweep(now, max_age=None, max_bytes=None) == []
    assert store.retention.sweep(now, max_age=50, max_bytes=None) == [old.job.name]
    assert store.results.path(old.job.name) is None
    assert store.jobs.get(new.job.name) is not None
    assert store.retention.sweep(now, max_age=5, max_bytes=0) == [new.job.name]
    assert [record.job.name for record in store.jobs.unfinished()] == [running.job.name]


def test_many_old_jobs_are_deleted_in_one_sweep(store: Store, folder: Path) -> None:
    records = [store.jobs.create(new_record()) for _ in range(100)]
    for record in records:
        succeed(store, record, b"result", 1_800_000_000.0)
    assert store.retention.sweep(1_800_000_100.0, max_age=10, max_bytes=None) == [
        record.job.name for record in records
    ]
    assert not files_in(folder)


def test_the_oldest_final_jobs_are_deleted_to_make_room(store: Store) -> None:
    now = time.time()
    records = [make_job(store, b"%d" % i * 10) for i in range(4)]
    for i in (2, 0, 1):
        succeed(store, records[i], b"r" * 100, now - 100 + i)
    write_checkpoint(store, records[3].job.name, 1, b"c" * 50)
    stored = store.retention.stored_bytes()
    assert stored == 4 * 10 + 3 * 100 + 50
    assert store.retention.sweep(now, max_age=None, max_bytes=stored) == []
    assert store.retention.sweep(now, max_age=None, max_bytes=stored - 101) == [
        records[0].job.name,
        records[1].job.name,
    ]
    assert store.retention.sweep(now, max_age=None, max_bytes=0) == [records[2].job.name]
    assert store.checkpoints.path(records[3].job.name) is not None


def test_unused_images_and_idle_uploads_are_deleted(store: Store, folder: Path) -> None:
    now = time.time()
    unused = store.images.put("anna", b"unused")
    used = make_job(store, b"used").spec.content.sha256
    store.uploads.append("anna", sha256_of(b"never"), 5, 0, b"nev")
    store.retention.sweep(now + 50, max_age=None, max_bytes=None, upload_age=100)
    assert len(files_in(folder)) == 3
    store.retention.sweep(now + 200, max_age=None, max_bytes=None, upload_age=100)
    assert files_in(folder) == {f"images/{used}"}
    with pytest.raises(MissingImage):
        store.jobs.create(new_record([unused]))
    assert store.uploads.offset("anna", sha256_of(b"never"), 5) == (0, False)


def test_an_image_that_a_call_names_again_is_kept(store: Store) -> None:
    first, second = store.images.put("anna", b"first"), store.images.put("anna", b"second")
    before = time.time()
    store.images.put("anna", b"first")
    assert store.uploads.offset("anna", second, 6) == (6, True)
    store.retention.sweep(before + DAY, max_age=None, max_bytes=None)
    assert store.images.get("anna", first) is not None
    assert store.images.get("anna", second) is not None


def test_jobs_from_when_the_clock_was_ahead_are_deleted_in_time(store: Store) -> None:
    now = time.time()
    ahead, after = make_job(store), make_job(store)
    succeed(store, ahead, b"ahead", now + 1e9)
    succeed(store, after, b"after", now - 1)
    assert store.retention.sweep(now, max_age=50, max_bytes=None) == []
    assert store.retention.sweep(now + 49, max_age=50, max_bytes=None) == []
    assert store.retention.sweep(now + 51, max_age=50, max_bytes=None) == [ahead.job.name, after.job.name]


@pytest.mark.parametrize("opened_again", [False, True])
def test_images_and_uploads_from_when_the_clock_was_ahead_are_deleted_in_time(
    folder: Path, opened_again: bool
) -> None:
    store, now = Store(folder), time.time()
    with pytest.MonkeyPatch.context() as ahead:
        ahead.setattr(time, "time", lambda: now + 1e6)
        store.images.put("anna", b"ahead")
        store.uploads.append("anna", sha256_of(b"never"), 5, 0, b"nev")
    if opened_again:
        store.close()
        # After a restart, the time of an upload is that of its file.
        [path] = folder.glob("uploads/*/*.part")
        os.utime(path, (now + 1e6, now + 1e6))
        store = Store(folder)
    for later, kept in ((0, 2), (99, 2), (101, 0)):
        store.retention.sweep(now + later, max_age=None, max_bytes=None, upload_age=100)
        assert len(files_in(folder)) == kept
    store.close()


def test_no_job_is_deleted_early_after_the_clock_was_set_back(store: Store) -> None:
    now = time.time()
    first, second, third = (make_job(store) for _ in range(3))
    succeed(store, first, bytes(100), now - 1_000)
    # The clock shows 2001 for a while.
    succeed(store, second, bytes(100), 1e9)
    succeed(store, third, bytes(100), now)
    assert store.retention.sweep(now, max_age=1_100, max_bytes=None) == []
    stored = store.retention.stored_bytes()
    assert store.retention.sweep(now, max_age=None, max_bytes=stored - 1) == [first.job.name]
    assert store.retention.sweep(now, max_age=500, max_bytes=None) == [second.job.name]
    assert store.results.path(third.job.name) is not None


def test_saving_a_final_job_again_does_not_reset_its_age(store: Store) -> None:
    now = time.time()
    old, new = make_job(store), make_job(store)
    succeed(store, old, b"old", now - 100)
    succeed(store, new, b"new", now - 10)
    old.job.title = "renamed"
    assert store.jobs.save(old)
    assert store.retention.sweep(now, max_age=50, max_bytes=None) == [old.job.name]
