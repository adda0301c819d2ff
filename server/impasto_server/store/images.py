"""Images by their content: one file per image, shared by its owners, and a row for each owner."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

from impasto_server.store.blobs import Blobs, NewFile, digest, remove_file
from impasto_server.store.database import Database
from impasto_server.store.errors import storage_errors
from impasto_server.store.quota import Quota
from impasto_server.store.reserve import Reserve
from impasto_server.store.verifier import Verifier

_BATCH = 8

_UNUSED = """FROM images JOIN blobs USING (sha256) WHERE used_time < :before AND NOT EXISTS (
    SELECT 1 FROM job_images WHERE job_images.tenant = images.tenant AND job_images.sha256 = images.sha256)"""

_UNUSED_OF_TENANT = f"{_UNUSED} AND tenant = :tenant AND sha256 NOT IN (SELECT value FROM json_each(:keep))"


@dataclasses.dataclass(frozen=True)
class StoredImage:
    """An image of a tenant.

    Attributes:
        path: its file, which is never changed, only removed.
        size_bytes: length of the file.
        raw: True for a serialized `RawPixels`, false for an image file.
        width, height: size of the picture in pixels; None if it is not known yet.
    """

    path: Path
    size_bytes: int
    raw: bool
    width: int | None = None
    height: int | None = None


@dataclasses.dataclass(frozen=True)
class _New:
    """An image to be stored: see `Images.add`. `counted`: True if the quota already counts it."""

    sha256: str
    size_bytes: int
    raw: bool
    size: tuple[int, int] | None
    counted: bool


class Images:
    """The images of all tenants. Any thread may call it.

    Every call may raise `StoreError`, `DiskFull` if there is no room: then it has done nothing.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        temporary: Path,
        quota: Quota,
        reserve: Reserve,
        verifier: Verifier,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._temporary = temporary
        self._quota = quota
        self._reserve = reserve
        self._verifier = verifier
        # An image must not be stored again between the deletion of its row and that of its file.
        self._files_lock = threading.Lock()

    def put(self, tenant: str, data: bytes, *, raw: bool = False, size: tuple[int, int] | None = None) -> str:
        """Stores an image of a tenant durably, marks it as used now and returns its digest.

        Args:
            tenant: owner of the image.
            data: an image file, or with `raw` a deterministically serialized `RawPixels`.
            raw: whether `data` is a `RawPixels`.
            size: width and height of the picture in pixels, if known.

        Raises:
            QuotaExceeded: the tenant's quota is too small.
        """
        sha256 = digest(data)
        if self.use(tenant, sha256) is None:
            self.add(tenant, sha256, data, raw=raw, size=size)
        elif size is not None:
            self.remember_size(sha256, *size)
        return sha256

    def get(self, tenant: str, sha256: str) -> StoredImage | None:
        """The image of a tenant with a digest; None if the tenant has no such image.

        A damaged image counts as missing; storing it again repairs it.
        """
        row = self._database.row(
            """SELECT size_bytes, raw, width, height FROM images JOIN blobs USING (sha256)
                WHERE tenant = ? AND sha256 = ?""",
            (tenant, sha256),
        )
        if row is None or not self._verifier.holds(self._blobs.path(sha256), sha256):
            return None
        return StoredImage(
            self._blobs.path(sha256), row["size_bytes"], bool(row["raw"]), row["width"], row["height"]
        )

    def use(self, tenant: str, sha256: str) -> StoredImage | None:
        """As `get`, and marks the image as used now."""
        image = self.get(tenant, sha256)
        if image is None:
            return None
        self._reserve.require()
        with self._database.transaction(durable=False) as database:
            used = database.execute(
                "UPDATE images SET used_time = ? WHERE tenant = ? AND sha256 = ?",
                (time.time(), tenant, sha256),
            ).rowcount
        return image if used else None

    def remember_size(self, sha256: str, width: int, height: int) -> None:
        """Stores the size of a picture in pixels. Does nothing if there is no such image."""
        new = "SELECT 1 FROM blobs WHERE sha256 = ? AND (width IS NOT ? OR height IS NOT ?)"
        if self._database.row(new, (sha256, width, height)):
            self._reserve.require()
            with self._database.transaction(durable=False) as database:
                database.execute(
                    "UPDATE blobs SET width = ?, height = ? WHERE sha256 = ?", (width, height, sha256)
                )

    def add(
        self,
        tenant: str,
        sha256: str,
        data: bytes,
        *,
        raw: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Stores an image that the tenant does not have, or whose file is damaged.

        Args:
            tenant: owner of the image.
            sha256: digest of the data.
            data: as for `put`.
            raw: as for `put`.
            size: as for `put`.

        Raises:
            QuotaExceeded: the tenant's quota is too small.
        """
        new = _New(sha256, len(data), raw, size, counted=False)
        self._making_room(tenant, new, io.BytesIO(data), None)

    def add_file(
        self,
        tenant: str,
        sha256: str,
        path: Path,
        *,
        size: tuple[int, int] | None,
        stored: Callable[[], None],
    ) -> None:
        """As `add`, for an uploaded image file, which the quota already counts as an upload.

        Args:
            tenant: owner of the image.
            sha256: digest of the file.
            path: the file, which is copied.
            size: as for `put`.
            stored: called once the image is stored, before any other check of the quota.

        Raises:
            QuotaExceeded: the tenant's quota is too small.
        """
        with storage_errors(path), path.open("rb") as file:
            new = _New(sha256, os.fstat(file.fileno()).st_size, raw=False, size=size, counted=True)
            self._making_room(tenant, new, file, stored)

    def _making_room(self, tenant: str, new: _New, data: BinaryIO, stored: Callable[[], None] | None) -> None:
        self._quota.making_room(tenant, lambda: self._add(tenant, new, data, stored), keep=(new.sha256,))

    def forget_unused(self, before: float) -> None:
        """Deletes images that no job uses and no call has named since a time (seconds since the epoch)."""
        forgotten = _BATCH
        while forgotten == _BATCH:
            forgotten, _ = self._forget_some(_UNUSED, {"before": before}, math.inf)

    def spare_bytes(self, tenant: str, before: float, keep: Collection[str]) -> int:
        """See `quota.Spare`; the spare items are images that no job uses."""
        row = self._database.row(
            f"SELECT coalesce(sum(size_bytes), 0) {_UNUSED_OF_TENANT}", _values(tenant, before, keep)
        )
        assert row is not None
        return int(row[0])

    def give_up(self, tenant: str, before: float, keep: Collection[str], needed_bytes: int) -> int:
        """See `quota.Spare`; the spare items are images that no job uses."""
        query, values = f"{_UNUSED_OF_TENANT} ORDER BY used_time", _values(tenant, before, keep)
        given_up, forgotten = 0, _BATCH
        while given_up < needed_bytes and forgotten == _BATCH:
            forgotten, freed = self._forget_some(query, values, needed_bytes - given_up)
            given_up += freed
        return given_up

    def _add(self, tenant: str, new: _New, data: BinaryIO, stored: Callable[[], None] | None) -> None:
        # Checked before the file is written, and again in the transaction.
        self._check_quota(tenant, new)
        # Written even if another tenant has it, so that the time that this takes reveals nothing.
        with NewFile(self._temporary, self._reserve.writing) as file:
            file.copy(data)
            file.flush()
            path = self._blobs.path(new.sha256)
            with self._files_lock:
                is_new = not self._blobs.has(new.sha256)
                file.publish(path)
                try:
                    with self._database.exclusive():
                        self._add_rows(tenant, new)
                        if stored is not None:
                            stored()
                except BaseException:
                    if is_new:
                        remove_file(path)
                    raise

    def _check_quota(self, tenant: str, new: _New) -> None:
        owned = "SELECT 1 FROM images WHERE tenant = ? AND sha256 = ?"
        if not new.counted and not self._database.row(owned, (tenant, new.sha256)):
            self._quota.check(tenant, new.size_bytes)

    def _add_rows(self, tenant: str, new: _New) -> None:
        width, height = new.size or (None, None)
        with self._database.transaction() as database:
            self._check_quota(tenant, new)
            database.execute(
                """INSERT INTO blobs (sha256, size_bytes, width, height) VALUES (?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET width = coalesce(excluded.width, width),
                    height = coalesce(excluded.height, height)""",
                (new.sha256, new.size_bytes, width, height),
            )
            database.execute(
                """INSERT INTO images VALUES (?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET used_time = excluded.used_time""",
                (tenant, new.sha256, new.raw, time.time()),
            )

    def _forget_some(self, query: str, values: dict[str, Any], enough_bytes: float) -> tuple[int, int]:
        """Deletes one batch of images, small enough that a crash leaves only a few files.

        Args:
            query: selects the unused images.
            values: parameters of the query.
            enough_bytes: stops once images of this size in total are deleted.

        Returns:
            Number of deleted images, and their bytes.
        """

        def forget() -> tuple[list[sqlite3.Row], list[str]]:
            with self._database.transaction() as database:
                unused: list[sqlite3.Row] = []
                query_some = f"SELECT tenant, sha256, size_bytes {query} LIMIT {_BATCH}"
                for row in database.execute(query_some, values).fetchall():
                    if _bytes(unused) < enough_bytes:
                        unused.append(row)
                keys = [(row["tenant"], row["sha256"]) for row in unused]
                database.executemany("DELETE FROM images WHERE tenant = ? AND sha256 = ?", keys)
                digests = {row["sha256"] for row in unused}
                owned = "SELECT 1 FROM images WHERE sha256 = ?"
                ownerless = [each for each in digests if not database.execute(owned, (each,)).fetchone()]
                database.executemany("DELETE FROM blobs WHERE sha256 = ?", [(each,) for each in ownerless])
            return unused, ownerless

        with self._files_lock:
            forgotten, ownerless = self._reserve.freeing(forget, self._database.recycle_log)
            for sha256 in ownerless:
                remove_file(self._blobs.path(sha256))
        return len(forgotten), _bytes(forgotten)


def _bytes(images: list[sqlite3.Row]) -> int:
    return sum(row["size_bytes"] for row in images)


def _values(tenant: str, before: float, keep: Collection[str]) -> dict[str, Any]:
    return {"tenant": tenant, "before": before, "keep": json.dumps(list(keep))}
