"""The results of jobs that have SUCCEEDED."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import BinaryIO

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.blobs import NewFile, file_size, remove_file
from impasto_server.store.checkpoints import Checkpoints
from impasto_server.store.database import Database
from impasto_server.store.errors import Damaged, left_for_later
from impasto_server.store.job_locks import JobLocks
from impasto_server.store.records import Record, identifier, job_row, record_of, write_job
from impasto_server.store.reserve import Reserve
from impasto_server.store.verifier import Verifier


class Results:
    """A PNG for each job that has SUCCEEDED. Any thread may call it.

    Every call may raise `StoreError`, `DiskFull` if there is no room: then it has done nothing.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        temporary: Path,
        reserve: Reserve,
        locks: JobLocks,
        checkpoints: Checkpoints,
        verifier: Verifier,
    ) -> None:
        self._database = database
        self._folder = folder
        self._temporary = temporary
        self._reserve = reserve
        self._locks = locks
        self._checkpoints = checkpoints
        self._verifier = verifier

    def finish(self, record: Record, result: BinaryIO) -> bool:
        """Stores a job that has SUCCEEDED with its result, a PNG, durably, and deletes its checkpoints.

        A repeated call changes nothing, because a job has only one result. The quota never refuses a result,
        because its space was reserved.

        Returns:
            False if nothing was changed, because the job is deleted, FAILED or CANCELLED.

        Raises:
            ValueError: `record.job` has not SUCCEEDED.
        """
        if record.job.state != pb.JOB_STATE_SUCCEEDED:
            raise ValueError("only a job that has SUCCEEDED has a result")
        name = record.job.name
        with NewFile(self._temporary, self._reserve.writing) as file:
            file.copy(result)
            file.flush()
            with self._locks.of(name):
                row = job_row(self._database.rows, name)
                if row is None or row["final"]:
                    return row is not None and row["state"] == pb.JOB_STATE_SUCCEEDED
                path = self.path_of(row)
                file.publish(path)
                stored = False
                try:
                    stored = self._store(record, file.size_bytes)
                finally:
                    if not stored:
                        remove_file(path)
        with left_for_later(name):
            self._checkpoints.remove_files(name)
        return stored

    def path(self, name: str) -> Path | None:
        """The file of a job's result, after a check that it is intact; None if the job has no result.

        Raises:
            Damaged: the file is missing, or its bytes have changed.
        """
        row = job_row(self._database.rows, name)
        if row is None or row["result_bytes"] is None:
            return None
        path, sha256 = self.path_of(row), record_of(row).job.result.sha256
        if file_size(path) == row["result_bytes"] and (not sha256 or self._verifier.holds(path, sha256)):
            return path
        if job_row(self._database.rows, name) is None:
            # The job was deleted meanwhile.
            return None
        raise Damaged(name)

    def path_of(self, row: sqlite3.Row) -> Path:
        """The path of a job's result."""
        return self._folder / f"{identifier(row['name'])}.png"

    def remove_file(self, name: str) -> None:
        """Removes the result of a deleted job."""
        with self._locks.of(name):
            remove_file(self._folder / f"{identifier(name)}.png")

    def _store(self, record: Record, result_bytes: int) -> bool:
        with self._database.transaction() as database:
            row = job_row(self._database.rows, record.job.name)
            if row is None or row["final"]:
                return False
            write_job(database, record, row, result_bytes=result_bytes)
        return True
