"""Stored files whose bytes have changed."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import pytest

from impasto_server.store.store import Damaged, Store
from impasto_server.store.verifier import Verifier
from support.stored_jobs import image_bytes, make_job, new_record, sha256_of, succeed

PICTURE = b"a picture of some length"


def flip(path: Path) -> None:
    """Changes one byte of a file; of its metadata, only the times change."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


def test_a_damaged_image_counts_as_missing(
    store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sha256 = store.images.put("anna", PICTURE)
    assert image_bytes(store, "anna", sha256) == PICTURE
    flip(folder / "images" / sha256)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert store.images.get("anna", sha256) is None
            assert image_bytes(store, "anna", sha256) is None
    assert len([record for record in caplog.records if "damaged" in record.message]) == 1
    assert store.uploads.offset("anna", sha256, len(PICTURE)) == (0, False)


@pytest.mark.parametrize("way", ["put", "upload"])
def test_sending_a_damaged_image_again_repairs_it(folder: Path, way: str) -> None:
    store = Store(folder, quota_bytes=len(PICTURE) if way == "put" else None)
    sha256 = store.images.put("anna", PICTURE)
    flip(folder / "images" / sha256)
    if way == "put":
        assert store.images.put("anna", PICTURE) == sha256
    else:
        assert store.uploads.append("anna", sha256, len(PICTURE), 0, PICTURE) == len(PICTURE)
        store.uploads.finish("anna", sha256, len(PICTURE), None)
    assert image_bytes(store, "anna", sha256) == PICTURE
    assert store.stored_bytes("anna") == len(PICTURE)
    store.close()


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing"])
def test_a_damaged_result_is_not_returned(store: Store, folder: Path, damage: str) -> None:
    record, other = make_job(store), make_job(store)
    assert store.results.path(record.job.name) is None
    succeed(store, record, b"the result")
    succeed(store, other, b"the other result")
    path = store.results.path(record.job.name)
    assert path is not None
    assert path.read_bytes() == b"the result"
    if damage == "flipped":
        flip(path)
    elif damage == "missing":
        path.unlink()
    else:
        os.truncate(path, 5 if damage == "truncated" else 0)
    for _ in range(2):
        with pytest.raises(Damaged, match=f"result of {record.job.name} is damaged; paint the picture again"):
            store.results.path(record.job.name)
    assert store.results.path(other.job.name) is not None
    store.jobs.delete(record.job.name)
    assert store.results.path(record.job.name) is None


def test_an_unchanged_file_is_hashed_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(PICTURE)
    hashed = []
    sha256 = hashlib.sha256

    def counted(*data: bytes) -> object:
        hashed.append(data)
        return sha256(*data)

    verifier, digest = Verifier(), sha256_of(PICTURE)
    monkeypatch.setattr(hashlib, "sha256", counted)
    # The file was written so recently that another change might not show in its times.
    assert verifier.holds(path, digest)
    assert verifier.holds(path, digest)
    assert len(hashed) == 2
    os.utime(path, (1_700_000_000, 1_700_000_000))
    for _ in range(3):
        assert verifier.holds(path, digest)
    assert len(hashed) == 3
    flip(path)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert not verifier.holds(path, digest)
    assert not verifier.holds(tmp_path / "none", digest)


def test_an_image_whose_size_is_known_is_not_opened_again(store: Store, folder: Path) -> None:
    unknown, known = store.images.put("anna", b"first"), store.images.put("anna", b"second", size=(3, 2))
    images = [store.images.get("anna", sha256) for sha256 in (unknown, known)]
    assert [(image.width, image.height) for image in images if image] == [(None, None), (3, 2)]
    for height in (29, 30, 30):
        store.images.remember_size(unknown, 40, height)
    store.images.remember_size("0" * 64, 40, 30)
    assert store.images.put("bela", b"second") == known
    store.uploads.append("anna", sha256_of(b"third"), 5, 0, b"third")
    store.uploads.finish("anna", sha256_of(b"third"), 5, (7, 6))
    store.close()
    store = Store(folder)
    sizes = {}
    for tenant, data in (("anna", b"first"), ("bela", b"second"), ("anna", b"third")):
        image = store.images.get(tenant, sha256_of(data))
        assert image is not None
        sizes[data] = (image.width, image.height)
    assert sizes == {b"first": (40, 30), b"second": (3, 2), b"third": (7, 6)}
    assert store.jobs.create(new_record([known])).spec.content.sha256 == known
    store.close()
