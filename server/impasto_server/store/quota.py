"""What one tenant may have stored."""

from __future__ import annotations

from impasto_server.store.database import Database
from impasto_server.store.errors import QuotaExceeded
from impasto_server.store.upload_index import UploadIndex


class Quota:
    """Counts what a tenant has: images, unfinished uploads as large as they were announced, results, and for
    each unfinished job a reservation for its result (`records.reserved_bytes`).

    Checkpoints are the server's own working files and do not count.
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
