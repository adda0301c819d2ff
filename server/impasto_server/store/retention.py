"""Deletes final jobs, uploads and images after their time."""

from __future__ import annotations

import contextlib

from impasto_server.store.database import Database
from impasto_server.store.errors import DiskFull
from impasto_server.store.images import Images
from impasto_server.store.job_table import JobTable
from impasto_server.store.reserve import Reserve
from impasto_server.store.upload_index import UploadIndex
from impasto_server.store.uploads import Uploads

# A crash leaves the files of at most this many jobs.
_BATCH = 8


class Retention:
    """Deletes everything that need not be kept any longer."""

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
        """Deletes everything that need not be kept, but nothing that an unfinished job needs.

        First it deletes final jobs older than `max_age`, uploads idle for `upload_age`, and images that no
        job uses and no call has named for `upload_age`. Then, while all tenants together store more than
        `max_bytes`, it deletes the oldest final job and the images that only this job used.

        Args:
            now: current time, seconds since the epoch.
            max_age: how long a final job is kept, in seconds; None: for ever.
            max_bytes: maximum bytes that all tenants together may store; None: unlimited.
            upload_age: how long an unused upload or image is kept, in seconds.

        Returns:
            The names of the deleted jobs.

        Raises:
            StoreError: the sweep cannot go on; earlier deletions stay.
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
        """Bytes that all tenants together store: images, uploads, checkpoints and results."""
        row = self._database.row(
            """SELECT (SELECT coalesce(sum(size_bytes), 0) FROM blobs)
                + (SELECT coalesce(sum(checkpoint_bytes + coalesce(result_bytes, 0)), 0) FROM jobs)"""
        )
        assert row is not None
        return int(row[0]) + self._index.committed_bytes()

    def _bring_back_from_the_future(self, now: float) -> None:
        """Sets times after `now` to `now`: the clock was set back since."""
        self._index.bring_back(now)
        values = {"ns": int(now * 1e9), "now": now}
        jobs, images = "final = 1 AND end_ns > :ns", "used_time > :now"
        query = (
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM jobs WHERE {}) OR EXISTS (SELECT 1 FROM images WHERE {})"
        )
        if self._database.row(query.format(jobs, images), values):
            # If the disk is full, the next sweep tries again.
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
