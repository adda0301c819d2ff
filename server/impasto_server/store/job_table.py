"""The jobs: a row for each, with its message of the contract and its spec."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.blobs import Blobs
from impasto_server.store.checkpoints import Checkpoints
from impasto_server.store.database import Database
from impasto_server.store.errors import MissingImage, RequestIdTaken, left_for_later
from impasto_server.store.newest_job import NewestJob
from impasto_server.store.page_tokens import row_of, token_after
from impasto_server.store.quota import Quota
from impasto_server.store.records import (
    FINAL_STATES,
    Record,
    image_digests,
    is_name,
    job_row,
    message_columns,
    record_of,
    reserved_bytes,
    searched,
    shown,
    write_job,
)
from impasto_server.store.reserve import Reserve
from impasto_server.store.results import Results

_STATES = frozenset(pb.JobState.values())

# Within the class, `JobTable.list` hides the type.
_Records = list[Record]
_Names = list[str]


class JobTable:
    """The jobs of all tenants. Any thread may call it.

    Every call may raise `StoreError`, `DiskFull` if there is no room: then it has done nothing.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        quota: Quota,
        reserve: Reserve,
        checkpoints: Checkpoints,
        results: Results,
        newest: NewestJob,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._quota = quota
        self._reserve = reserve
        self._checkpoints = checkpoints
        self._results = results
        self._newest = newest
        key = database.row("SELECT value FROM settings WHERE name = 'page_key'")
        assert key is not None
        self._page_key = bytes(key["value"])

    def create(self, record: Record) -> Record:
        """Stores a new job durably, and reserves space for its result in the tenant's quota.

        Returns:
            The job; the existing one if an equal request with the same id has made one.

        Raises:
            RequestIdTaken: the tenant has used this request id for another request.
            MissingImage: the tenant does not have the image any more.
            QuotaExceeded: the tenant's quota is too small.
            ValueError: the record cannot be stored: its name is taken or is not "jobs/" and url-safe base64,
                it has no creation time, it is final, or its spec has an image's bytes.
        """
        if not is_name(record.job.name):
            raise ValueError(f"{record.job.name!r} is not a valid name of a job")
        if not record.job.HasField("create_time") or record.job.state in FINAL_STATES:
            raise ValueError("a new job must have a creation time and must not be final")
        digests = image_digests(record.spec)
        earlier = self._by_equal_request(record)
        if earlier is not None:
            return earlier
        self._reserve.require()
        return self._quota.making_room(record.tenant, lambda: self._create(record, digests), keep=digests)

    def save(self, record: Record, *, durable: bool = True, with_reserve: bool = False) -> bool:
        """Stores a job's message, deaths, furthest and `stays_paused`.

        A job that becomes final loses its checkpoints.

        Args:
            record: the job.
            durable: if false, a power failure (but nothing else) may undo the change. A final state is always
                durable.
            with_reserve: use the reserve if the disk is full: for a job that becomes CANCELLED or FAILED,
                which frees space.

        Returns:
            False if nothing was changed, because the job is deleted, or is in a final state other than that
            of `record`.

        Raises:
            ValueError: the record has newly SUCCEEDED; use `Results.finish`.
        """
        final = record.job.state in FINAL_STATES

        def save() -> tuple[bool, bool]:
            with self._database.transaction(durable=durable or final) as database:
                row = job_row(self._database.rows, record.job.name)
                if row is None or (row["final"] and row["state"] != record.job.state):
                    return False, False
                if record.job.state == pb.JOB_STATE_SUCCEEDED and not row["final"]:
                    raise ValueError("a job succeeds with its result: call `Results.finish`")
                write_job(database, record, row, result_bytes=row["result_bytes"])
            return True, final and not row["final"]

        if with_reserve:
            saved, became_final = self._reserve.freeing(save, self._database.recycle_log)
        else:
            self._reserve.require()
            saved, became_final = save()
        if became_final:
            with left_for_later(record.job.name):
                self._checkpoints.remove_files(record.job.name)
        self._reserve.restore()
        return saved

    def get(self, name: str, tenant: str | None = None) -> Record | None:
        """A job by its name; None if it does not exist, or belongs to another tenant than `tenant`."""
        row = job_row(self._database.rows, name)
        return None if row is None or tenant not in (None, row["tenant"]) else record_of(row)

    def list(
        self,
        tenant: str | None,
        *,
        states: Collection[int] = (),
        title: str = "",
        page_size: int,
        page_token: str = "",
    ) -> tuple[_Records, str]:
        """A page of jobs, newest first, and the token of the next page ("" on the last page).

        Jobs that are created or deleted between pages do not make other jobs appear twice or not at all.

        Args:
            tenant: owner of the jobs; None: the jobs of all tenants.
            states: only jobs in one of these states; empty: all jobs.
            title: only jobs whose title contains this, in upper or lower case; "": all jobs.
            page_size: maximum number of jobs on the page.
            page_token: token that the previous page of this list came with; "": the first page.

        Raises:
            BadPageToken: the token does not belong to this list.
        """
        wanted, part = _STATES.intersection(states), searched(title)
        query = "SELECT * FROM jobs WHERE " + ("true" if tenant is None else "tenant = ?")
        values: list[Any] = [] if tenant is None else [tenant]
        if page_token:
            query += " AND id < ?"
            values.append(row_of(self._page_key, tenant, wanted, part, page_token))
        if states:
            query += f" AND state IN ({', '.join('?' * len(wanted))})"
            values += wanted
        if part:
            query += " AND instr(title, ?)"
            values.append(part)
        query += " ORDER BY id DESC LIMIT ?"
        rows = self._database.rows(query, (*values, page_size + 1))
        page = rows[:page_size]
        token = ""
        if len(rows) > page_size:
            token = token_after(self._page_key, tenant, wanted, part, page[-1]["id"])
        return [record_of(row) for row in page], token

    def by_request(self, tenant: str, request_id: str) -> Record | None:
        """The job that a request created; None if there was no such request."""
        # SQLite uses the index only if the query repeats the condition of the index.
        query = "SELECT * FROM jobs WHERE tenant = ? AND request_id = ? AND request_id != ''"
        row = self._database.row(query, (tenant, request_id))
        return None if row is None else record_of(row)

    def unfinished(self) -> _Records:
        """All jobs that are not final, in order of their numbers."""
        return [
            record_of(row) for row in self._database.rows("SELECT * FROM jobs WHERE final = 0 ORDER BY id")
        ]

    def count_unfinished(self, tenant: str | None = None) -> int:
        """Number of jobs that are not final, of one tenant or of all tenants."""
        query = "SELECT count(*) FROM jobs WHERE final = 0"
        if tenant is None:
            row = self._database.row(query)
        else:
            row = self._database.row(f"{query} AND tenant = ?", (tenant,))
        assert row is not None
        return int(row[0])

    def delete(self, name: str) -> None:
        """Deletes a job with its result and its checkpoints, if it exists. Its images stay.

        Uses the reserve if the disk is full.
        """
        self.delete_all([name])

    def delete_all(self, names: _Names) -> _Names:
        """Deletes several jobs at once, as `delete` does. Returns the names of those that existed."""

        def delete() -> _Names:
            with self._database.transaction() as database:
                there = [name for name in names if job_row(self._database.rows, name) is not None]
                database.executemany("DELETE FROM jobs WHERE name = ?", [(name,) for name in there])
            return there

        deleted = self._reserve.freeing(delete, self._database.recycle_log)
        for name in deleted:
            with left_for_later(name):
                self._results.remove_file(name)
                self._checkpoints.remove_files(name)
        self._reserve.restore()
        return deleted

    def _create(self, record: Record, digests: _Names) -> Record:
        with self._database.transaction() as database:
            earlier = self._by_equal_request(record)
            if earlier is not None:
                return earlier
            self._check_images(record.tenant, digests)
            if job_row(self._database.rows, record.job.name) is not None:
                raise ValueError(f"there is already a job {record.job.name}")
            self._quota.check(record.tenant, reserved_bytes(record.job))
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
                "stays_paused": record.stays_paused,
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
        assert row_id is not None
        self._newest.note(row_id)
        return dataclasses.replace(record, job=job, checkpoint=None, number=row_id)

    def _by_equal_request(self, record: Record) -> Record | None:
        earlier = self.by_request(record.tenant, record.request_id) if record.request_id else None
        if earlier is not None and earlier.request_digest != record.request_digest:
            raise RequestIdTaken("was used for another request; give each request its own id")
        return earlier

    def _check_images(self, tenant: str, digests: _Names) -> None:
        for sha256 in digests:
            owned = self._database.row(
                "SELECT 1 FROM images WHERE tenant = ? AND sha256 = ?", (tenant, sha256)
            )
            if owned is None or not self._blobs.has(sha256):
                raise MissingImage(sha256)
