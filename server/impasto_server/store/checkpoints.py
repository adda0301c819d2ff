"""The newest whole checkpoint of each job that is not final."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from impasto_server.store.blobs import NewFile, file_size, make_folder, remove_file
from impasto_server.store.database import Database
from impasto_server.store.errors import left_for_later
from impasto_server.store.job_locks import JobLocks
from impasto_server.store.records import identifier, job_row
from impasto_server.store.reserve import Reserve


class CheckpointWriter:
    """A checkpoint that is being written. As a context manager, it is aborted unless it was committed."""

    def __init__(self, file: NewFile, commit: Callable[[], bool]) -> None:
        self._file = file
        self._commit = commit

    def write(self, data: bytes) -> None:
        """Appends data. An error aborts the checkpoint.

        Raises:
            StoreError: it cannot be written; `DiskFull` if there is no room.
        """
        self._file.write(data)

    def commit(self) -> bool:
        """Makes this the job's newest checkpoint, durably, and removes the previous one.

        Returns:
            False if the job was deleted or is final by now; the checkpoint is then removed.

        Raises:
            StoreError: it cannot be written; the previous checkpoint stays.
        """
        try:
            return self._commit()
        finally:
            self._file.discard()

    def abort(self) -> None:
        """Discards the checkpoint. Does nothing after `commit`."""
        self._file.discard()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class Checkpoints:
    """The checkpoints: a folder for each job, with a file named after the checkpoint's evaluation.

    Any thread may call it. Every call may raise `StoreError`, `DiskFull` if there is no room.
    """

    def __init__(
        self, database: Database, folder: Path, temporary: Path, reserve: Reserve, locks: JobLocks
    ) -> None:
        self._database = database
        self._folder = folder
        self._temporary = temporary
        self._reserve = reserve
        self._locks = locks

    def writer(self, name: str, evaluation: int) -> CheckpointWriter:
        """Begins to write a checkpoint of a job, taken after an evaluation."""
        self._database.check_in_place()
        file = NewFile(self._temporary, self._reserve.writing)
        return CheckpointWriter(file, lambda: self._commit(name, evaluation, file))

    def path(self, name: str) -> Path | None:
        """The file of a job's newest checkpoint; None if it has none."""
        row = job_row(self._database.rows, name)
        return None if row is None or row["checkpoint"] is None else self.path_of(row)

    def path_of(self, row: sqlite3.Row) -> Path:
        """The checkpoint file that a job's row names; the job must have a checkpoint."""
        return self._path(row["name"], row["checkpoint"])

    def drop(self, name: str) -> None:
        """Deletes a job's checkpoints, so that it starts from the beginning."""

        def drop() -> bool:
            with self._database.transaction() as database:
                changed = database.execute(
                    "UPDATE jobs SET checkpoint = NULL, checkpoint_bytes = 0 WHERE name = ?", (name,)
                )
            return changed.rowcount > 0

        if self._reserve.freeing(drop, self._database.recycle_log):
            with left_for_later(name):
                self.remove_files(name)
            self._reserve.restore()

    def remove_files(self, name: str) -> None:
        """Removes the checkpoint files of a job, unless it got a newer checkpoint meanwhile.

        The next opening removes files that cannot be removed now.
        """
        with self._locks.of(name):
            if self.path(name) is None:
                shutil.rmtree(self._folder / identifier(name), ignore_errors=True)

    def _path(self, name: str, evaluation: int) -> Path:
        return self._folder / identifier(name) / f"{evaluation}.safetensors"

    def _commit(self, name: str, evaluation: int, file: NewFile) -> bool:
        file.flush()
        row = job_row(self._database.rows, name)
        if row is None or row["final"]:
            return False
        path = self._path(name, evaluation)
        with self._locks.of(name):
            self._database.check_in_place()
            make_folder(path.parent)
            is_new = file_size(path) is None
            file.publish(path)
            stored = False
            try:
                with self._database.transaction() as database:
                    stored = bool(
                        database.execute(
                            """UPDATE jobs SET checkpoint = ?, checkpoint_bytes = ?
                                WHERE id = ? AND final = 0""",
                            (evaluation, file.size_bytes, row["id"]),
                        ).rowcount
                    )
            except BaseException:
                if is_new:
                    remove_file(path)
                raise
            if stored:
                with left_for_later(name):
                    for other in path.parent.iterdir():
                        if other != path:
                            remove_file(other)
                return True
        self.remove_files(name)
        return False
