from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from impasto_server.store import uploads
from impasto_server.store.store import (
    DigestMismatch,
    QuotaExceeded,
    Store,
    TooManyUploads,
    WrongOffset,
)
from impasto_server.store.uploads import IDLE_SECONDS, MAX_UPLOADS
from support.stored_jobs import files_in, new_record, sha256_of

DAY = 86_400.0


def test_an_upload_continues_where_it_stopped(folder: Path) -> None:
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
        store.uploads.finish("anna", sha256, 8, None)
    assert store.uploads.append("anna", sha256, 8, 3, b"45678") == 8
    assert store.images.get("anna", sha256) is None
    whole = store.uploads.whole("anna", sha256, 8)
    assert whole is not None
    assert whole.read_bytes() == b"12345678"
    store.uploads.finish("anna", sha256, 8, (4, 2))
    image = store.images.get("anna", sha256)
    assert image is not None
    assert (image.width, image.height) == (4, 2)
    assert store.uploads.whole("anna", sha256, 8) is None
    assert store.uploads.offset("anna", sha256, 8) == (8, True)
    assert store.uploads.append("anna", sha256, 8, 0, b"123") == 8
    store.uploads.finish("anna", sha256, 8, None)
    assert files_in(folder) == {f"images/{sha256}"}
    store.close()


def test_an_upload_that_does_not_match_its_digest_is_discarded(store: Store, folder: Path) -> None:
    sha256 = sha256_of(b"1234")
    store.uploads.append("anna", sha256, 4, 0, b"4321")
    with pytest.raises(DigestMismatch):
        store.uploads.finish("anna", sha256, 4, None)
    assert store.uploads.offset("anna", sha256, 4) == (0, False)
    store.uploads.append("anna", sha256, 4, 0, b"123")
    with pytest.raises(DigestMismatch):
        store.uploads.append("anna", sha256, 4, 3, b"45")
    assert store.uploads.offset("anna", sha256, 4) == (0, False)
    assert not files_in(folder)


def test_a_refused_upload_can_be_discarded(store: Store, folder: Path) -> None:
    sha256 = sha256_of(b"1234")
    store.uploads.append("anna", sha256, 4, 0, b"1234")
    assert store.uploads.whole("anna", sha256, 4) is not None
    store.uploads.forget("anna", sha256, 4)
    store.uploads.forget("anna", sha256, 4)
    assert store.uploads.offset("anna", sha256, 4) == (0, False)
    assert not files_in(folder)


def test_the_quota_counts_the_announced_size_of_an_upload_once(folder: Path) -> None:
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
    # The announced size is known even after a restart, and a quota that was reduced does not stop the upload.
    store = Store(folder, quota_bytes=7)
    assert store.stored_bytes("anna") == 8
    assert store.uploads.append("anna", sha256, 8, 1, b"2345678") == 8
    store.uploads.finish("anna", sha256, 8, None)
    assert store.stored_bytes("anna") == 8
    store.close()


def test_only_one_of_many_simultaneous_appends_succeeds(store: Store) -> None:
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
    store.uploads.finish("anna", sha256_of(data), len(data), None)


def begin_uploads(store: Store, number: int, tenant: str = "anna") -> None:
    for i in range(number):
        store.uploads.append(tenant, f"{i:064}", 5, 0, b"12")


def set_idle(folder: Path, seconds: float) -> None:
    """Makes the uploads look idle for some time; the next opening notices this."""
    for path in (folder / "uploads").glob("*/*.part"):
        os.utime(path, (time.time() - seconds, time.time() - seconds))


def test_the_number_of_unfinished_uploads_is_limited(store: Store, folder: Path) -> None:
    begin_uploads(store, MAX_UPLOADS)
    with pytest.raises(TooManyUploads, match=rf"{MAX_UPLOADS} unfinished uploads.*finish one") as refused:
        store.uploads.append("anna", "f" * 64, 5, 0, b"12")
    assert refused.value.limit == MAX_UPLOADS
    assert store.uploads.offset("anna", "f" * 64, 5) == (0, False)
    # Existing uploads continue, other tenants have their own limit, and a finished upload makes room.
    assert store.uploads.append("anna", f"{7:064}", 5, 2, b"345") == 5
    begin_uploads(store, 1, "bela")
    with pytest.raises(DigestMismatch):
        store.uploads.finish("anna", f"{7:064}", 5, None)
    assert store.uploads.append("anna", "f" * 64, 5, 0, b"12") == 2
    assert len(files_in(folder)) == MAX_UPLOADS + 1


def test_an_idle_upload_makes_room_for_a_new_one(folder: Path) -> None:
    store = Store(folder)
    begin_uploads(store, MAX_UPLOADS)
    store.close()
    set_idle(folder, IDLE_SECONDS + 60)
    store = Store(folder)
    for i in range(1, MAX_UPLOADS):
        store.uploads.append("anna", f"{i:064}", 5, 2, b"3")
    assert store.uploads.append("anna", "f" * 64, 5, 0, b"12") == 2
    assert store.uploads.offset("anna", f"{0:064}", 5) == (0, False)
    assert store.uploads.offset("anna", f"{1:064}", 5) == (3, False)
    with pytest.raises(TooManyUploads):
        store.uploads.append("anna", "e" * 64, 5, 0, b"12")
    assert len(files_in(folder)) == MAX_UPLOADS
    store.close()


def test_idle_uploads_are_discarded_even_after_a_restart(folder: Path) -> None:
    store = Store(folder)
    begin_uploads(store, 3)
    store.close()
    set_idle(folder, 2 * DAY)
    store = Store(folder)
    store.uploads.append("anna", f"{1:064}", 5, 2, b"3")
    store.retention.sweep(time.time(), max_age=None, max_bytes=None)
    assert [store.uploads.offset("anna", f"{i:064}", 5)[0] for i in range(3)] == [0, 3, 0]
    assert store.stored_bytes("anna") == 5
    assert len(files_in(folder)) == 1
    store.close()


def test_receiving_a_piece_of_an_upload_lists_no_folders(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_uploads(store, 20)

    def listing(*_: object) -> None:
        raise AssertionError("a folder is listed")

    data = bytes(100)
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, listing)
    for offset in range(0, 100, 10):
        store.uploads.offset("anna", sha256_of(data), 100)
        store.uploads.append("anna", sha256_of(data), 100, offset, data[offset : offset + 10])
    store.uploads.finish("anna", sha256_of(data), 100, None)
    assert store.stored_bytes("anna") == 20 * 5 + 100


def test_an_upload_of_an_older_version_continues(folder: Path) -> None:
    data = b"12345678"
    sha256 = sha256_of(data)
    store = Store(folder)
    store.uploads.append("anna", sha256, 8, 0, b"123")
    store.close()
    [path] = (folder / "uploads").glob("*/*.part")
    # The name of its file did not give its size.
    path.rename(path.with_name(path.name.replace(".8.part", ".part")))
    store = Store(folder, quota_bytes=8)
    assert store.stored_bytes("anna") == 3
    assert store.uploads.offset("anna", sha256, 8) == (3, False)
    assert store.uploads.append("anna", sha256, 8, 3, b"4") == 4
    assert store.stored_bytes("anna") == 8
    store.close()
    store = Store(folder, quota_bytes=8)
    assert store.stored_bytes("anna") == 8
    store.uploads.append("anna", sha256, 8, 4, b"5678")
    store.uploads.finish("anna", sha256, 8, None)
    assert files_in(folder) == {f"images/{sha256}"}
    store.close()


def test_an_upload_that_becomes_an_image_is_never_counted_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, counted = b"12345678", []
    store.uploads.append("anna", sha256_of(data), 8, 0, data)

    def removed(path: Path) -> None:
        # The image is stored, but the upload is not removed yet.
        counted.append(store.stored_bytes("anna"))
        path.unlink()

    monkeypatch.setattr(uploads, "remove_file", removed)
    store.uploads.finish("anna", sha256_of(data), 8, None)
    assert counted == [8]
