"""What one tenant may have stored, when it asks for much at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.records import reserved_bytes
from impasto_server.store.store import QuotaExceeded, Store
from stored_jobs import RESERVED_BYTES, accept, ended, new_record, sha256_of, succeed, write_checkpoint

QUOTA = 300_000


def at_once(calls: list[Callable[[], object]]) -> int:
    """Makes calls in threads of their own, and returns how many the quota refused."""
    refused: list[QuotaExceeded] = []
    errors: list[BaseException] = []
    start = threading.Barrier(len(calls))

    def make(call: Callable[[], object]) -> None:
        start.wait(20)
        try:
            call()
        except QuotaExceeded as error:
            refused.append(error)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    return len(refused)


def test_jobs_of_the_same_images_hold_the_quota_by_their_results(folder: Path) -> None:
    store = Store(folder, quota_bytes=QUOTA)
    image = store.images.put("anna", b"image")
    records = [new_record([image]) for _ in range(13)]
    for record in records:
        record.job.width, record.job.height = 150, 100
    room = (QUOTA - 5) // reserved_bytes(records[0].job)
    assert at_once([lambda record=record: store.jobs.create(record) for record in records]) == 13 - room
    assert store.stored_bytes("anna") <= QUOTA
    for record in store.jobs.unfinished():
        assert write_checkpoint(store, record.job.name, 1, bytes(QUOTA))
        assert succeed(store, record, bytes(100_000))
    assert store.stored_bytes("anna") == 5 + room * 100_000 <= QUOTA
    assert sum(path.stat().st_size for path in (folder / "results").iterdir()) == room * 100_000
    store.close()


def test_uploads_side_by_side_hold_the_quota(folder: Path) -> None:
    store = Store(folder, quota_bytes=QUOTA)
    pictures = [bytes([number]) * 25_000 for number in range(16)]

    def upload(data: bytes) -> None:
        for offset in range(0, len(data), 5_000):
            store.uploads.append("anna", sha256_of(data), len(data), offset, data[offset : offset + 5_000])
        store.uploads.finish("anna", sha256_of(data), len(data), accept)

    assert at_once([lambda data=data: upload(data) for data in pictures]) == 4
    assert store.stored_bytes("anna") == QUOTA
    # Another tenant has its own.
    store.images.put("bela", bytes(QUOTA))
    store.close()


def test_images_jobs_and_uploads_at_once_hold_the_quota(folder: Path) -> None:
    store = Store(folder, quota_bytes=QUOTA)
    at_once(
        [
            *(lambda n=n: store.images.put("anna", bytes([n]) * 60_000) for n in range(8)),
            *(lambda n=n: store.uploads.append("anna", f"{n:064}", 50_000, 0, b"begin") for n in range(8)),
            *(lambda: store.jobs.create(new_record()) for _ in range(8)),
        ]
    )
    assert QUOTA - RESERVED_BYTES < store.stored_bytes("anna") <= QUOTA
    store.close()


@pytest.mark.parametrize("state", [pb.JOB_STATE_CANCELLED, pb.JOB_STATE_FAILED])
def test_a_job_without_a_result_gives_its_reservation_back(store: Store, state: pb.JobState) -> None:
    record = store.jobs.create(new_record())
    assert store.stored_bytes("anna") == RESERVED_BYTES
    record.job.width = 8
    store.jobs.save(record)
    assert store.stored_bytes("anna") == RESERVED_BYTES + 4 * 3 * 4
    store.jobs.save(ended(record, state))
    assert store.stored_bytes("anna") == 0


def test_no_quota_refuses_the_result_of_an_admitted_job(folder: Path) -> None:
    store = Store(folder, quota_bytes=RESERVED_BYTES)
    record = store.jobs.create(new_record())
    assert succeed(store, record, bytes(2 * RESERVED_BYTES))
    assert store.stored_bytes("anna") == 2 * RESERVED_BYTES
    with pytest.raises(QuotaExceeded) as refused:
        store.images.put("anna", b"1")
    assert refused.value.needed_bytes == 2 * RESERVED_BYTES + 1
    store.jobs.delete(record.job.name)
    store.images.put("anna", b"1")
    store.close()


def test_an_equal_request_is_answered_though_the_quota_is_used_up(folder: Path) -> None:
    store = Store(folder, quota_bytes=RESERVED_BYTES)
    record = store.jobs.create(new_record(request_id="r"))
    assert store.jobs.create(new_record(request_id="r")) == record
    with pytest.raises(QuotaExceeded):
        store.jobs.create(new_record(request_id="s"))
    store.close()
