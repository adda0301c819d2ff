from __future__ import annotations

from pathlib import Path

import pytest

from impasto_server.store.store import (
    Store,
    StoreError,
)
from support.stored_jobs import (
    RESERVED_BYTES,
    files_in,
    new_record,
    sha256_of,
    succeed,
    write_checkpoint,
)

DAY = 86_400.0


def test_the_newest_whole_checkpoint_is_kept(folder: Path) -> None:
    store = Store(folder)
    name = store.jobs.create(new_record()).job.name
    assert store.checkpoints.path(name) is None
    for evaluation, data in ((5, b"first"), (9, b"second"), (9, b"same again"), (2, b"begun anew")):
        assert write_checkpoint(store, name, evaluation, data)
        path = store.checkpoints.path(name)
        assert path is not None
        assert path.read_bytes() == data
        record = store.jobs.get(name)
        assert record is not None
        assert record.checkpoint == evaluation
        assert len(files_in(folder)) == 1
        assert store.stored_bytes("anna") == RESERVED_BYTES
    store.close()
    store = Store(folder)
    assert store.checkpoints.path(name) == path
    store.checkpoints.drop(name)
    record = store.jobs.get(name)
    assert record is not None
    assert record.checkpoint is store.checkpoints.path(name) is None
    assert not files_in(folder)
    store.close()


def test_an_uncommitted_checkpoint_keeps_the_previous_one(store: Store, folder: Path) -> None:
    name = store.jobs.create(new_record()).job.name
    write_checkpoint(store, name, 5, b"first")
    writer = store.checkpoints.writer(name, 6)
    writer.write(b"seco")
    writer.abort()
    with pytest.raises(StoreError):
        writer.commit()
    path = store.checkpoints.path(name)
    assert path is not None
    assert path.read_bytes() == b"first"
    assert len(files_in(folder)) == 1


def test_a_checkpoint_of_a_job_deleted_meanwhile_is_removed(store: Store, folder: Path) -> None:
    name = store.jobs.create(new_record()).job.name
    write_checkpoint(store, name, 5, b"first")
    writer = store.checkpoints.writer(name, 6)
    writer.write(b"second")
    store.jobs.delete(name)
    assert not writer.commit()
    assert not files_in(folder)
    assert not list((folder / "checkpoints").iterdir())


def test_a_job_has_only_one_result(folder: Path) -> None:
    store = Store(folder)
    record = store.jobs.create(new_record())
    name = record.job.name
    write_checkpoint(store, name, 5, b"checkpoint")
    assert store.results.path(name) is None
    assert succeed(store, record, b"result")
    assert succeed(store, record, b"other")
    store.close()
    store = Store(folder)
    path = store.results.path(name)
    assert path is not None
    assert path.read_bytes() == b"result"
    assert store.checkpoints.path(name) is None
    stored = store.jobs.get(name)
    assert stored is not None
    assert stored.job.result.sha256 == sha256_of(b"result")
    assert store.stored_bytes("anna") == 6
    store.jobs.delete(name)
    assert store.results.path(name) is None
    assert not files_in(folder)
    store.close()
