"""The database of jobs: its tables, their migrations, and how it is opened.

A file of an image, result or checkpoint counts only if a row names it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.blobs import sync_folder
from impasto_server.store.errors import StoreError, damaged, storage_errors
from impasto_server.store.records import reserved_bytes, searched

APPLICATION_ID = 0x1A9A570
"""Marks a SQLite file as ours."""

BUSY_SECONDS = 5.0
"""Seconds to wait for another process that has locked the database."""

_TABLES = frozenset({"settings", "blobs", "images", "jobs", "job_images"})

Migration = Sequence[str]

# In tables without row ids, the columns of the key must come first, in the order of the key: otherwise the
# integrity check of SQLite 3.40 reports damage.
MIGRATIONS: Sequence[Migration] = (
    (
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
        "INSERT INTO settings VALUES ('generation', 0), ('page_key', randomblob(32))",
        # One row for each image file, which several tenants may own.
        """CREATE TABLE blobs (
            sha256 TEXT PRIMARY KEY,
            size_bytes INTEGER NOT NULL
        ) WITHOUT ROWID""",
        # The tenants' images.
        """CREATE TABLE images (
            tenant TEXT NOT NULL,
            sha256 TEXT NOT NULL REFERENCES blobs,
            raw INTEGER NOT NULL,
            used_time REAL NOT NULL,
            PRIMARY KEY (tenant, sha256)
        ) WITHOUT ROWID""",
        "CREATE INDEX images_by_blob ON images (sha256)",
        # `final`, `create_ns` and `end_ns` repeat what `message` says, for the indexes.
        """CREATE TABLE jobs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            tenant TEXT NOT NULL,
            request_id TEXT NOT NULL,
            request_digest BLOB NOT NULL,
            state INTEGER NOT NULL,
            final INTEGER NOT NULL,
            create_ns INTEGER NOT NULL,
            end_ns INTEGER NOT NULL,
            message BLOB NOT NULL,
            spec BLOB NOT NULL,
            linger REAL,
            deaths INTEGER NOT NULL,
            furthest INTEGER NOT NULL,
            checkpoint INTEGER,
            checkpoint_bytes INTEGER NOT NULL DEFAULT 0,
            result_bytes INTEGER
        )""",
        "CREATE UNIQUE INDEX jobs_by_request ON jobs (tenant, request_id) WHERE request_id != ''",
        "CREATE INDEX jobs_by_age ON jobs (tenant, create_ns, id, state)",
        "CREATE INDEX jobs_unfinished ON jobs (create_ns, id) WHERE final = 0",
        "CREATE INDEX jobs_by_end ON jobs (end_ns, id) WHERE final = 1",
        "CREATE INDEX jobs_by_bytes ON jobs (tenant, checkpoint_bytes, result_bytes)",
        """CREATE TABLE job_images (
            job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
            sha256 TEXT NOT NULL,
            tenant TEXT NOT NULL,
            PRIMARY KEY (job, sha256),
            FOREIGN KEY (tenant, sha256) REFERENCES images
        ) WITHOUT ROWID""",
        "CREATE INDEX job_images_by_image ON job_images (tenant, sha256)",
    ),
    (
        # Size of the picture in pixels; NULL if it is not known yet.
        "ALTER TABLE blobs ADD COLUMN width INTEGER",
        "ALTER TABLE blobs ADD COLUMN height INTEGER",
        # Bytes of its tenant's quota that an unfinished job reserves for its result.
        "ALTER TABLE jobs ADD COLUMN reserved_bytes INTEGER NOT NULL DEFAULT 0",
        "UPDATE jobs SET reserved_bytes = reserved_bytes_of(message) WHERE final = 0",
        # Jobs are listed in order of their row ids, since the clock may be set back.
        "DROP INDEX jobs_by_age",
        "CREATE INDEX jobs_by_row ON jobs (tenant, id, state)",
        "DROP INDEX jobs_unfinished",
        "CREATE INDEX jobs_unfinished ON jobs (id, tenant) WHERE final = 0",
        "DROP INDEX jobs_by_bytes",
        "CREATE INDEX jobs_by_bytes ON jobs (tenant, reserved_bytes, result_bytes, checkpoint_bytes)",
    ),
    # Whether a job that an administrator holds is paused after that, too.
    ("ALTER TABLE jobs ADD COLUMN stays_paused INTEGER NOT NULL DEFAULT 0",),
    (
        # The title as it is searched: without the difference of upper and lower case.
        "ALTER TABLE jobs ADD COLUMN title TEXT NOT NULL DEFAULT ''",
        "UPDATE jobs SET title = title_of(message)",
        # The index has all that a search needs, so that it reads only the rows that it finds.
        "DROP INDEX jobs_by_row",
        "CREATE INDEX jobs_by_row ON jobs (tenant, id, state, title)",
    ),
)
"""Migration n makes version n + 1 from version n; version 0 is empty. Never change a released one."""


def open_database(path: Path) -> sqlite3.Connection:
    """Opens a connection for writing. Creates the database, or migrates it, if necessary.

    Every commit is durable. Only the process that has locked the folder may call this, after `is_new`.

    Raises:
        StoreError: the database cannot be opened; it is unchanged.
    """
    with storage_errors(path):
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            sync_folder(path.parent)
        database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            migrate(database)
            database.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            database.close()
            raise
    return database


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens a read-only connection. It waits neither for a commit nor for another process that writes."""
    # SQLite locks readers out only briefly, for example during recovery after a crash.
    database = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1, isolation_level=None, check_same_thread=False
    )
    database.row_factory = sqlite3.Row
    return database


def migrate(database: sqlite3.Connection) -> None:
    """Migrates the tables to the current version, each step in its own transaction."""
    database.create_function(
        "reserved_bytes_of", 1, lambda message: reserved_bytes(pb.Job.FromString(message))
    )
    database.create_function("title_of", 1, lambda message: searched(pb.Job.FromString(message).title))
    for version in range(_number(database, "user_version"), len(MIGRATIONS)):
        database.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[version]:
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {version + 1}")
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise


def is_new(path: Path) -> bool:
    """Whether the database is new: there is no file, or nothing was ever stored in it. Writes nothing.

    Raises:
        StoreError: the database is damaged, belongs to another program or was written by a newer version.
    """
    with storage_errors(path):
        # SQLite would delete the write-ahead log of an empty file, with all changes in it.
        if not path.exists() or path.stat().st_size == 0:
            return True
        # On a read-only connection: even opening for writing would change a damaged file.
        with closing(open_reader(path)) as database:
            database.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
            return _is_new(path, database)


def newest_job(path: Path) -> tuple[int, int]:
    """How many times a database was opened, and the number of the newest job it ever had. Writes nothing.

    Raises:
        StoreError: it cannot be read.
    """
    with storage_errors(path), closing(open_reader(path)) as database:
        generation = database.execute("SELECT value FROM settings WHERE name = 'generation'").fetchone()[0]
        number = database.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'jobs'").fetchone()[0]
        return int(generation), number or 0


def _is_new(path: Path, database: sqlite3.Connection) -> bool:
    finding = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if finding != "ok":
        raise damaged(path, finding.splitlines()[-1])
    version = _number(database, "user_version")
    tables = {row["name"] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and _number(database, "application_id") != APPLICATION_ID:
        raise StoreError(f"{path} is another program's database; choose another folder")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer version of this program (its version is {version}, this "
            f"program knows up to {len(MIGRATIONS)}); run the newer version, or choose another folder"
        )
    if tables and not tables >= _TABLES:
        raise damaged(path, f"it has no table {min(_TABLES - tables)}")
    return not tables


def _number(database: sqlite3.Connection, pragma: str) -> int:
    return int(database.execute(f"PRAGMA {pragma}").fetchone()[0])
