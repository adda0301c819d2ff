"""Opens a data folder: locks it, compares it with its database and removes what a crash left."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path

from impasto_server.store.blobs import Blobs, NewFile, make_folder, remove_file
from impasto_server.store.checkpoints import Checkpoints
from impasto_server.store.database import DATABASE, Database
from impasto_server.store.errors import StoreError, storage_errors
from impasto_server.store.log_damage import log_damage
from impasto_server.store.newest_job import NewestJob
from impasto_server.store.results import Results
from impasto_server.store.schema import is_new, newest_job
from impasto_server.store.unclaimed import Unclaimed

FEW = 32
"""Number of files without a row; a crash leaves fewer."""

_GENERATION = "generation"
_log = logging.getLogger(__name__)


class Folder:
    """A data folder and its subfolders, created if they do not exist, and locked for this process.

    Attributes:
        path: the folder itself.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            StoreError: the folder cannot be written to, or another server uses it.
        """
        self.path = path
        make_folder(path)
        self._lock = _lock_folder(path)
        try:
            for place in (self.temporary, self.checkpoints, self.results, self.images, self.uploads):
                make_folder(place)
        except BaseException:
            self.close()
            raise

    @property
    def temporary(self) -> Path:
        return self.path / "temporary"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def images(self) -> Path:
        return self.path / "images"

    @property
    def uploads(self) -> Path:
        return self.path / "uploads"

    @property
    def generation(self) -> int:
        """The generation that `note_generation` last wrote; 0 if there is none."""
        try:
            return int((self.path / _GENERATION).read_text())
        except (OSError, ValueError):
            return 0

    def note_generation(self, generation: int) -> None:
        """Writes how many times the folder has been opened, to recognize an older copy of its database.

        Raises:
            StoreError: it cannot be written.
        """
        with NewFile(self.temporary) as file:
            file.write(str(generation).encode())
            file.flush()
            file.publish(self.path / _GENERATION)

    def close(self) -> None:
        """Releases the lock. May be called again."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def check_database(self) -> bool:
        """Whether the folder has a database, so that it is not new. Changes nothing.

        Raises:
            StoreError: the database is damaged, or is missing although there are files of jobs.
        """
        path = self.path / DATABASE
        if not is_new(path):
            return True
        with storage_errors(self.path):
            used = self.generation or any(
                file.is_file()
                for place in (self.images, self.results, self.checkpoints)
                for file in place.rglob("*")
            )
        if used:
            fault = "contains no jobs" if path.exists() else "is missing"
            raise StoreError(
                f"{self.path} has files of jobs, but its {DATABASE} {fault}. Nothing was changed. Restore a "
                f"copy of {DATABASE}, or choose another folder to start without jobs"
            )
        return False


def keep_what_is_lost(folder: Folder, newest: NewestJob, unclaimed: Unclaimed) -> bool:
    """Looks for acknowledged changes that a database lost because its log was damaged or truncated.

    If there are any, the database is copied unchanged, since SQLite overwrites what it cannot read. Call this
    before the database is opened for writing. If a log was truncated, only the loss of whole jobs is noticed.

    Args:
        folder: the folder of the database.
        newest: the newest job that was acknowledged.
        unclaimed: the place for the copy.

    Returns:
        Whether changes may be lost; if so, files without a row must not be deleted.

    Raises:
        StoreError: the database cannot be read or copied; `DiskFull` if there is no space for the copy.
    """
    database = folder.path / DATABASE
    log = database.with_name(f"{DATABASE}-wal")
    damage = log_damage(log)
    generation, number = newest_job(database)
    if damage is not None:
        finding = (
            f"{damage.commits} changes after frame {damage.frame} of its log cannot be read (after a power "
            "failure, these may be changes that were not acknowledged yet)"
        )
    elif generation >= folder.generation and number < newest.number:
        finding = f"its newest job has number {number}, but number {newest.number} was stored"
    else:
        return False
    unclaimed.copy((database, log))
    _log.error(
        "the database %s has lost changes: %s. Nothing was deleted: an unchanged copy of the database and "
        "its log, and the files that no job names any more, are in %s. See what `sqlite3 %s .recover` finds "
        "there, have the missing jobs sent again, and then delete that folder",
        database,
        finding,
        unclaimed.path,
        unclaimed.path / DATABASE,
    )
    return True


def tidy(
    folder: Folder,
    database: Database,
    blobs: Blobs,
    checkpoints: Checkpoints,
    results: Results,
    unclaimed: Unclaimed,
    older: bool,
) -> list[Path]:
    """Compares files and rows before anything else uses the folder.

    A crash leaves a few files that no row names: these are removed. If there are more, or the database is an
    older copy or has lost changes, the files may be needed, and are set aside instead.

    Args:
        folder: the folder to compare.
        database: database of the folder.
        blobs: images of the folder.
        checkpoints: checkpoints of the folder; the row of a job whose checkpoint is missing is corrected.
        results: results of the folder.
        unclaimed: the place for files that are set aside.
        older: whether the database is older than the one last used with this folder.

    Returns:
        The files that rows name and that do not exist.

    Raises:
        StoreError: the folder cannot be read or written.
    """
    with storage_errors(folder.path):
        for path in folder.temporary.iterdir():
            remove_file(path)
        named, lost = _named(database, blobs, checkpoints, results)
        there = {
            path
            for place in (folder.images, folder.results, folder.checkpoints)
            for path in place.rglob("*")
            if path.is_file()
        }
        nameless = sorted(there - named)
        if older or len(nameless) > FEW:
            _set_aside(nameless, unclaimed)
        else:
            for path in nameless:
                remove_file(path)
        for path in folder.checkpoints.iterdir():
            with contextlib.suppress(OSError):
                path.rmdir()
        missing = sorted(named - there)
    for name in lost:
        checkpoints.drop(name)
    for path in missing:
        _log.warning("file missing path=%s", path)
    return missing


def _named(
    database: Database, blobs: Blobs, checkpoints: Checkpoints, results: Results
) -> tuple[set[Path], list[str]]:
    """The files that rows name, and the names of jobs whose checkpoint is missing."""
    named = {blobs.path(row["sha256"]) for row in database.rows("SELECT sha256 FROM blobs")}
    lost = []
    for row in database.rows("SELECT * FROM jobs WHERE checkpoint IS NOT NULL OR result_bytes IS NOT NULL"):
        if row["result_bytes"] is not None:
            named.add(results.path_of(row))
        if row["checkpoint"] is not None:
            path = checkpoints.path_of(row)
            named.add(path)
            if not path.is_file():
                lost.append(row["name"])
    return named, lost


def _set_aside(files: list[Path], unclaimed: Unclaimed) -> None:
    if files:
        unclaimed.move(files)
        _log.warning(
            "%d files that the database does not name were set aside; if the database was replaced by an "
            "older copy, restore the right one and these files, otherwise delete them folder=%s",
            len(files),
            unclaimed.path,
        )


def _lock_folder(folder: Path) -> int:
    """Locks a folder for this process. Closing the returned descriptor, or a crash, releases the lock."""
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
                "or choose another folder"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor
