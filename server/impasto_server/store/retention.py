"""What is deleted in the course of time."""

from __future__ import annotations

import contextlib

from impasto_server.store.database import Database
from impasto_server.store.errors import DiskFull
from impasto_server.store.images import Images
from impasto_server.store.job_table import JobTable
from impasto_server.store.reserve import Reserve
from impasto_server.store.upload_index import UploadIndex
from impasto_server.store.uploads import Uploads

# A crash in between leaves the files of so many jobs at most.
_BATCH = 8


class Retention:
    """Deletes what need not be kept."""

    def __init__(
        self,
        database: Database,
        jobs: JobTable,
        images: Images,
        uploads: Uploads,
        index: UploadIndex,
        reserve: Reserve,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._images = images
        self._uploads = uploads
        self._index = index
        self._reserve = reserve

    def sweep(
        self, now: float, *, max_age: float | None, max_bytes: int | None, upload_age: float = 86400
    ) -> list[str]:
        """Deletes what need not be kept; never anything that an unfinished job needs.

        First final jobs older than `max_age`, uploads left for `upload_age`, and images that no job uses and
        nobody has named for as long. Then, while everything stored is more than `max_bytes`, the oldest final
        job with those of its images.

        Args:
            now: seconds since the epoch.
            max_age: how long a final job is kept, seconds; None: for ever.
            max_bytes: what all tenants together may have stored; None: any amount.
            upload_age: how long an upload or image is kept for a job to come, seconds.

        Returns:
            The names of the deleted jobs.

        Raises:
            StoreError: it cannot go on; what was deleted is deleted.
        """
        deleted: list[str] = []
        self._bring_back_from_the_future(now)
        self._uploads.forget_older(now - upload_age)
        if max_age is not None:
            while names := self._oldest_final(_BATCH, before=now - max_age):
                deleted += self._jobs.delete_all(names)
        self._images.forget_unused(now - upload_age)
        if max_bytes is not None:
            while self.stored_bytes() > max_bytes and (names := self._oldest_final(1)):
                deleted += self._jobs.delete_all(names)
                self._images.forget_unused(now - upload_age)
        self._reserve.restore()
        return deleted

    def stored_bytes(self) -> int:
        """What all tenants together have stored: images, uploads, checkpoints and results."""
        row = self._database.row(
            """SELECT (SELECT coalesce(sum(size_bytes), 0) FROM blobs)
                + (SELECT coalesce(sum(checkpoint_bytes + coalesce(result_bytes, 0)), 0) FROM jobs)"""
        )
        assert row is not None
        return int(row[0]) + self._index.committed_bytes()

    def _bring_back_from_the_future(self, now: float) -> None:
        """What became final or was used before the clock was set back is as old as if that had just been."""
        self._index.bring_back(now)
        values = {"ns": int(now * 1e9), "now": now}
        jobs, images = "final = 1 AND end_ns > :ns", "used_time > :now"
        query = (
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM jobs WHERE {}) OR EXISTS (SELECT 1 FROM images WHERE {})"
        )
        if self._database.row(query.format(jobs, images), values):
            # On a full disk this waits for the next time.
            with contextlib.suppress(DiskFull), self._database.transaction() as database:
                database.execute(f"UPDATE jobs SET end_ns = :ns WHERE {jobs}", values)
                database.execute(f"UPDATE images SET used_time = :now WHERE {images}", values)

    def _oldest_final(self, limit: int, *, before: float | None = None) -> list[str]:
        newest = (1 << 63) - 1 if before is None else int(before * 1e9)
        rows = self._database.rows(
            "SELECT name FROM jobs WHERE final = 1 AND end_ns < ? ORDER BY end_ns, id LIMIT ?",
            (newest, limit),
        )
        return [row["name"] for row in rows]
