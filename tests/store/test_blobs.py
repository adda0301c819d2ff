from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from impasto_server.store.blobs import Blobs, NewFile, digest, make_folder, remove_file
from impasto_server.store.errors import DiskFull, StoreError


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    make_folder(folder)
    return folder


def test_a_new_file_has_its_name_only_once_it_is_published(temporary: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    with NewFile(temporary) as file:
        file.write(b"one")
        file.write(b"two")
        file.flush()
        assert not place.exists()
        file.publish(place)
    assert place.read_bytes() == b"onetwo"
    assert file.size_bytes == 6
    assert not list(temporary.iterdir())


def test_a_new_file_replaces_the_old_one(temporary: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.write_bytes(b"old and longer")
    with NewFile(temporary) as file:
        file.write(b"new")
        file.flush()
        file.publish(place)
    assert place.read_bytes() == b"new"


def test_a_file_that_is_not_published_leaves_nothing_behind(temporary: Path) -> None:
    with NewFile(temporary) as file:
        file.write(b"one")
        assert list(temporary.iterdir())
    assert not list(temporary.iterdir())


def test_a_write_error_discards_the_file_and_refuses_more_data(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = NewFile(temporary)

    def no_room(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no_room)
        with pytest.raises(DiskFull, match="make room"):
            file.write(b"one")
    assert not list(temporary.iterdir())
    for goes_on in (lambda: file.write(b"two"), file.flush):
        with pytest.raises(StoreError, match="write it again"):
            goes_on()


def test_other_users_of_the_machine_cannot_read_the_files(temporary: Path, tmp_path: Path) -> None:
    assert temporary.stat().st_mode & 0o777 == 0o700
    with NewFile(temporary) as file:
        file.flush()
        file.publish(tmp_path / "place")
    assert (tmp_path / "place").stat().st_mode & 0o777 == 0o600


def test_blobs_are_named_by_their_content(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    sha256 = digest(b"a picture")
    assert sha256 == hashlib.sha256(b"a picture").hexdigest()
    assert not blobs.has(sha256)
    blobs.path(sha256).write_bytes(b"a picture")
    assert blobs.has(sha256)
    remove_file(blobs.path(sha256))
    remove_file(blobs.path(sha256))
    assert not blobs.has(sha256)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"file.*choose a folder"):
        make_folder(tmp_path / "file")
    with pytest.raises(StoreError, match="choose a folder"):
        make_folder(tmp_path / "file" / "below")
