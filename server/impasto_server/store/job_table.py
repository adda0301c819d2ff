"""The jobs: a row for each, with what the contract shows of it and what it was asked for."""

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
    shown,
    write_job,
)
from impasto_server.store.reserve import Reserve
from impasto_server.store.results import Results

_STATES = frozenset(pb.JobState.values())

# `JobTable.list` hides the type within the class.
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
        """Stores a new job; durable once this returns. Its result's place in the quota is reserved.

        Returns:
            The job; the one that there is if it was made by an equal request of the same id.

        Raises:
            RequestIdTaken: the tenant made another request of this id.
            MissingImage: the tenant has no such image any more.
            QuotaExceeded: the tenant would have more stored than it may.
            ValueError: the record cannot be stored: its name is not "jobs/" and url-safe base64, it is
                taken, it has no time of creation, is final, or its spec has an image's bytes.
        """
        if not is_name(record.job.name):
            raise ValueError(f"{record.job.name!r} is no name of a job")
        if not record.job.HasField("create_time") or record.job.state in FINAL_STATES:
            raise ValueError("a new job has a time of creation and is not final")
        digests = image_digests(record.spec)
        earlier = self._by_equal_request(record)
        if earlier is not None:
            return earlier
        self._reserve.require()
        return self._quota.making_room(record.tenant, lambda: self._create(record, digests), keep=digests)

    def save(self, record: Record, *, durable: bool = True, with_reserve: bool = False) -> bool:
        """Stores a job's message, deaths and furthest; a job that is final now loses its checkpoints.

        Args:
            record: the job.
            durable: false: a cut of the power may undo it, nothing else. A final state is always durable.
            with_reserve: whether it may use the reserve of a full disk: for a job that becomes CANCELLED or
                FAILED, which frees what the job has.

        Returns:
            False if the job is deleted, or is in a final state and `record` is in another one: then it stays
            as it is.

        Raises:
            ValueError: it has SUCCEEDED without a result; `Results.finish` does that.
        """
        final = record.job.state in FINAL_STATES

        def save() -> tuple[bool, bool]:
            with self._database.transaction(durable=durable or final) as database:
                row = job_row(self._database.rows, record.job.name)
                if row is None or (row["final"] and row["state"] != record.job.state):
                    return False, False
                if record.job.state == pb.JOB_STATE_SUCCEEDED and not row["final"]:
                    raise ValueError("a job succeeds by its result: call `finish`")
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
        """A job by its name; None if there is none, or it is another tenant's."""
        row = job_row(self._database.rows, name)
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
            BadPageToken: the token does not belong to this list.
        """
        wanted = _STATES.intersection(states)
        query = "SELECT * FROM jobs WHERE tenant = ?"
        values: list[Any] = [tenant]
        if page_token:
            query += " AND id < ?"
            values.append(row_of(self._page_key, tenant, wanted, page_token))
        if states:
            query += f" AND state IN ({', '.join('?' * len(wanted))})"
            values += wanted
        query += " ORDER BY id DESC LIMIT ?"
        rows = self._database.rows(query, (*values, page_size + 1))
        page = rows[:page_size]
        token = token_after(self._page_key, tenant, wanted, page[-1]["id"]) if len(rows) > page_size else ""
        return [record_of(row) for row in page], token

    def by_request(self, tenant: str, request_id: str) -> Record | None:
        """The job that a request made; None if there was no such request."""
        # The last condition is the index's: without it, it is not used.
        query = "SELECT * FROM jobs WHERE tenant = ? AND request_id = ? AND request_id != ''"
        row = self._database.row(query, (tenant, request_id))
        return None if row is None else record_of(row)

    def unfinished(self) -> _Records:
        """All jobs that are not final, in the order of their numbers."""
        return [
            record_of(row) for row in self._database.rows("SELECT * FROM jobs WHERE final = 0 ORDER BY id")
        ]

    def count_unfinished(self, tenant: str | None = None) -> int:
        """How many jobs are not final: of one tenant, or of all."""
        query = "SELECT count(*) FROM jobs WHERE final = 0"
        if tenant is None:
            row = self._database.row(query)
        else:
            row = self._database.row(f"{query} AND tenant = ?", (tenant,))
        assert row is not None
        return int(row[0])

    def delete(self, name: str) -> None:
        """Deletes a job, its result and its checkpoints; harmless if there is none. Its images stay on.

        On a full disk it uses the reserve.
        """
        self.delete_all([name])

    def delete_all(self, names: _Names) -> _Names:
        """Deletes several jobs at once, as `delete` does; returns those that there were."""

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
                raise ValueError(f"there is a job {record.job.name}")
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
            raise RequestIdTaken("was used for another request; give each request an id of its own")
        return earlier

    def _check_images(self, tenant: str, digests: _Names) -> None:
        for sha256 in digests:
            owned = self._database.row(
                "SELECT 1 FROM images WHERE tenant = ? AND sha256 = ?", (tenant, sha256)
            )
            if owned is None or not self._blobs.has(sha256):
                raise MissingImage(sha256)
