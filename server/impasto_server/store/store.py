"""The store of jobs. Whatever it has acknowledged survives the end of any process, and power failures.

It is a folder with a SQLite database (`schema`) and files: images by their content, unfinished uploads, the
newest checkpoint of each job, and results. A file is written whole and flushed before the row that names it;
a row is deleted before its file. So a crash leaves at most a few files that no row names, and the next
opening removes them. If the database is an older copy, or lost changes because its log was damaged, more
files have no row: these are set aside, and nothing is removed.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from impasto_server.store.blobs import Blobs
from impasto_server.store.checkpoints import Checkpoints, CheckpointWriter
from impasto_server.store.database import DATABASE, Database
from impasto_server.store.errors import (
    BadPageToken,
    Damaged,
    DigestMismatch,
    DiskFull,
    MissingImage,
    QuotaExceeded,
    Refusal,
    RequestIdTaken,
    StoreBusy,
    StoreClosed,
    StoreError,
    TooManyUploads,
    WrongOffset,
    storage_errors,
)
from impasto_server.store.images import Images, StoredImage
from impasto_server.store.job_locks import JobLocks
from impasto_server.store.job_table import JobTable
from impasto_server.store.newest_job import NewestJob
from impasto_server.store.opening import Folder, keep_what_is_lost, tidy
from impasto_server.store.quota import Quota
from impasto_server.store.records import Record
from impasto_server.store.reserve import Reserve
from impasto_server.store.results import Results
from impasto_server.store.retention import Retention
from impasto_server.store.schema import newest_job
from impasto_server.store.unclaimed import Unclaimed
from impasto_server.store.upload_index import UploadIndex
from impasto_server.store.uploads import Uploads
from impasto_server.store.usage import UsageMeter
from impasto_server.store.verifier import Verifier

__all__ = [
    "DATABASE",
    "BadPageToken",
    "CheckpointWriter",
    "Damaged",
    "DigestMismatch",
    "DiskFull",
    "MissingImage",
    "QuotaExceeded",
    "Record",
    "Refusal",
    "RequestIdTaken",
    "Store",
    "StoreBusy",
    "StoreClosed",
    "StoreError",
    "StoredImage",
    "TooManyUploads",
    "WrongOffset",
]


class Store:
    """Jobs, their images, checkpoints and results in a folder. Any thread may call its parts.

    Attributes:
        images: images of tenants.
        uploads: unfinished uploads of images.
        jobs: the jobs themselves.
        checkpoints: the newest checkpoint of each job.
        results: the results of jobs that have SUCCEEDED.
        retention: deletes everything that need not be kept.
        usage: measures how much is stored.
        generation: how many times the folder has been opened, this time included.
        missing: the files that rows name but that were missing at the opening.
    """

    def __init__(self, folder: Path, *, quota_bytes: int | None = None) -> None:
        """Opens the store in a folder, creates it if necessary, and removes what a crash left.

        Args:
            folder: the folder, which is locked against other servers until `close`.
            quota_bytes: maximum bytes that one tenant may store; None: unlimited.

        Raises:
            StoreError: the folder cannot be written to, another server uses it, or its database is missing,
                damaged or from a newer version. The message says what to do; nothing was changed.
        """
        self._folder = Folder(folder)
        self._database: Database | None = None
        try:
            self._open(self._folder, quota_bytes)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the store and unlocks the folder. Later calls raise `StoreClosed`. May be called again."""
        if self._database is not None:
            self._database.close()
        self._folder.close()

    def stored_bytes(self, tenant: str) -> int:
        """Bytes of its quota that a tenant uses: stored, announced and reserved."""
        return self._quota.stored_bytes(tenant)

    def unnamed_file(self) -> BinaryIO:
        """Creates a file without a name on the store's disk; it exists as long as it is open.

        Raises:
            StoreError: it cannot be created.
        """
        with storage_errors(self._folder.temporary):
            return cast(BinaryIO, tempfile.TemporaryFile(dir=self._folder.temporary, buffering=0))

    def _open(self, folder: Folder, quota_bytes: int | None) -> None:
        # A server must start on a full disk too, so that jobs can be deleted.
        reserve = Reserve(folder.path / "reserve")
        is_used = reserve.freeing(folder.check_database)
        newest, unclaimed = NewestJob(folder.path / "newest_job"), Unclaimed(folder.path)
        has_lost = is_used and reserve.freeing(lambda: keep_what_is_lost(folder, newest, unclaimed))
        database = self._database = reserve.freeing(lambda: Database(folder.path))
        with storage_errors(folder.uploads):
            index = UploadIndex(folder.uploads)
        blobs, verifier, locks = Blobs(folder.images), Verifier(), JobLocks()
        quota = self._quota = Quota(database, index, quota_bytes)
        self.checkpoints = Checkpoints(database, folder.checkpoints, folder.temporary, reserve, locks)
        self.results = Results(
            database, folder.results, folder.temporary, reserve, locks, self.checkpoints, verifier
        )
        self.images = Images(database, blobs, folder.temporary, quota, reserve, verifier)
        self.uploads = Uploads(database, index, self.images, quota, reserve)
        quota.spares = (self.uploads, self.images)
        self.jobs = JobTable(database, blobs, quota, reserve, self.checkpoints, self.results, newest)
        self.retention = Retention(database, self.jobs, self.images, self.uploads, index, reserve)
        self.usage = UsageMeter(folder.path, database, index, self.retention)
        noted, opened = folder.generation, database.generation()
        # `noted` is the generation of the database that was last used with this folder.
        older = has_lost or opened < noted
        self.missing = tuple(tidy(folder, database, blobs, self.checkpoints, self.results, unclaimed, older))
        if has_lost:
            # Otherwise the next opening would find the same damage again.
            database.empty_log()
        # It must grow even with an older copy of the database: event numbers are derived from it.
        self.generation = max(opened, noted) + 1
        set_generation = functools.partial(database.set_generation, self.generation)
        reserve.freeing(set_generation, database.recycle_log)
        # If it cannot be written, the previous generation stays noted.
        with contextlib.suppress(DiskFull):
            folder.note_generation(self.generation)
            newest.begin(newest_job(database.path)[1], folder.temporary)
        reserve.restore()
