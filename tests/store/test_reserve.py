"""A full disk: jobs can be cancelled and deleted thanks to the reserve, which nothing else may use."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.reserve import RESERVE_BYTES, Reserve
from impasto_server.store.store import DiskFull, Record, Store
from support.disks import fill, small_disk
from support.stored_jobs import ended, new_record, sha256_of, succeed, write_checkpoint


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 24) as disk:
        yield disk


def cancelled(record: Record) -> Record:
    return ended(copy.deepcopy(record), pb.JOB_STATE_CANCELLED)


def is_held(folder: Path) -> bool:
    return (folder / "reserve").stat().st_size == RESERVE_BYTES


class Hammer:
    """Writes checkpoints of a job all the time, without a pause."""

    def __init__(self, store: Store, record: Record) -> None:
        self.written = self.refused = 0
        self._store, self._name = store, record.job.name
        self._stop, self._refused_again = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Hammer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def await_refusal(self) -> None:
        """Waits until another checkpoint fails because the disk is full."""
        self._refused_again.clear()
        assert self._refused_again.wait(20)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                write_checkpoint(self._store, self._name, self.written + self.refused, bytes(400_000))
                self.written += 1
            except DiskFull:
                self.refused += 1
                self._refused_again.set()


def test_jobs_are_cancelled_and_deleted_on_a_full_disk_while_checkpoints_are_written(disk: Path) -> None:
    folder = disk / "store"
    store = Store(folder)
    running = store.jobs.create(new_record())
    records = [store.jobs.create(new_record()) for _ in range(60)]
    for record in records:
        # Large jobs, whose own changes need space.
        record.job.title = "x" * 20_000
        store.jobs.save(record)
    with Hammer(store, running) as hammer:
        fill(disk)
        hammer.await_refusal()
        for record in records[:30]:
            assert store.jobs.save(cancelled(record), with_reserve=True)
        hammer.await_refusal()
        for record in records[15:45]:
            store.jobs.delete(record.job.name)
        hammer.await_refusal()
        for record in records[45:]:
            assert store.jobs.save(cancelled(record), with_reserve=True)
    store.close()

    (disk / "filler").unlink()
    store = Store(folder)
    kept = store.jobs.list("anna", page_size=100)[0]
    assert [record.job.name for record in kept] == [
        record.job.name for record in (*records[:44:-1], *records[14::-1], running)
    ]
    states = {record.job.state for record in kept if record.job.name != running.job.name}
    assert states == {pb.JOB_STATE_CANCELLED}
    assert is_held(folder)
    store.close()


def test_the_reserve_is_restored_as_soon_as_there_is_room(disk: Path) -> None:
    folder = disk / "store"
    store = Store(folder)
    records = [store.jobs.create(new_record()) for _ in range(20)]
    for record in records[:10]:
        # More data than fits in the log of the database.
        record.job.title = "x" * 300_000
    done = store.jobs.create(new_record())
    succeed(store, done, bytes(3 << 20))
    store.close()
    # After it is opened again, the database has no log whose space it could reuse.
    store = Store(folder)
    fill(disk)
    for record in records[:4]:
        assert store.jobs.save(cancelled(record), with_reserve=True)
    assert not is_held(folder)
    larger = (
        lambda: store.images.put("anna", b"image"),
        lambda: store.uploads.append("anna", "0" * 64, 5, 0, b"image"),
        lambda: write_checkpoint(store, records[-1].job.name, 1, b"checkpoint"),
        lambda: succeed(store, copy.deepcopy(records[-1]), b"result"),
        lambda: store.jobs.create(new_record()),
        lambda: store.jobs.save(records[-1]),
    )
    for write in larger:
        with pytest.raises(DiskFull, match="make room"):
            write()
    assert not is_held(folder)
    # Reading still works, because it needs no space.
    assert store.uploads.offset("anna", "0" * 64, 5) == (0, False)
    assert store.jobs.get(records[-1].job.name) == records[-1]
    store.jobs.delete(done.job.name)
    assert is_held(folder)
    store.close()


def test_a_server_starts_on_a_full_disk_and_can_cancel_jobs(disk: Path) -> None:
    store = Store(disk / "store")
    record = store.jobs.create(new_record([store.images.put("anna", b"image")]))
    store.close()
    fill(disk)
    store = Store(disk / "store")
    assert store.generation == 2
    assert store.jobs.save(cancelled(record), with_reserve=True)
    store.close()
    store = Store(disk / "store")
    found = store.jobs.get(record.job.name)
    assert found is not None
    assert found.job.state == pb.JOB_STATE_CANCELLED
    assert store.generation == 3
    assert store.images.get("anna", sha256_of(b"image")) is not None
    store.close()


def test_a_removed_reserve_is_created_again(tmp_path: Path) -> None:
    assert Reserve(tmp_path / "reserve").restore()
    assert is_held(tmp_path)
    (tmp_path / "reserve").unlink()
    reserve = Reserve(tmp_path / "reserve")
    assert reserve.restore()
    assert is_held(tmp_path)
    sizes = []

    def change() -> int:
        sizes.append((tmp_path / "reserve").stat().st_size)
        if len(sizes) < 4:
            raise DiskFull
        return 7

    assert reserve.freeing(change) == 7
    assert sizes[:2] == [RESERVE_BYTES] * 2
    assert RESERVE_BYTES > sizes[2] > sizes[3] > 0
    assert reserve.restore()
    assert is_held(tmp_path)

    def never() -> None:
        raise DiskFull

    with pytest.raises(DiskFull):
        reserve.freeing(never)
