"""How a data folder is opened: locked, compared with its database, and rid of what a crash left."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from impasto_server.store.blobs import Blobs, NewFile, make_folder
from impasto_server.store.checkpoints import Checkpoints
from impasto_server.store.database import DATABASE, Database
from impasto_server.store.errors import StoreError, storage_errors
from impasto_server.store.results import Results
from impasto_server.store.schema import is_new

UNCLAIMED = "unclaimed"
"""Where files are set aside that no row names, and that no crash can have left."""

FEW = 32
"""Files that no row names: a crash leaves fewer."""

_GENERATION = "generation"
_log = logging.getLogger(__name__)


class Folder:
    """The places in a data folder, made if they are not there, and locked for this process.

    Attributes:
        path: the folder itself.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            StoreError: it cannot be written to, or another server has it.
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
        """How often the folder had been opened when it was last opened; 0 if that was never noted."""
        try:
            return int((self.path / _GENERATION).read_text())
        except (OSError, ValueError):
            return 0

    def note_generation(self, generation: int) -> None:
        """Notes how often the folder has been opened, so that an older copy of its database is known as one.

        Raises:
            StoreError: it cannot be written.
        """
        with NewFile(self.temporary) as file:
            file.write(str(generation).encode())
            file.flush()
            file.publish(self.path / _GENERATION)

    def close(self) -> None:
        """Gives up the lock; harmless if it is given up."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def check_database(self) -> None:
        """Changes nothing.

        Raises:
            StoreError: the database is damaged, or missing although there are files of jobs.
        """
        path = self.path / DATABASE
        if not is_new(path):
            return
        with storage_errors(self.path):
            used = self.generation or any(
                file.is_file()
                for place in (self.images, self.results, self.checkpoints)
                for file in place.rglob("*")
            )
        if used:
            fault = "has no jobs in it" if path.exists() else "is missing"
            raise StoreError(
                f"{self.path} has been used, but its {DATABASE} {fault}. Nothing was changed. Put a copy of "
                f"{DATABASE} back, or give another folder to begin with no jobs"
            )


def tidy(
    folder: Folder, database: Database, blobs: Blobs, checkpoints: Checkpoints, results: Results, older: bool
) -> list[Path]:
    """Compares files and rows when nobody else uses the folder yet.

    Of the files that no row names, a crash leaves a few: these are removed. If there are more, or the
    database is an older copy, they may be good, and are set aside.

    Args:
        folder: what is compared.
        database: of the folder.
        blobs: of the folder.
        checkpoints: of the folder; a job whose checkpoint is missing is noted as having none.
        results: of the folder.
        older: whether the database is older than what was last used with this folder.

    Returns:
        The files that rows name and that are not there.

    Raises:
        StoreError: the folder cannot be read or written.
    """
    with storage_errors(folder.path):
        for path in folder.temporary.iterdir():
            path.unlink()
        named, lost = _named(database, blobs, checkpoints, results)
        there = {
            path
            for place in (folder.images, folder.results, folder.checkpoints)
            for path in place.rglob("*")
            if path.is_file()
        }
        unclaimed = sorted(there - named)
        if older or len(unclaimed) > FEW:
            _set_aside(folder, unclaimed)
        else:
            for path in unclaimed:
                path.unlink()
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
    """The files that rows name, and the names of jobs whose checkpoint is not there."""
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


def _set_aside(folder: Folder, files: list[Path]) -> None:
    if not files:
        return
    place = folder.path / UNCLAIMED / str(max(_numbers(folder.path / UNCLAIMED), default=0) + 1)
    for file in files:
        kept = place / file.relative_to(folder.path)
        make_folder(kept.parent)
        os.replace(file, kept)
    _log.warning(
        "%d files that the database does not name were set aside; if the database was replaced by an older "
        "copy, put the right one and these files back, else delete them folder=%s",
        len(files),
        place,
    )


def _numbers(folder: Path) -> Iterator[int]:
    if folder.is_dir():
        yield from (int(path.name) for path in folder.iterdir() if path.name.isdecimal())


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
