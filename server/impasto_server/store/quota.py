"""Quotas: how much each tenant may store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

from impasto_server.store.database import Database
from impasto_server.store.errors import QuotaExceeded
from impasto_server.store.upload_index import UploadIndex

SPARED_SECONDS = 600.0
"""Items used more recently than this are not given up: a caller may be about to name them."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Spare(Protocol):
    """A kind of items that can be given up to make room in a quota."""

    def spare_bytes(self, tenant: str, before: float, keep: Collection[str]) -> int:
        """Bytes of the items that a tenant does not need.

        Args:
            tenant: owner of the items.
            before: only items last used before this time, seconds since the epoch.
            keep: digests of items to keep.
        """
        ...

    def give_up(self, tenant: str, before: float, keep: Collection[str], needed_bytes: int) -> int:
        """Deletes such items, least recently used first, until `needed_bytes` are free; returns the bytes."""
        ...


class Quota:
    """Counts the bytes of a tenant: images, unfinished uploads at their announced size, results, and a
    reservation for the result of each unfinished job (`records.reserved_bytes`).

    Checkpoints do not count: they are the server's own working files.

    Attributes:
        spares: kinds of items to give up before a request is refused, in this order.
    """

    def __init__(self, database: Database, uploads: UploadIndex, quota_bytes: int | None) -> None:
        """
        Args:
            database: database of jobs and images.
            uploads: the unfinished uploads.
            quota_bytes: quota of each tenant in bytes; None: unlimited.
        """
        self._database = database
        self._uploads = uploads
        self._quota_bytes = quota_bytes
        self.spares: tuple[Spare, ...] = ()

    def stored_bytes(self, tenant: str) -> int:
        """Bytes of its quota that a tenant uses."""
        row = self._database.row(
            """SELECT
                (SELECT coalesce(sum(size_bytes), 0) FROM images JOIN blobs USING (sha256)
                    WHERE tenant = :tenant)
                + (SELECT coalesce(sum(reserved_bytes + coalesce(result_bytes, 0)), 0) FROM jobs
                    WHERE tenant = :tenant)""",
            {"tenant": tenant},
        )
        assert row is not None
        return int(row[0]) + self._uploads.announced_bytes(tenant)

    def check(self, tenant: str, more_bytes: int) -> None:
        """Checks that a tenant may store more. Call it in a transaction or `Database.exclusive`.

        Raises:
            QuotaExceeded: the tenant's quota is too small.
        """
        if self._quota_bytes is not None:
            needed = self.stored_bytes(tenant) + more_bytes
            if needed > self._quota_bytes:
                raise QuotaExceeded(tenant, self._quota_bytes, needed)

    def making_room(self, tenant: str, change: Callable[[], T], keep: Collection[str] = ()) -> T:
        """Makes a change. If the quota refuses it, first gives up items that the tenant does not need.

        Call this without holding the locks of images and of the database.

        Args:
            tenant: owner of the quota.
            change: may be called several times; must do nothing if it raises `QuotaExceeded`.
            keep: digests of the images that the change needs.

        Raises:
            QuotaExceeded: there is no room even so.
        """
        while True:
            try:
                return change()
            except QuotaExceeded as refused:
                if not self._give_up(tenant, refused.needed_bytes - refused.quota_bytes, keep):
                    raise

    def _give_up(self, tenant: str, missing_bytes: int, keep: Collection[str]) -> bool:
        """Gives up items. Returns whether there may be room now."""
        before = time.time() - SPARED_SECONDS
        if sum(spare.spare_bytes(tenant, before, keep) for spare in self.spares) < missing_bytes:
            return False
        given_up = 0
        for spare in self.spares:
            if given_up < missing_bytes:
                given_up += spare.give_up(tenant, before, keep, missing_bytes - given_up)
        _log.info("room made in a quota tenant=%r bytes=%d", tenant, given_up)
        return given_up > 0
