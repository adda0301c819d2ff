"""The quota of a tenant that makes many requests at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store import quota
from impasto_server.store.records import reserved_bytes
from impasto_server.store.store import QuotaExceeded, Store
from support.stored_jobs import RESERVED_BYTES, ended, new_record, sha256_of, succeed, write_checkpoint

QUOTA = 300_000
LONG = quota.SPARED_SECONDS + 60


def at_once(calls: list[Callable[[], object]]) -> int:
    """Makes each call in its own thread. Returns how many the quota refused."""
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


def test_jobs_created_at_once_from_the_same_images_respect_the_quota(folder: Path) -> None:
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


def test_parallel_uploads_respect_the_quota(folder: Path) -> None:
    store = Store(folder, quota_bytes=QUOTA)
    pictures = [bytes([number]) * 25_000 for number in range(16)]

    def upload(data: bytes) -> None:
        for offset in range(0, len(data), 5_000):
            store.uploads.append("anna", sha256_of(data), len(data), offset, data[offset : offset + 5_000])
        store.uploads.finish("anna", sha256_of(data), len(data), None)

    assert at_once([lambda data=data: upload(data) for data in pictures]) == 4
    assert store.stored_bytes("anna") == QUOTA
    # Another tenant has its own quota.
    store.images.put("bela", bytes(QUOTA))
    store.close()


def test_images_jobs_and_uploads_at_once_respect_the_quota(folder: Path) -> None:
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
def test_a_job_that_ends_without_a_result_releases_its_reservation(store: Store, state: pb.JobState) -> None:
    record = store.jobs.create(new_record())
    assert store.stored_bytes("anna") == RESERVED_BYTES
    record.job.width = 8
    store.jobs.save(record)
    assert store.stored_bytes("anna") == RESERVED_BYTES + 4 * 3 * 4
    store.jobs.save(ended(record, state))
    assert store.stored_bytes("anna") == 0


def test_the_quota_never_refuses_the_result_of_an_accepted_job(folder: Path) -> None:
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


def test_an_equal_request_is_answered_even_if_the_quota_is_used_up(folder: Path) -> None:
    store = Store(folder, quota_bytes=RESERVED_BYTES)
    record = store.jobs.create(new_record(request_id="r"))
    assert store.jobs.create(new_record(request_id="r")) == record
    with pytest.raises(QuotaExceeded):
        store.jobs.create(new_record(request_id="s"))
    store.close()


@pytest.fixture
def ago(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A function that sets the clock back from the true time, by seconds."""
    true = time.time
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: true() - seconds)


def has(store: Store, *pictures: bytes, tenant: str = "anna") -> list[bool]:
    return [store.images.get(tenant, sha256_of(picture)) is not None for picture in pictures]


def picture(number: int, size_bytes: int = 50_000) -> bytes:
    return bytes([number]) * size_bytes


@pytest.mark.parametrize("change", ["image", "upload", "job"])
def test_unused_images_make_room_the_least_recently_used_first(
    folder: Path, ago: Callable[[float], None], change: str
) -> None:
    pictures = [picture(number) for number in range(6)]
    store = Store(folder, quota_bytes=QUOTA + RESERVED_BYTES)
    for seconds, number in enumerate((3, 0, 5, 1, 4, 2)):
        ago(LONG + 100 - seconds)
        store.images.put("anna", pictures[number])
    # The oldest image is used by a job, and the next one was used again.
    store.jobs.create(new_record([sha256_of(pictures[3])]))
    ago(LONG)
    store.images.put("anna", pictures[0])
    ago(0)
    if change == "image":
        store.images.put("anna", picture(7, 60_000))
    elif change == "upload":
        store.uploads.append("anna", "7" * 64, 60_000, 0, b"begin")
    else:
        store.jobs.create(new_record([sha256_of(pictures[5])]))
    # A job's own images are not given up for its result.
    gone = (1, 4) if change == "job" else (5, 1)
    assert has(store, *pictures) == [number not in gone for number in range(6)]
    assert store.stored_bytes("anna") <= QUOTA + RESERVED_BYTES
    assert len(list((folder / "images").iterdir())) == (5 if change == "image" else 4)
    store.close()
    assert Store(folder).missing == ()


def test_recently_used_images_and_those_of_other_tenants_are_kept(
    folder: Path, ago: Callable[[float], None]
) -> None:
    store = Store(folder, quota_bytes=QUOTA)
    ago(LONG)
    store.images.put("bela", picture(0, QUOTA))
    store.images.put("anna", picture(1))
    store.uploads.append("anna", "1" * 64, 50_000, 0, b"begin")
    ago(quota.SPARED_SECONDS - 60)
    store.images.put("anna", picture(2, 100_000))
    store.uploads.append("anna", "2" * 64, 100_000, 0, b"begin")
    ago(0)
    # Nothing is given up if it would not be enough.
    with pytest.raises(QuotaExceeded) as refused:
        store.images.put("anna", picture(3, 100_001))
    assert refused.value.needed_bytes == QUOTA + 100_001
    assert has(store, picture(1), picture(2, 100_000)) == [True, True]
    store.images.put("anna", picture(3, 100_000))
    assert has(store, picture(1), picture(2, 100_000), picture(3, 100_000)) == [False, True, True]
    assert store.uploads.offset("anna", "1" * 64, 50_000) == (0, False)
    assert store.uploads.offset("anna", "2" * 64, 100_000) == (5, False)
    assert has(store, picture(0, QUOTA), tenant="bela") == [True]
    store.close()


def test_an_upload_in_progress_is_not_given_up_for_its_own_data(
    folder: Path, ago: Callable[[float], None]
) -> None:
    store = Store(folder, quota_bytes=8)
    ago(LONG)
    store.uploads.append("anna", sha256_of(b"12345678"), 8, 0, b"1234")
    store.close()
    [path] = (folder / "uploads").glob("*/*.part")
    # An old upload of an older version, whose file name does not give its size.
    path = path.rename(path.with_name(path.name.replace(".8.part", ".part")))
    os.utime(path, (time.time(), time.time()))
    ago(0)
    store = Store(folder, quota_bytes=7)
    with pytest.raises(QuotaExceeded):
        store.uploads.append("anna", sha256_of(b"12345678"), 8, 4, b"5678")
    assert store.uploads.offset("anna", sha256_of(b"12345678"), 8) == (4, False)
    store.close()


def test_many_calls_at_once_that_need_room_respect_the_quota(
    folder: Path, ago: Callable[[float], None]
) -> None:
    store = Store(folder, quota_bytes=QUOTA)
    ago(LONG)
    for number in range(20):
        store.images.put("anna", picture(number, 10_000))
    for number in range(10):
        store.uploads.append("anna", f"{number:064}", 10_000, 0, b"begin")
    assert store.stored_bytes("anna") == QUOTA
    ago(0)
    refused = at_once(
        [
            *(lambda n=n: store.images.put("anna", bytes([n]) * 40_000) for n in range(6)),
            *(lambda n=n: store.uploads.append("anna", f"{n:063}x", 40_000, 0, b"begin") for n in range(6)),
            *(lambda: store.jobs.create(new_record()) for _ in range(3)),
        ]
    )
    assert refused < 15
    assert QUOTA - RESERVED_BYTES < store.stored_bytes("anna") <= QUOTA
    store.close()
    store = Store(folder)
    assert store.missing == ()
    store.close()
