from __future__ import annotations

import time
from pathlib import Path

import pytest

from impasto_server.store.store import (
    MissingImage,
    QuotaExceeded,
    Store,
)
from support.stored_jobs import (
    RESERVED_BYTES,
    files_in,
    new_record,
    sha256_of,
)

DAY = 86_400.0


def test_an_image_belongs_only_to_its_tenant(store: Store) -> None:
    sha256 = store.images.put("anna", b"picture")
    assert sha256 == sha256_of(b"picture")
    image = store.images.get("anna", sha256)
    assert image is not None
    assert (image.path.read_bytes(), image.size_bytes, image.raw) == (b"picture", 7, False)
    assert store.images.get("bela", sha256) is None
    assert store.images.get("anna", "../jobs.sqlite3") is None


def test_tenants_share_the_file_of_an_image_but_not_its_retention(store: Store, folder: Path) -> None:
    sha256 = store.images.put("anna", b"picture", raw=True)
    store.jobs.create(new_record([sha256]))
    store.images.put("bela", b"picture", raw=True)
    assert files_in(folder) == {f"images/{sha256}"}
    assert store.stored_bytes("anna") == 7 + RESERVED_BYTES
    assert store.stored_bytes("bela") == 7
    store.retention.sweep(time.time() + 2 * DAY, max_age=None, max_bytes=None)
    assert store.images.get("bela", sha256) is None
    image = store.images.get("anna", sha256)
    assert image is not None
    assert image.raw


def test_a_quota_counts_an_image_only_once(folder: Path) -> None:
    store = Store(folder, quota_bytes=6)
    store.images.put("anna", b"1234")
    store.images.put("anna", b"1234")
    with pytest.raises(QuotaExceeded) as refused:
        store.images.put("anna", b"567")
    assert (refused.value.quota_bytes, refused.value.needed_bytes) == (6, 7)
    assert store.stored_bytes("anna") == 4
    store.images.put("bela", b"567")
    store.close()


def test_an_image_whose_file_is_lost_is_missing_until_it_is_sent_again(store: Store) -> None:
    sha256 = store.images.put("anna", b"picture")
    image = store.images.get("anna", sha256)
    assert image is not None
    image.path.unlink()
    assert store.images.get("anna", sha256) is None
    with pytest.raises(MissingImage):
        store.jobs.create(new_record([sha256]))
    store.images.put("anna", b"picture")
    assert store.jobs.create(new_record([sha256])).spec.content.sha256 == sha256
