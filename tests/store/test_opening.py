from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.opening import FEW
from impasto_server.store.store import DATABASE, Damaged, MissingImage, Store, StoreError
from support.stored_jobs import RESERVED_BYTES, files_in, make_job, new_record, succeed, write_checkpoint

DAY = 86_400.0


def test_opening_removes_what_a_crash_left(folder: Path) -> None:
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


def test_missing_files_are_reported(folder: Path) -> None:
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
    with pytest.raises(Damaged, match="paint the picture again"):
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
    # A sweep between the upload of an image and its job may find the image unused: this is allowed.
    assert all(isinstance(error, MissingImage) for error in errors), errors
    for i in range(6):
        for record in store.jobs.list(f"tenant {i}", page_size=50)[0]:
            if record.job.state == pb.JOB_STATE_SUCCEEDED:
                path = store.results.path(record.job.name)
                assert path is not None
                assert path.read_bytes() == b"tenant %d" % i


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a data folder, except the lock, which names its last process, and files of readers."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", f"{DATABASE}-shm")
    }
    if not files.get(f"{DATABASE}-wal"):
        files.pop(f"{DATABASE}-wal", None)
    return files


@pytest.mark.parametrize("files", ["image", "result", "checkpoint", "none"])
@pytest.mark.parametrize("loss", ["empty", "missing", "other log", "no tables"])
def test_a_folder_whose_database_lacks_the_jobs_is_refused_and_not_changed(
    folder: Path, loss: str, files: str
) -> None:
    store = Store(folder)
    record = store.jobs.create(new_record())
    if files == "image":
        store.images.put("anna", b"image")
    elif files == "result":
        succeed(store, record, b"result")
    elif files == "checkpoint":
        write_checkpoint(store, record.job.name, 1, b"checkpoint")
    database = folder / DATABASE
    if loss == "other log":
        log = (folder / f"{DATABASE}-wal").read_bytes()
    store.close()
    if loss == "no tables":
        database.unlink()
        with contextlib.closing(sqlite3.connect(database)) as other:
            # This is the state in which this program creates it before it stores anything.
            other.execute("PRAGMA journal_mode = WAL")
    elif loss == "missing":
        database.unlink()
    else:
        database.write_bytes(b"")
    if loss == "other log":
        (folder / f"{DATABASE}-wal").write_bytes(log)
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(StoreError, match=rf"Nothing was changed\. Restore a copy of {DATABASE}"):
            Store(folder)
        assert contents(folder) == before


def test_a_database_without_one_of_its_tables_is_refused_as_damaged(folder: Path) -> None:
    store = Store(folder)
    store.images.put("anna", b"image")
    store.close()
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as other:
        other.execute("DROP TABLE jobs")
    before = contents(folder)
    with pytest.raises(StoreError, match=r"damaged .*no table jobs"):
        Store(folder)
    assert contents(folder) == before


def test_files_that_an_older_copy_of_the_database_does_not_name_are_set_aside(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(folder)
    make_job(store, b"old")
    store.close()
    shutil.copy(folder / DATABASE, tmp_path / "copy")
    store = Store(folder)
    record, other = make_job(store, b"new"), make_job(store, b"new")
    succeed(store, record, b"result")
    write_checkpoint(store, other.job.name, 3, b"checkpoint")
    generation = store.generation
    store.close()
    newer = (folder / DATABASE).read_bytes()
    files = contents(folder)
    shutil.copy(tmp_path / "copy", folder / DATABASE)
    Store(folder).close()
    assert "set aside" in caplog.text
    aside = {name: data for name, data in contents(folder).items() if name.startswith("unclaimed/")}
    assert sorted(aside.values()) == [b"checkpoint", b"new", b"result"]
    # The generation, and so event numbers, still grow; from now on, this copy counts as the right database.
    store = Store(folder)
    assert store.generation == generation + 2
    assert len(store.jobs.unfinished()) == 1
    assert store.stored_bytes("anna") == 3 + RESERVED_BYTES
    store.close()

    # With the right database and the files restored, nothing is missing.
    (folder / DATABASE).write_bytes(newer)
    for name in aside:
        place = folder / Path(*Path(name).parts[2:])
        place.parent.mkdir(exist_ok=True)
        (folder / name).rename(place)
    store = Store(folder)
    assert store.missing == ()
    assert store.results.path(record.job.name) is not None
    assert store.checkpoints.path(other.job.name) is not None
    assert {name: data for name, data in contents(folder).items() if name in files and "/" in name} == {
        name: data for name, data in files.items() if "/" in name
    }
    store.close()


def test_more_unnamed_files_than_a_crash_leaves_are_set_aside(folder: Path) -> None:
    Store(folder).close()
    for number in range(FEW + 1):
        (folder / "results" / f"job{number}.png").write_bytes(b"result")
    Store(folder).close()
    assert files_in(folder) == {f"unclaimed/1/results/job{number}.png" for number in range(FEW + 1)}
    (folder / "results" / "job.png").write_bytes(b"result")
    Store(folder).close()
    assert len(files_in(folder)) == FEW + 1
