from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.store import (
    Damaged,
    MissingImage,
    Store,
)
from stored_jobs import files_in, make_job, succeed, write_checkpoint

DAY = 86_400.0


def test_what_a_crash_left_is_removed_at_the_opening(folder: Path) -> None:
    store = Store(folder)
    record = make_job(store)
    write_checkpoint(store, record.job.name, 5, b"checkpoint")
    whole = files_in(folder)
    store.close()
    identifier = record.job.name.removeprefix("jobs/")
    for leftover in (
        "temporary/x.tmp",
        f"images/{'0' * 64}",
        "results/gone.png",
        f"results/{identifier}.png",
        "checkpoints/gone/3.safetensors",
        f"checkpoints/{identifier}/6.safetensors",
    ):
        (folder / leftover).parent.mkdir(exist_ok=True)
        (folder / leftover).write_bytes(b"leftover")
    store = Store(folder)
    assert files_in(folder) == whole
    assert store.missing == ()
    store.close()


def test_files_that_are_missing_are_reported(folder: Path) -> None:
    store = Store(folder)
    running, done = make_job(store), make_job(store)
    write_checkpoint(store, running.job.name, 5, b"checkpoint")
    succeed(store, done, b"result")
    paths = [
        store.checkpoints.path(running.job.name),
        store.results.path(done.job.name),
        folder / "images" / running.spec.content.sha256,
    ]
    store.close()
    for path in paths:
        assert path is not None
        path.unlink()
    store = Store(folder)
    assert set(store.missing) == set(paths)
    record = store.jobs.get(running.job.name)
    assert record is not None
    assert record.checkpoint is None
    with pytest.raises(Damaged, match="paint it again"):
        store.results.path(done.job.name)
    store.close()


def test_many_threads_at_once(store: Store) -> None:
    errors: list[BaseException] = []

    def work(tenant: str) -> None:
        try:
            for i in range(5):
                record = make_job(store, b"shared", tenant)
                write_checkpoint(store, record.job.name, i + 1, b"checkpoint")
                store.jobs.save(record, durable=bool(i % 2))
                succeed(store, record, tenant.encode(), 1.0)
                store.jobs.list(tenant, page_size=3)
                if i % 2:
                    store.jobs.delete(record.job.name)
                store.retention.sweep(time.time() + 2 * DAY, max_age=None, max_bytes=None)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"tenant {i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Between an image and its job a sweep may come that finds it unused for long: that much is allowed.
    assert all(isinstance(error, MissingImage) for error in errors), errors
    for i in range(6):
        for record in store.jobs.list(f"tenant {i}", page_size=50)[0]:
            if record.job.state == pb.JOB_STATE_SUCCEEDED:
                path = store.results.path(record.job.name)
                assert path is not None
                assert path.read_bytes() == b"tenant %d" % i
