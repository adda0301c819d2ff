"""What one tenant may have stored."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

from impasto_server.store.database import Database
from impasto_server.store.errors import QuotaExceeded
from impasto_server.store.upload_index import UploadIndex

SPARED_SECONDS = 600.0
"""What was used or sent so short a time ago is not given up: someone may be about to name it."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Spare(Protocol):
    """Something of which a tenant may have more than it needs."""

    def spare_bytes(self, tenant: str, before: float, keep: Collection[str]) -> int:
        """How much of it a tenant does not need.

        Args:
            tenant: whose it is.
            before: only what was last used before this time, seconds since the epoch.
            keep: digests of what is not to be given up.
        """
        ...

    def give_up(self, tenant: str, before: float, keep: Collection[str], needed_bytes: int) -> int:
        """Forgets so much of it, that which was last used the longest ago first; returns how much."""
        ...


class Quota:
    """Counts what a tenant has: images, unfinished uploads as large as they were announced, results, and for
    each unfinished job a reservation for its result (`records.reserved_bytes`).

    Checkpoints are the server's own working files and do not count.

    Attributes:
        spares: what is given up before anything is refused, in this order.
    """

    def __init__(self, database: Database, uploads: UploadIndex, quota_bytes: int | None) -> None:
        """
        Args:
            database: of jobs and images.
            uploads: those that are unfinished.
            quota_bytes: what one tenant may have; None: any amount.
        """
        self._database = database
        self._uploads = uploads
        self._quota_bytes = quota_bytes
        self.spares: tuple[Spare, ...] = ()

    def stored_bytes(self, tenant: str) -> int:
        """What a tenant has, in bytes."""
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
        """Checks that a tenant may have so much more, in a transaction or `Database.exclusive`.

        Raises:
            QuotaExceeded: it would have more than it may.
        """
        if self._quota_bytes is not None:
            needed = self.stored_bytes(tenant) + more_bytes
            if needed > self._quota_bytes:
                raise QuotaExceeded(tenant, self._quota_bytes, needed)

    def making_room(self, tenant: str, change: Callable[[], T], keep: Collection[str] = ()) -> T:
        """Makes a change; where the quota refuses it, gives up what the tenant does not need, if that helps.

        To be called without the locks of images and of the database.

        Args:
            tenant: whose quota it is.
            change: may be called several times; does nothing where it raises `QuotaExceeded`.
            keep: digests of the images that it needs.

        Raises:
            QuotaExceeded: there was no room even so.
        """
        while True:
            try:
                return change()
            except QuotaExceeded as refused:
                if not self._give_up(tenant, refused.needed_bytes - refused.quota_bytes, keep):
                    raise

    def _give_up(self, tenant: str, missing_bytes: int, keep: Collection[str]) -> bool:
        """Whether there may be room now."""
        before = time.time() - SPARED_SECONDS
        if sum(spare.spare_bytes(tenant, before, keep) for spare in self.spares) < missing_bytes:
            return False
        given_up = 0
        for spare in self.spares:
            if given_up < missing_bytes:
                given_up += spare.give_up(tenant, before, keep, missing_bytes - given_up)
        _log.info("room made in a quota tenant=%r bytes=%d", tenant, given_up)
        return given_up > 0
