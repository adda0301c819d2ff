"""A disk that fails after a change is stored: the change is acknowledged, and cleaned up later."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.blobs import NewFile
from impasto_server.store.store import DATABASE, Store, StoreError
from support.stored_jobs import (
    ended,
    files_in,
    image_bytes,
    make_job,
    new_record,
    sha256_of,
    succeed,
    write_checkpoint,
)


@contextlib.contextmanager
def nothing_can_be_removed(number: int = errno.EIO) -> Iterator[None]:
    """Makes it fail to remove files and folders, and to list folders."""

    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        for name in ("unlink", "remove", "rmdir", "listdir", "scandir"):
            patch.setattr(os, name, fail)
        yield


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_a_change_succeeds_even_if_files_cannot_be_removed(folder: Path, number: int) -> None:
    store = Store(folder)
    failed, cancelled, done, deleted, begun, dropped = (make_job(store) for _ in range(6))
    for record in (failed, cancelled, done, begun, dropped):
        assert write_checkpoint(store, record.job.name, 1, b"checkpoint")
    succeed(store, deleted, b"result")
    store.uploads.append("anna", sha256_of(b"upload"), 6, 0, b"upload")
    with nothing_can_be_removed(number):
        assert store.jobs.save(ended(failed, pb.JOB_STATE_FAILED))
        assert store.jobs.save(ended(cancelled, pb.JOB_STATE_CANCELLED), with_reserve=True)
        assert succeed(store, done, b"result")
        store.jobs.delete(deleted.job.name)
        assert write_checkpoint(store, begun.job.name, 2, b"newer")
        store.checkpoints.drop(dropped.job.name)
        picture = store.images.put("anna", b"picture")
        store.uploads.finish("anna", sha256_of(b"upload"), 6, None)
        writer = store.checkpoints.writer(begun.job.name, 3)
        writer.write(b"aborted")
        writer.abort()
    assert image_bytes(store, "anna", picture) == b"picture"
    assert image_bytes(store, "anna", sha256_of(b"upload")) == b"upload"
    store.close()

    store = Store(folder)
    states = {record.job.name: record.job.state for record in store.jobs.list("anna", page_size=9)[0]}
    assert states == {
        failed.job.name: pb.JOB_STATE_FAILED,
        cancelled.job.name: pb.JOB_STATE_CANCELLED,
        done.job.name: pb.JOB_STATE_SUCCEEDED,
        begun.job.name: pb.JOB_STATE_QUEUED,
        dropped.job.name: pb.JOB_STATE_QUEUED,
    }
    path = store.checkpoints.path(begun.job.name)
    assert path is not None
    assert path.read_bytes() == b"newer"
    kept = {name for name in files_in(folder) if not name.startswith(("images", "uploads"))}
    assert kept == {
        f"{place.relative_to(folder)}" for place in (path, store.results.path(done.job.name)) if place
    }
    store.close()


def test_a_change_succeeds_even_if_the_database_fails_after_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cancelled, done, deleted, dropped = (make_job(store) for _ in range(4))

    def fail(name: str) -> None:
        raise StoreError(f"cannot look for {name}: disk I/O error; check its disk")

    monkeypatch.setattr(store.checkpoints, "path", fail)
    assert store.jobs.save(ended(cancelled, pb.JOB_STATE_CANCELLED))
    assert succeed(store, done, b"result")
    store.jobs.delete(deleted.job.name)
    store.checkpoints.drop(dropped.job.name)
    assert len([record for record in caplog.records if "cleanup failed" in record.message]) == 4
    states = {record.job.state for record in store.jobs.list("anna", page_size=9)[0]}
    assert states == {pb.JOB_STATE_CANCELLED, pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_QUEUED}


def test_a_change_notices_that_the_database_was_removed_before_it_commits(store: Store, folder: Path) -> None:
    assert store._database is not None
    database = store._database
    record = store.jobs.create(new_record())

    def change() -> None:
        with database.transaction() as changed:
            changed.execute("UPDATE jobs SET deaths = 9")
            (folder / DATABASE).rename(folder / "elsewhere")

    with pytest.raises(StoreError, match="removed"):
        change()
    (folder / "elsewhere").rename(folder / DATABASE)
    found = store.jobs.get(record.job.name)
    assert found is not None
    assert found.deaths == 0


def test_every_disk_error_becomes_a_store_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_job(store)
    succeed(store, record, b"result")
    sha256 = record.spec.content.sha256

    def fail(*_: object, **__: object) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", fail)
        for call in (
            lambda: store.images.get("anna", sha256),
            lambda: store.images.put("anna", b"new"),
            lambda: store.results.path(record.job.name),
            lambda: store.jobs.create(new_record([sha256])),
        ):
            with pytest.raises(StoreError, match="check its disk"):
                call()
    assert store.images.get("anna", sha256) is not None


def test_a_new_file_is_discarded_without_an_error(tmp_path: Path) -> None:
    file = NewFile(tmp_path)
    file.write(b"data")
    os.close(file._descriptor)
    with nothing_can_be_removed():
        file.discard()
        file.discard()
    with pytest.raises(StoreError, match="write it again"):
        file.write(b"more")
    file.discard()
    assert not list(tmp_path.iterdir())
