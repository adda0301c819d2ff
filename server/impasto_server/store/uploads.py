"""Unfinished uploads: one file for each, which can be continued after any interruption."""

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
"""Maximum number of unfinished uploads of a tenant."""

IDLE_SECONDS = 3600.0
"""An upload that got no data for this time may be discarded to make room for a new one."""

_LOCKS = 64


class Uploads:
    """Images that arrive in pieces. Their files are not flushed: the digest shows whether one is whole.

    An upload is identified by its digest and its size. Any thread may call it.
    """

    def __init__(
        self, database: Database, index: UploadIndex, images: Images, quota: Quota, reserve: Reserve
    ) -> None:
        self._database = database
        self._index = index
        self._images = images
        self._quota = quota
        self._reserve = reserve
        # Reentrant, since a thread may have to discard another upload that shares the lock.
        self._locks = [threading.RLock() for _ in range(_LOCKS)]

    def offset(self, tenant: str, sha256: str, size_bytes: int) -> tuple[int, bool]:
        """How many bytes of an upload are stored, and whether it is already an image of the tenant.

        Marks such an image as used now.
        """
        key = _key(sha256, size_bytes)
        with self._lock(key):
            if whole := self._images.use(tenant, sha256):
                return whole.size_bytes, True
            upload = self._index.get(tenant, key)
            return (upload.committed_bytes if upload else 0), False

    def append(self, tenant: str, sha256: str, size_bytes: int, offset: int, data: bytes) -> int:
        """Appends data to an upload. Returns how many bytes of it are stored now.

        The first data reserves the announced size in the tenant's quota.

        Raises:
            WrongOffset: `offset` is not the number of bytes stored.
            DigestMismatch: the data goes beyond `size_bytes`; the upload is discarded.
            QuotaExceeded: the tenant's quota is too small.
            TooManyUploads: the tenant has `MAX_UPLOADS` unfinished uploads, all used recently.
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
                    f"is longer than the {size_bytes} bytes announced; send it again from the beginning"
                )
            if not data:
                return committed
            if upload is None:
                upload = self._quota.making_room(tenant, lambda: self._begin(tenant, key, size_bytes))
            elif not upload.is_announced:
                unannounced = upload
                # Marked as used now, so that it is not given up to make room for itself.
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
        """The file of an upload whose bytes have all arrived; None if it is already an image of the tenant.

        Raises:
            WrongOffset: some bytes have not arrived.
            DigestMismatch: the bytes have another digest; the upload is discarded.
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
        """Makes a whole upload an image of the tenant, durably. Does nothing if it is one already.

        Args:
            tenant: owner of the upload.
            sha256: announced digest.
            size_bytes: announced size.
            picture_size: width and height of the picture in pixels; None if not known.

        Raises:
            WrongOffset: some bytes have not arrived.
            DigestMismatch: the bytes have another digest; the upload is discarded.
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
        """Discards an upload, if it exists."""
        key = _key(sha256, size_bytes)
        with self._lock(key):
            self._forget(self._index.get(tenant, key))

    def _check_digest(self, upload: Upload, sha256: str) -> None:
        with storage_errors(upload.path), upload.path.open("rb") as file:
            found = file_digest(file)
        if found != sha256:
            self._forget(upload)
            raise DigestMismatch("does not have the announced digest; send it again from the beginning")

    def forget_older(self, time: float) -> None:
        """Discards uploads that got no data since a time (seconds since the epoch)."""
        for key, upload in self._index.older(time):
            with self._lock(key):
                if upload.used_time < time:
                    self._forget(upload)

    def spare_bytes(self, tenant: str, before: float, keep: Collection[str]) -> int:
        """See `quota.Spare`; the spare items are idle uploads."""
        return sum(upload.announced_bytes for _, upload in self._index.older(before, tenant))

    def give_up(self, tenant: str, before: float, keep: Collection[str], needed_bytes: int) -> int:
        """See `quota.Spare`; the spare items are idle uploads."""
        given_up = 0
        left = sorted(self._index.older(before, tenant), key=lambda item: item[1].used_time)
        for key, upload in left:
            lock = self._lock(key)
            # If it is locked, it is in use. And a thread that holds one lock must not wait for another.
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
        # The index must have it before the quota is checked again.
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
        # If it is locked, it is in use.
        if time.time() - oldest.used_time > IDLE_SECONDS and lock.acquire(blocking=False):
            try:
                self._forget(oldest)
            finally:
                lock.release()
        else:
            raise TooManyUploads(tenant, MAX_UPLOADS)

    def _announce(self, tenant: str, key: str, size_bytes: int, upload: Upload) -> None:
        """Reserves the size of an upload of an older version, whose file name does not give it."""
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
