"""Uploads that are not whole yet: one file for each, which may be gone on with after any break."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection
from pathlib import Path

from impasto_server.store.blobs import digest, file_digest, make_folder, pieces, remove_file, write_all
from impasto_server.store.database import Database
from impasto_server.store.errors import DigestMismatch, TooManyUploads, WrongOffset, storage_errors
from impasto_server.store.images import Images
from impasto_server.store.quota import Quota
from impasto_server.store.reserve import Reserve
from impasto_server.store.upload_index import Upload, UploadIndex

MAX_UPLOADS = 256
"""Unfinished uploads that a tenant may have."""

IDLE_SECONDS = 3600.0
"""After so long without data, the oldest upload makes room for a new one."""

_LOCKS = 64


class Uploads:
    """Images on their way in pieces. A file is not flushed: its digest tells in the end whether it is whole.

    Uploads of the same digest and another size are other uploads. Any thread may call it.
    """

    def __init__(
        self, database: Database, index: UploadIndex, images: Images, quota: Quota, reserve: Reserve
    ) -> None:
        self._database = database
        self._index = index
        self._images = images
        self._quota = quota
        self._reserve = reserve
        # Of a thread that has one already, since it may have to forget another upload of the same lock.
        self._locks = [threading.RLock() for _ in range(_LOCKS)]

    def offset(self, tenant: str, sha256: str, size_bytes: int) -> tuple[int, bool]:
        """How many bytes of an upload are there, and whether it is whole: an image of the tenant.

        A whole one counts as used now.
        """
        key = _key(sha256, size_bytes)
        with self._lock(key):
            if whole := self._images.use(tenant, sha256):
                return whole.size_bytes, True
            upload = self._index.get(tenant, key)
            return (upload.committed_bytes if upload else 0), False

    def append(self, tenant: str, sha256: str, size_bytes: int, offset: int, data: bytes) -> int:
        """Goes on with an upload; returns how many bytes of it are there now.

        Its first data reserves the announced size in the tenant's quota.

        Raises:
            WrongOffset: `offset` is not where the upload stands.
            DigestMismatch: the data goes beyond `size_bytes`; the upload is forgotten.
            QuotaExceeded: the tenant would have more stored than it may.
            TooManyUploads: the tenant has `MAX_UPLOADS` unfinished ones, all of them used not long ago.
        """
        key = _key(sha256, size_bytes)
        with self._lock(key):
            self._database.check_in_place()
            if whole := self._images.use(tenant, sha256):
                return whole.size_bytes
            upload = self._index.get(tenant, key)
            committed = upload.committed_bytes if upload else 0
            if offset != committed:
                raise WrongOffset(committed)
            if committed + len(data) > size_bytes:
                self._forget(upload)
                raise DigestMismatch(
                    f"is longer than the {size_bytes} bytes that were announced; begin again"
                )
            if not data:
                return committed
            if upload is None:
                upload = self._quota.making_room(tenant, lambda: self._begin(tenant, key, size_bytes))
            elif not upload.is_announced:
                unannounced = upload
                # Used now, it is not given up to make room for itself.
                upload.used_time = time.time()
                self._quota.making_room(tenant, lambda: self._announce(tenant, key, size_bytes, unannounced))
            try:
                self._write(upload.path, committed, data)
            except BaseException:
                if not committed:
                    self._forget(upload)
                raise
            upload.committed_bytes = committed + len(data)
            upload.used_time = time.time()
            return upload.committed_bytes

    def whole(self, tenant: str, sha256: str, size_bytes: int) -> Path | None:
        """The file of an upload that has all its bytes; None if the tenant has the image already.

        Raises:
            WrongOffset: it has not.
            DigestMismatch: they have another digest; the upload is forgotten.
        """
        key = _key(sha256, size_bytes)
        with self._lock(key):
            upload = self._index.get(tenant, key)
            if self._images.use(tenant, sha256):
                self._forget(upload)
                return None
            if upload is None or upload.committed_bytes != size_bytes:
                raise WrongOffset(upload.committed_bytes if upload else 0)
            self._check_digest(upload, sha256)
            return upload.path

    def finish(self, tenant: str, sha256: str, size_bytes: int, picture_size: tuple[int, int] | None) -> None:
        """Makes a whole upload an image of the tenant, durably; harmless if it is one already.

        Args:
            tenant: whose it is.
            sha256: that it was announced with.
            size_bytes: that it was announced with.
            picture_size: width and height of the picture in pixels, to be remembered, or None.

        Raises:
            WrongOffset: it is not whole.
            DigestMismatch: its data has another digest; the upload is forgotten.
        """
        key = _key(sha256, size_bytes)
        with self._lock(key):
            upload = self._index.get(tenant, key)
            if self._images.use(tenant, sha256):
                self._forget(upload)
                return
            if upload is None or upload.committed_bytes != size_bytes:
                raise WrongOffset(upload.committed_bytes if upload else 0)
            self._check_digest(upload, sha256)
            done = upload
            self._images.add_file(
                tenant, sha256, upload.path, size=picture_size, stored=lambda: self._index.drop(done)
            )
            self._forget(upload)

    def forget(self, tenant: str, sha256: str, size_bytes: int) -> None:
        """Forgets an upload; harmless if there is none."""
        key = _key(sha256, size_bytes)
        with self._lock(key):
            self._forget(self._index.get(tenant, key))

    def _check_digest(self, upload: Upload, sha256: str) -> None:
        with storage_errors(upload.path), upload.path.open("rb") as file:
            found = file_digest(file)
        if found != sha256:
            self._forget(upload)
            raise DigestMismatch("is not what its digest announced; send it again from the beginning")

    def forget_older(self, time: float) -> None:
        """Forgets uploads that nothing came for since a time, seconds since the epoch."""
        for key, upload in self._index.older(time):
            with self._lock(key):
                if upload.used_time < time:
                    self._forget(upload)

    def spare_bytes(self, tenant: str, before: float, keep: Collection[str]) -> int:
        """As `quota.Spare` says: uploads that were left."""
        return sum(upload.announced_bytes for _, upload in self._index.older(before, tenant))

    def give_up(self, tenant: str, before: float, keep: Collection[str], needed_bytes: int) -> int:
        """As `quota.Spare` says: uploads that were left."""
        given_up = 0
        left = sorted(self._index.older(before, tenant), key=lambda item: item[1].used_time)
        for key, upload in left:
            lock = self._lock(key)
            # Someone who holds it is using it. And a thread that has one lock must not wait for another.
            if given_up < needed_bytes and lock.acquire(blocking=False):
                try:
                    if upload.used_time < before and self._index.get(tenant, key) is upload:
                        self._forget(upload)
                        given_up += upload.announced_bytes
                finally:
                    lock.release()
        return given_up

    def _begin(self, tenant: str, key: str, size_bytes: int) -> Upload:
        path = self._index.path(tenant, key, size_bytes)
        make_folder(path.parent)
        upload = Upload(path, size_bytes, 0, time.time())
        # Until the quota's next check, the index has it.
        with self._database.exclusive():
            self._make_place(tenant)
            self._quota.check(tenant, size_bytes)
            self._index.put(tenant, key, upload)
        return upload

    def _make_place(self, tenant: str) -> None:
        if self._index.count(tenant) < MAX_UPLOADS:
            return
        key, oldest = self._index.oldest(tenant)
        lock = self._lock(key)
        # Someone who holds it is using it.
        if time.time() - oldest.used_time > IDLE_SECONDS and lock.acquire(blocking=False):
            try:
                self._forget(oldest)
            finally:
                lock.release()
        else:
            raise TooManyUploads(tenant, MAX_UPLOADS)

    def _announce(self, tenant: str, key: str, size_bytes: int, upload: Upload) -> None:
        """Reserves the size of an upload of an older version, whose file does not tell it."""
        path = self._index.path(tenant, key, size_bytes)
        with self._database.exclusive(), storage_errors(path):
            self._quota.check(tenant, size_bytes - upload.announced_bytes)
            os.rename(upload.path, path)
            upload.path, upload.announced_bytes = path, size_bytes

    def _write(self, path: Path, before: int, data: bytes) -> None:
        """Appends all of the data, or nothing."""
        with storage_errors(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                for piece in pieces(data):
                    with self._reserve.writing():
                        write_all(descriptor, piece)
            except BaseException:
                os.ftruncate(descriptor, before)
                raise
            finally:
                os.close(descriptor)

    def _forget(self, upload: Upload | None) -> None:
        if upload is not None:
            remove_file(upload.path)
            self._index.drop(upload)

    def _lock(self, key: str) -> threading.RLock:
        return self._locks[hash(key) % _LOCKS]


def _key(sha256: str, size_bytes: int) -> str:
    return digest(f"{sha256} {size_bytes}".encode())
