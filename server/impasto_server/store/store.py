"""The store of jobs: what it has acknowledged outlives every process, and a cut of the power.

A folder with a SQLite database (`schema`) and files: images by their content, uploads not whole yet,
the newest checkpoint of each job, results. A file is written whole and flushed before the row that names
it; a row is deleted before its file. So a crash leaves at most files that no row names, and the next
opening removes them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import logging
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.blobs import Blobs, NewFile, digest, make_folder
from impasto_server.store.errors import (
    BadPageToken,
    DigestMismatch,
    DiskFull,
    MissingImage,
    QuotaExceeded,
    Refusal,
    RequestIdTaken,
    StoreError,
    WrongOffset,
    storage_errors,
)
from impasto_server.store.page_tokens import position_of, token_after
from impasto_server.store.records import (
    FINAL_STATES,
    Record,
    image_digests,
    message_columns,
    record_of,
    shown,
)
from impasto_server.store.schema import open_database
from impasto_server.store.uploads import Uploads

__all__ = [
    "BadPageToken",
    "CheckpointWriter",
    "DigestMismatch",
    "DiskFull",
    "MissingImage",
    "QuotaExceeded",
    "Record",
    "Refusal",
    "RequestIdTaken",
    "Store",
    "StoreError",
    "StoredImage",
    "WrongOffset",
]

DATABASE = "jobs.sqlite3"

RESERVE_BYTES = 2 << 20
"""Held ready on the disk, so that on a full one there is room to write down that jobs are deleted."""

_BATCH = 32
_Names = list[str]
_NAME = re.compile(r"jobs/([A-Za-z0-9_-]{1,128})")
_log = logging.getLogger(__name__)


# `Store.list` hides the type within the class.
_Records = list[Record]
_Rows = list[sqlite3.Row]


@dataclasses.dataclass(frozen=True)
class StoredImage:
    """An image of a tenant: an image file, or if `raw` a serialized `RawPixels`."""

    path: Path
    size_bytes: int
    raw: bool


class CheckpointWriter:
    """A checkpoint on its way to the disk. As a context manager it is aborted unless it was committed."""

    def __init__(self, file: NewFile, commit: Callable[[], bool]) -> None:
        self._file = file
        self._commit = commit

    def write(self, data: bytes) -> None:
        """Appends. After an error the checkpoint is aborted.

        Raises:
            StoreError: it cannot be written; `DiskFull` if there is no room.
        """
        self._file.write(data)

    def commit(self) -> bool:
        """Makes it the job's newest checkpoint, durably, in place of the one before.

        Returns:
            False if the job is deleted or final by now: then nothing is left of it.

        Raises:
            StoreError: it cannot be written; the one before stays.
        """
        try:
            return self._commit()
        finally:
            self._file.discard()

    def abort(self) -> None:
        """Forgets it; harmless once it is committed."""
        self._file.discard()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class Store:
    """Jobs, their images, checkpoints and results in a folder. Any thread may call it.

    Every call may raise `StoreError`, `DiskFull` if there is no room: then it has done nothing.

    Attributes:
        generation: how often the folder has been opened, from 1.
        missing: the files that rows name and that were not there at the opening.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the store in a folder, makes it if it is not there, and removes what a crash left.

        Raises:
            StoreError: it cannot be written to, another server has it, its database is damaged or of a newer
                program. The message says what to do.
        """
        self._folder = folder
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        make_folder(folder)
        self._folder_lock = _lock_folder(folder)
        try:
            self._temporary = folder / "temporary"
            self._checkpoints = folder / "checkpoints"
            self._results = folder / "results"
            images, uploads = folder / "images", folder / "uploads"
            for path in (self._temporary, self._checkpoints, self._results, images, uploads):
                make_folder(path)
            self._blobs = Blobs(images)
            self._uploads = Uploads(uploads)
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the use of the folder; harmless if it is ended."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None
            if self._folder_lock >= 0:
                os.close(self._folder_lock)
                self._folder_lock = -1

    # Images

    def put_image(
        self, tenant: str, data: bytes, *, raw: bool = False, quota_bytes: int | None = None
    ) -> str:
        """Stores an image of a tenant durably and counts it as used now; returns its digest.

        Args:
            tenant: whose it is.
            data: an image file, or if `raw` a deterministically serialized `RawPixels`.
            raw: which of these.
            quota_bytes: what the tenant may have stored in all.

        Raises:
            QuotaExceeded: it would have more.
        """
        sha256 = digest(data)
        if not self._touch_image(tenant, sha256):
            self._add_image(tenant, sha256, data, raw, quota_bytes, counted_bytes=0)
        return sha256

    def image(self, tenant: str, sha256: str) -> StoredImage | None:
        """An image that this tenant has; None if it has none of this digest."""
        row = self._row(
            "SELECT size_bytes, raw FROM images JOIN blobs USING (sha256) WHERE tenant = ? AND sha256 = ?",
            (tenant, sha256),
        )
        if row is None or not self._blobs.has(sha256):
            return None
        return StoredImage(self._blobs.path(sha256), row["size_bytes"], bool(row["raw"]))

    # Uploads

    def upload_offset(self, tenant: str, sha256: str, size_bytes: int) -> tuple[int, bool]:
        """How many bytes of an upload are there, and whether it is whole: an image of the tenant.

        A whole one counts as used now.
        """
        with self._uploads.part(tenant, sha256, size_bytes) as part:
            if whole := self._whole_bytes(tenant, sha256):
                return whole, True
            return part.size_bytes, False

    def append_upload(
        self,
        tenant: str,
        sha256: str,
        size_bytes: int,
        offset: int,
        data: bytes,
        quota_bytes: int | None = None,
    ) -> int:
        """Goes on with an upload; returns how many bytes of it are there now.

        Raises:
            WrongOffset: `offset` is not where the upload stands.
            DigestMismatch: the data goes beyond `size_bytes`; the upload is forgotten.
            QuotaExceeded: the tenant would have more stored than `quota_bytes`.
        """
        with self._uploads.part(tenant, sha256, size_bytes) as part:
            if whole := self._whole_bytes(tenant, sha256):
                return whole
            committed = part.size_bytes
            if offset != committed:
                raise WrongOffset(committed)
            if committed + len(data) > size_bytes:
                part.forget()
                raise DigestMismatch(
                    f"is longer than the {size_bytes} bytes that were announced; begin again"
                )
            if quota_bytes is not None:
                self._check_quota(tenant, len(data), quota_bytes)
            part.append(data)
            return committed + len(data)

    def finish_upload(
        self,
        tenant: str,
        sha256: str,
        size_bytes: int,
        check: Callable[[bytes], None],
        quota_bytes: int | None = None,
    ) -> None:
        """Makes a whole upload an image of the tenant, durably; harmless if it is one already.

        Args:
            tenant: whose it is.
            sha256: that it was announced with.
            size_bytes: that it was announced with.
            check: may refuse the data by any exception: then the upload is forgotten, and the exception
                passes.
            quota_bytes: what the tenant may have stored in all.

        Raises:
            WrongOffset: it is not whole.
            DigestMismatch: its data has another digest; the upload is forgotten.
            QuotaExceeded: the tenant would have more stored; the upload is kept.
        """
        with self._uploads.part(tenant, sha256, size_bytes) as part:
            if self._whole_bytes(tenant, sha256):
                part.forget()
                return
            if part.size_bytes != size_bytes:
                raise WrongOffset(part.size_bytes)
            data = part.read()
            try:
                if digest(data) != sha256:
                    raise DigestMismatch("is not what its digest announced; send it again from the beginning")
                check(data)
            except BaseException:
                part.forget()
                raise
            self._add_image(tenant, sha256, data, False, quota_bytes, counted_bytes=size_bytes)
            part.forget()

    # Jobs

    def create(self, record: Record) -> Record:
        """Stores a new job; durable once this returns.

        Returns:
            The job; the one that there is if it was made by an equal request of the same id.

        Raises:
            RequestIdTaken: the tenant made another request of this id.
            MissingImage: the tenant has no such image any more.
            ValueError: the record is none that may be stored: its name is not "jobs/" and url-safe base64,
                it is taken, it has no time of creation, is final, or its spec has an image's bytes.
        """
        if not _NAME.fullmatch(record.job.name):
            raise ValueError(f"{record.job.name!r} is no name of a job")
        if not record.job.HasField("create_time") or record.job.state in FINAL_STATES:
            raise ValueError("a new job has a time of creation and is not final")
        digests = image_digests(record.spec)
        with self._transaction() as database:
            if record.request_id:
                row = self._request(record.tenant, record.request_id)
                if row is not None:
                    if row["request_digest"] != record.request_digest:
                        raise RequestIdTaken(
                            "was used for another request; give each request an id of its own"
                        )
                    return record_of(row)
            for sha256 in digests:
                if self.image(record.tenant, sha256) is None:
                    raise MissingImage(sha256)
            if self._job(record.job.name) is not None:
                raise ValueError(f"there is a job {record.job.name}")
            job = shown(record.job)
            values: dict[str, Any] = {
                **message_columns(job),
                "name": job.name,
                "tenant": record.tenant,
                "request_id": record.request_id,
                "request_digest": record.request_digest,
                "create_ns": job.create_time.ToNanoseconds(),
                "spec": record.spec.SerializeToString(),
                "linger": record.linger,
                "deaths": record.deaths,
                "furthest": record.furthest,
            }
            columns, places = ", ".join(values), ", ".join(f":{column}" for column in values)
            row_id = database.execute(f"INSERT INTO jobs ({columns}) VALUES ({places})", values).lastrowid
            database.executemany(
                "INSERT INTO job_images VALUES (?, ?, ?)",
                [(row_id, sha256, record.tenant) for sha256 in digests],
            )
            database.executemany(
                "UPDATE images SET used_time = ? WHERE tenant = ? AND sha256 = ?",
                [(time.time(), record.tenant, sha256) for sha256 in digests],
            )
        return dataclasses.replace(record, job=job, checkpoint=None)

    def save(self, record: Record, *, durable: bool = True) -> bool:
        """Stores a job's message, deaths and furthest; a job that is final now loses its checkpoints.

        Args:
            record: the job.
            durable: false: a cut of the power may undo it, nothing else. A final state is always durable.

        Returns:
            False if the job is deleted, or is in a final state and `record` is in another one: then it stays
            as it is.

        Raises:
            ValueError: it has SUCCEEDED without a result; `finish` does that.
        """
        final = record.job.state in FINAL_STATES
        with self._transaction(durable=durable or final) as database:
            row = self._job(record.job.name)
            if row is None or (row["final"] and row["state"] != record.job.state):
                return False
            if record.job.state == pb.JOB_STATE_SUCCEEDED and not row["final"]:
                raise ValueError("a job succeeds by its result: call `finish`")
            self._write(database, record, result_bytes=row["result_bytes"])
        if final and not row["final"]:
            self._remove_checkpoints(record.job.name)
        return True

    def get(self, name: str, tenant: str | None = None) -> Record | None:
        """A job by its name; None if there is none, or it is another tenant's."""
        row = self._job(name)
        return None if row is None or tenant not in (None, row["tenant"]) else record_of(row)

    def list(
        self, tenant: str, *, states: Collection[int] = (), page_size: int, page_token: str = ""
    ) -> tuple[_Records, str]:
        """A page of a tenant's jobs, the newest first, and the token of the next; "" after the last.

        Jobs that come and go meanwhile make no other job appear twice or be left out.

        Args:
            tenant: whose jobs.
            states: only jobs in one of these; empty: all.
            page_size: jobs on the page at most.
            page_token: of the page before, with the same states; "": the first page.

        Raises:
            BadPageToken: the token is none of this list's.
        """
        query = "SELECT * FROM jobs WHERE tenant = ?"
        values: list[Any] = [tenant]
        if page_token:
            query += " AND (create_ns, id) < (?, ?)"
            values += position_of(self._page_key, tenant, states, page_token)
        if states:
            query += f" AND state IN ({', '.join('?' * len(states))})"
            values += states
        query += " ORDER BY create_ns DESC, id DESC LIMIT ?"
        rows = self._rows(query, (*values, page_size + 1))
        page = rows[:page_size]
        return [record_of(row) for row in page], self._next_token(
            tenant, states, page
        ) if rows != page else ""

    def by_request(self, tenant: str, request_id: str) -> Record | None:
        """The job that a request made; None if there was no such request."""
        row = self._request(tenant, request_id)
        return None if row is None else record_of(row)

    def unfinished(self) -> _Records:
        """All jobs that are not final, the oldest first."""
        return [
            record_of(row) for row in self._rows("SELECT * FROM jobs WHERE final = 0 ORDER BY create_ns, id")
        ]

    def delete(self, name: str) -> None:
        """Deletes a job, its result and its checkpoints; harmless if there is none. Its images stay on."""
        self._delete([name])

    # Checkpoints

    def checkpoint_writer(self, name: str, evaluation: int) -> CheckpointWriter:
        """Begins a checkpoint of a job, taken after an evaluation."""
        self._connection()
        file = NewFile(self._temporary)
        return CheckpointWriter(file, lambda: self._commit_checkpoint(name, evaluation, file))

    def checkpoint_path(self, name: str) -> Path | None:
        """The file of a job's newest checkpoint; None if it has none."""
        row = self._job(name)
        return None if row is None or row["checkpoint"] is None else self._checkpoint_path(row)

    def drop_checkpoints(self, name: str) -> None:
        """Forgets a job's checkpoints: it would begin anew."""
        with self._transaction() as database:
            if self._job(name) is None:
                return
            database.execute(
                "UPDATE jobs SET checkpoint = NULL, checkpoint_bytes = 0 WHERE name = ?", (name,)
            )
        self._remove_checkpoints(name)

    # Results

    def finish(self, record: Record, result: bytes) -> bool:
        """Stores a job that has SUCCEEDED with its result, a PNG, durably; drops its checkpoints.

        A repeat changes nothing: a job has one result.

        Returns:
            False if the job is deleted, or has FAILED or was CANCELLED: then it stays as it is.

        Raises:
            ValueError: `record.job` has not SUCCEEDED.
        """
        if record.job.state != pb.JOB_STATE_SUCCEEDED:
            raise ValueError("only a job that has SUCCEEDED has a result")
        with NewFile(self._temporary) as file:
            file.write(result)
            file.flush()
            with self._lock:
                row = self._job(record.job.name)
                if row is None or row["final"]:
                    return row is not None and row["state"] == pb.JOB_STATE_SUCCEEDED
                with self._published(file, self._result_path(row["name"])) as database:
                    self._write(database, record, result_bytes=len(result))
        self._remove_checkpoints(record.job.name)
        return True

    def result_path(self, name: str) -> Path | None:
        """The file of a job's result; None if it has none."""
        row = self._job(name)
        if row is None or row["result_bytes"] is None:
            return None
        path = self._result_path(row["name"])
        return path if path.is_file() else None

    # House-keeping

    def stored_bytes(self, tenant: str) -> int:
        """What a tenant has stored: images, uploads, checkpoints and results."""
        row = self._row(
            """SELECT
                (SELECT coalesce(sum(size_bytes), 0) FROM images JOIN blobs USING (sha256)
                    WHERE tenant = :tenant)
                + (SELECT coalesce(sum(checkpoint_bytes + coalesce(result_bytes, 0)), 0) FROM jobs
                    WHERE tenant = :tenant)""",
            {"tenant": tenant},
        )
        assert row is not None
        return int(row[0]) + self._uploads.stored_bytes(tenant)

    def sweep(
        self, now: float, *, max_age: float | None, max_bytes: int | None, upload_age: float = 86400
    ) -> _Names:
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
        """
        deleted: list[str] = []
        self._uploads.forget_older(now - upload_age)
        if max_age is not None:
            while names := self._oldest_final(_BATCH, before=now - max_age):
                deleted += self._delete(names)
        self._forget_images(now - upload_age)
        if max_bytes is not None:
            while self._all_stored_bytes() > max_bytes and (names := self._oldest_final(1)):
                deleted += self._delete(names)
                self._forget_images(now - upload_age)
        self._keep_reserve()
        return deleted

    # The inside

    def _open(self) -> None:
        path = self._folder / DATABASE
        if not path.exists() and (any(self._blobs) or any(self._results.iterdir())):
            raise StoreError(
                f"{self._folder} has files of jobs, but no {DATABASE}; put a copy of it back, or give "
                "another folder to begin with no jobs"
            )
        self._database = open_database(path)
        with self._transaction() as database:
            database.execute("UPDATE settings SET value = value + 1 WHERE name = 'generation'")
        settings = {row["name"]: row["value"] for row in self._rows("SELECT * FROM settings")}
        self.generation = int(settings["generation"])
        self._page_key = bytes(settings["page_key"])
        with storage_errors(self._folder):
            self.missing = tuple(self._tidy())
        for file in self.missing:
            _log.warning("file missing path=%s", file)
        self._keep_reserve()

    def _tidy(self) -> Iterator[Path]:
        """Removes files that no row names; yields those that a row names and that are not there."""
        for path in self._temporary.iterdir():
            path.unlink()

        named = {row["sha256"] for row in self._rows("SELECT sha256 FROM blobs")}
        there = set(self._blobs)
        for sha256 in there - named:
            self._blobs.remove(sha256)
        yield from (self._blobs.path(sha256) for sha256 in named - there)

        with_files = "SELECT * FROM jobs WHERE checkpoint IS NOT NULL OR result_bytes IS NOT NULL"
        results, checkpoints, lost = set(), set(), []
        for row in self._rows(with_files):
            if row["result_bytes"] is not None:
                results.add(self._result_path(row["name"]))
            if row["checkpoint"] is not None:
                path = self._checkpoint_path(row)
                checkpoints.add(path)
                if not path.is_file():
                    lost.append(row["name"])
                    yield path
        for path in set(self._results.iterdir()) - results:
            path.unlink()
        yield from (path for path in results if not path.is_file())
        for path in set(self._checkpoints.glob("*/*")) - checkpoints:
            path.unlink()
        for path in set(self._checkpoints.iterdir()) - {path.parent for path in checkpoints}:
            path.rmdir()
        for name in lost:
            self.drop_checkpoints(name)

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            raise StoreError(f"the store in {self._folder} is closed; open it anew")
        return self._database

    def _rows(self, query: str, values: Any = ()) -> _Rows:
        with self._lock, storage_errors(self._folder / DATABASE):
            return self._connection().execute(query, values).fetchall()

    def _row(self, query: str, values: Any = ()) -> sqlite3.Row | None:
        rows = self._rows(query, values)
        return rows[0] if rows else None

    def _request(self, tenant: str, request_id: str) -> sqlite3.Row | None:
        # The last condition is the index's: without it, it is not used.
        query = "SELECT * FROM jobs WHERE tenant = ? AND request_id = ? AND request_id != ''"
        return self._row(query, (tenant, request_id))

    def _job(self, name: str) -> sqlite3.Row | None:
        return self._row("SELECT * FROM jobs WHERE name = ?", (name,))

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """All that is done within, or nothing."""
        with self._lock, storage_errors(self._folder / DATABASE):
            database = self._connection()
            database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                # Some errors have rolled it back already.
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _published(self, file: NewFile, path: Path) -> Iterator[sqlite3.Connection]:
        """A transaction about a file that goes to its place: both, or neither."""
        with self._lock:
            new = not path.exists()
            try:
                with self._transaction() as database:
                    file.publish(path)
                    yield database
            except BaseException:
                if new:
                    _remove(path)
                raise

    def _write(self, database: sqlite3.Connection, record: Record, *, result_bytes: int | None) -> None:
        values = {
            **message_columns(shown(record.job)),
            "deaths": record.deaths,
            "furthest": record.furthest,
            "result_bytes": result_bytes,
        }
        if values["final"]:
            values |= {"checkpoint": None, "checkpoint_bytes": 0}
        changes = ", ".join(f"{column} = :{column}" for column in values)
        database.execute(f"UPDATE jobs SET {changes} WHERE name = :name", {**values, "name": record.job.name})

    def _delete(self, names: _Names) -> _Names:
        def delete() -> _Names:
            with self._transaction() as database:
                there = [name for name in names if self._job(name) is not None]
                database.executemany("DELETE FROM jobs WHERE name = ?", [(name,) for name in there])
            return there

        deleted = self._with_reserve(delete)
        for name in deleted:
            _remove(self._result_path(name))
            self._remove_checkpoints(name)
        return deleted

    def _next_token(self, tenant: str, states: Collection[int], page: _Rows) -> str:
        return token_after(self._page_key, tenant, states, (page[-1]["create_ns"], page[-1]["id"]))

    def _touch_image(self, tenant: str, sha256: str) -> bool:
        """Counts an image of the tenant as used now; false if it has none of this digest."""
        with self._transaction(durable=False) as database:
            if self.image(tenant, sha256) is None:
                return False
            database.execute(
                "UPDATE images SET used_time = ? WHERE tenant = ? AND sha256 = ?",
                (time.time(), tenant, sha256),
            )
        return True

    def _whole_bytes(self, tenant: str, sha256: str) -> int:
        """The size of an image of the tenant, which counts as used now; 0 if it has none of this digest."""
        with self._lock:
            image = self.image(tenant, sha256) if self._touch_image(tenant, sha256) else None
        return image.size_bytes if image else 0

    def _add_image(
        self, tenant: str, sha256: str, data: bytes, raw: bool, quota_bytes: int | None, *, counted_bytes: int
    ) -> None:
        # Written also where another tenant has it: how long this takes tells nobody what others have.
        if quota_bytes is not None:
            self._check_quota(tenant, len(data) - counted_bytes, quota_bytes)
        with NewFile(self._temporary) as file:
            file.write(data)
            file.flush()
            with self._lock:
                if quota_bytes is not None and self.image(tenant, sha256) is None:
                    self._check_quota(tenant, len(data) - counted_bytes, quota_bytes)
                with self._published(file, self._blobs.path(sha256)) as database:
                    database.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (sha256, len(data)))
                    database.execute(
                        """INSERT INTO images VALUES (?, ?, ?, ?)
                        ON CONFLICT DO UPDATE SET used_time = excluded.used_time""",
                        (tenant, sha256, raw, time.time()),
                    )

    def _check_quota(self, tenant: str, more_bytes: int, quota_bytes: int) -> None:
        needed = self.stored_bytes(tenant) + more_bytes
        if needed > quota_bytes:
            raise QuotaExceeded(quota_bytes, needed)

    def _commit_checkpoint(self, name: str, evaluation: int, file: NewFile) -> bool:
        file.flush()
        with self._lock:
            row = self._job(name)
            if row is None or row["final"]:
                return False
            path = self._checkpoint_path(row, evaluation)
            make_folder(path.parent)
            with self._published(file, path) as database:
                database.execute(
                    "UPDATE jobs SET checkpoint = ?, checkpoint_bytes = ? WHERE id = ?",
                    (evaluation, file.size_bytes, row["id"]),
                )
            for other in path.parent.iterdir():
                if other != path:
                    _remove(other)
        return True

    def _checkpoint_path(self, row: sqlite3.Row, evaluation: int | None = None) -> Path:
        evaluation = row["checkpoint"] if evaluation is None else evaluation
        return self._checkpoints / _identifier(row["name"]) / f"{evaluation}.safetensors"

    def _remove_checkpoints(self, name: str) -> None:
        """Removes the files, unless a newer checkpoint has come meanwhile."""
        with self._lock:
            if self.checkpoint_path(name) is None:
                shutil.rmtree(self._checkpoints / _identifier(name), ignore_errors=True)

    def _result_path(self, name: str) -> Path:
        return self._results / f"{_identifier(name)}.png"

    def _all_stored_bytes(self) -> int:
        row = self._row(
            """SELECT (SELECT coalesce(sum(size_bytes), 0) FROM blobs)
                + (SELECT coalesce(sum(checkpoint_bytes + coalesce(result_bytes, 0)), 0) FROM jobs)"""
        )
        assert row is not None
        return int(row[0]) + self._uploads.all_stored_bytes()

    def _oldest_final(self, limit: int, *, before: float | None = None) -> _Names:
        newest = (1 << 63) - 1 if before is None else int(before * 1e9)
        rows = self._rows(
            "SELECT name FROM jobs WHERE final = 1 AND end_ns < ? ORDER BY end_ns, id LIMIT ?",
            (newest, limit),
        )
        return [row["name"] for row in rows]

    def _forget_images(self, before: float) -> None:
        """Forgets images that no job uses and nobody has named since a time."""

        def forget() -> _Names:
            with self._transaction() as database:
                unused = database.execute(
                    """SELECT tenant, sha256 FROM images WHERE used_time < ? AND NOT EXISTS (
                        SELECT 1 FROM job_images
                        WHERE job_images.tenant = images.tenant AND job_images.sha256 = images.sha256)""",
                    (before,),
                ).fetchall()
                database.executemany("DELETE FROM images WHERE tenant = ? AND sha256 = ?", unused)
                digests = {row["sha256"] for row in unused}
                owned = "SELECT 1 FROM images WHERE sha256 = ?"
                ownerless = [each for each in digests if not database.execute(owned, (each,)).fetchone()]
                database.executemany("DELETE FROM blobs WHERE sha256 = ?", [(each,) for each in ownerless])
            return ownerless

        # Under one lock: nobody may store the same image again between its row and its file.
        with self._lock:
            for sha256 in self._with_reserve(forget):
                _remove(self._blobs.path(sha256))

    @property
    def _reserve_path(self) -> Path:
        return self._folder / "reserve"

    def _keep_reserve(self) -> None:
        if not self._reserve_path.exists():
            with contextlib.suppress(StoreError), NewFile(self._temporary) as file:
                file.write(bytes(RESERVE_BYTES))
                file.flush()
                file.publish(self._reserve_path)

    def _with_reserve(self, change: Callable[[], _Names]) -> _Names:
        """Makes a change that frees room; on a full disk with the room held ready for that."""
        try:
            return change()
        except DiskFull:
            _remove(self._reserve_path)
            return change()


def _lock_folder(folder: Path) -> int:
    """A descriptor that holds the folder for this process; the lock ends with it, however it ends."""
    path = folder / "lock"
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode(errors="replace")
            os.close(descriptor)
            raise StoreError(
                f"the folder {folder} is in use by another server (process {holder or 'unknown'}); stop it, "
                "or give another folder"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _identifier(name: str) -> str:
    """What files of a job are named after."""
    match = _NAME.fullmatch(name)
    assert match, "only such names are ever stored"
    return match[1]


def _remove(path: Path) -> None:
    """Removes a file that no row names; if that fails, the next opening does it."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("file not removed path=%s reason=%s", path, error.strerror)
