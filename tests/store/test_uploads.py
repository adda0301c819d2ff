from __future__ import annotations

import threading
from pathlib import Path

import pytest

from impasto_server.store.store import (
    DigestMismatch,
    QuotaExceeded,
    Store,
    WrongOffset,
)
from stored_jobs import accept, files_in, new_record, sha256_of

DAY = 86_400.0


def test_an_upload_goes_on_where_it_broke_off(folder: Path) -> None:
    sha256 = sha256_of(b"12345678")
    store = Store(folder)
    assert store.uploads.offset("anna", sha256, 8) == (0, False)
    assert store.uploads.append("anna", sha256, 8, 0, b"123") == 3
    store.close()
    store = Store(folder)
    assert store.uploads.offset("anna", sha256, 8) == (3, False)
    assert store.uploads.offset("bela", sha256, 8) == (0, False)
    with pytest.raises(WrongOffset) as wrong:
        store.uploads.append("anna", sha256, 8, 2, b"3")
    assert wrong.value.committed == 3
    with pytest.raises(WrongOffset):
        store.uploads.finish("anna", sha256, 8, accept)
    assert store.uploads.append("anna", sha256, 8, 3, b"45678") == 8
    assert store.images.get("anna", sha256) is None
    seen: list[bytes] = []
    store.uploads.finish("anna", sha256, 8, seen.append)
    assert seen == [b"12345678"]
    assert store.uploads.offset("anna", sha256, 8) == (8, True)
    assert store.uploads.append("anna", sha256, 8, 0, b"123") == 8
    store.uploads.finish("anna", sha256, 8, accept)
    assert files_in(folder) == {f"images/{sha256}"}
    store.close()


def test_an_upload_of_other_data_than_announced_is_forgotten(store: Store, folder: Path) -> None:
    sha256 = sha256_of(b"1234")
    store.uploads.append("anna", sha256, 4, 0, b"4321")
    with pytest.raises(DigestMismatch):
        store.uploads.finish("anna", sha256, 4, accept)
    assert store.uploads.offset("anna", sha256, 4) == (0, False)
    store.uploads.append("anna", sha256, 4, 0, b"123")
    with pytest.raises(DigestMismatch):
        store.uploads.append("anna", sha256, 4, 3, b"45")
    assert store.uploads.offset("anna", sha256, 4) == (0, False)
    assert not files_in(folder)


def test_an_upload_that_the_check_refuses_is_forgotten(store: Store, folder: Path) -> None:
    def refuse(_: bytes) -> None:
        raise LookupError("not a picture")

    sha256 = sha256_of(b"1234")
    store.uploads.append("anna", sha256, 4, 0, b"1234")
    with pytest.raises(LookupError, match="not a picture"):
        store.uploads.finish("anna", sha256, 4, refuse)
    assert store.uploads.offset("anna", sha256, 4) == (0, False)
    assert not files_in(folder)


def test_an_upload_counts_towards_the_quota_as_announced_and_once(folder: Path) -> None:
    store = Store(folder, quota_bytes=8)
    with pytest.raises(QuotaExceeded) as refused:
        store.uploads.append("anna", sha256_of(b"123456789"), 9, 0, b"1")
    assert (refused.value.quota_bytes, refused.value.needed_bytes) == (8, 9)
    sha256 = sha256_of(b"12345678")
    store.uploads.append("anna", sha256, 8, 0, b"1")
    assert store.stored_bytes("anna") == 8
    for more in (
        lambda: store.images.put("anna", b"2"),
        lambda: store.uploads.append("anna", sha256_of(b"2"), 1, 0, b"2"),
        lambda: store.jobs.create(new_record()),
    ):
        with pytest.raises(QuotaExceeded):
            more()
    store.close()
    # The announced size is known after a restart too, and a quota that is less by now does not hinder it.
    store = Store(folder, quota_bytes=7)
    assert store.stored_bytes("anna") == 8
    assert store.uploads.append("anna", sha256, 8, 1, b"2345678") == 8
    store.uploads.finish("anna", sha256, 8, accept)
    assert store.stored_bytes("anna") == 8
    store.close()


def test_of_many_that_append_at_once_one_does(store: Store) -> None:
    data = bytes(100_000)
    outcomes: list[str] = []

    def append() -> None:
        try:
            store.uploads.append("anna", sha256_of(data), len(data), 0, data)
            outcomes.append("done")
        except WrongOffset:
            outcomes.append("wrong offset")

    threads = [threading.Thread(target=append) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done"] + ["wrong offset"] * 7
    store.uploads.finish("anna", sha256_of(data), len(data), accept)
