"""The connections to the database: one writer, with one transaction at a time, and a pool of readers."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from impasto_server.store.errors import StoreBusy, closed, removed, storage_errors
from impasto_server.store.schema import BUSY_SECONDS, open_database, open_reader

DATABASE = "jobs.sqlite3"

_BUSY_AGAIN_SECONDS = 0.2
_IDLE_READERS = 8


class Database:
    """The database of a folder. Any thread may use it."""

    def __init__(self, folder: Path) -> None:
        """Opens the database, or creates it.

        Raises:
            StoreError: it cannot be opened.
        """
        self.path = folder / DATABASE
        self._lock = threading.RLock()
        self._owner = 0
        self._closed = False
        self._found_locked = False
        self._readers_lock = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._writer = open_database(self.path)
        self._inode = _inode(self.path)

    def close(self) -> None:
        """Closes all connections once the current transaction has ended. May be called again."""
        with self._lock, self._readers_lock:
            self._closed = True
            while self._readers:
                self._readers.pop().close()
            # The last connection to close moves the whole log to the database.
            self._writer.close()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keeps all other threads from changing the database.

        Raises:
            StoreBusy: another thread has kept it for too long.
        """
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise StoreBusy(f"{self.path} is busy; try again")
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction: commits all changes made within, or none. `rows` within it sees its changes.

        Args:
            durable: if false, a power failure (but nothing else) may undo the transaction.

        Raises:
            StoreBusy: another process has locked the database.
            StoreError: the database cannot be written, or its file was removed, so that all changes would be
                lost.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        with self.exclusive(), storage_errors(self.path):
            self.check_in_place()
            assert not self._owner, "transactions are not nested"
            self._begin(durable, deadline)
            self._owner = threading.get_ident()
            try:
                yield self._writer
                # Before the commit: after it, no error may make the change look refused.
                self.check_in_place()
                self._writer.execute("COMMIT")
            except BaseException:
                # After some errors, SQLite has rolled it back already.
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            finally:
                self._owner = 0

    def rows(self, query: str, values: Any = ()) -> list[sqlite3.Row]:
        """The rows of a query. Waits for no writer, in this process or another.

        Raises:
            StoreError: the database cannot be read.
        """
        with storage_errors(self.path):
            if self._owner == threading.get_ident():
                return self._writer.execute(query, values).fetchall()
            with self._reader() as reader:
                return reader.execute(query, values).fetchall()

    def row(self, query: str, values: Any = ()) -> sqlite3.Row | None:
        """The first row of a query; None if there is no row."""
        rows = self.rows(query, values)
        return rows[0] if rows else None

    def generation(self) -> int:
        """How many times the database was opened before this time."""
        row = self.row("SELECT value FROM settings WHERE name = 'generation'")
        assert row is not None
        return int(row["value"])

    def set_generation(self, generation: int) -> None:
        """Stores how many times the database has been opened, durably."""
        with self.transaction() as database:
            database.execute("UPDATE settings SET value = ? WHERE name = 'generation'", (generation,))

    def recycle_log(self) -> None:
        """Makes the space of the write-ahead log reusable, as far as is possible without waiting."""
        with self.exclusive(), contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def empty_log(self) -> None:
        """Moves the write-ahead log to the database and truncates it, as far as possible."""
        with self.exclusive(), contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def check_in_place(self) -> None:
        """Checks that the open database is still the file in the folder.

        Raises:
            StoreClosed: the database was closed.
            StoreError: its file was removed or replaced.
        """
        if self._closed:
            raise closed(self.path.parent)
        if _inode(self.path) != self._inode:
            raise removed(self.path)

    def _begin(self, durable: bool, deadline: float) -> None:
        # Without a common deadline, waiting callers would each time out in turn, one after the other.
        seconds = _BUSY_AGAIN_SECONDS if self._found_locked else max(0.0, deadline - time.monotonic())
        self._writer.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")
        self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            self._found_locked = "is locked" in str(error)
            raise
        self._found_locked = False

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        with self._readers_lock:
            if self._closed:
                raise closed(self.path.parent)
            reader = self._readers.pop() if self._readers else None
        if reader is None:
            self.check_in_place()
            reader = open_reader(self.path)
        try:
            yield reader
        except BaseException:
            reader.close()
            raise
        with self._readers_lock:
            if self._closed or len(self._readers) >= _IDLE_READERS:
                reader.close()
            else:
                self._readers.append(reader)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
