"""The database of jobs: its tables, how older ones become the present ones, and how it is opened.

Files are the truth about images, results and checkpoints only where a row names them.
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
from impasto_server.store.records import reserved_bytes

APPLICATION_ID = 0x1A9A570
"""Marks a SQLite file as ours."""

BUSY_SECONDS = 5.0
"""How long to wait for another process that has locked the database."""

_TABLES = frozenset({"settings", "blobs", "images", "jobs", "job_images"})

Migration = Sequence[str]

# In tables without row ids the key's columns come first, in its order: else SQLite 3.40 calls them damaged.
MIGRATIONS: Sequence[Migration] = (
    (
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
        "INSERT INTO settings VALUES ('generation', 0), ('page_key', randomblob(32))",
        # One row for each file, whoever owns it.
        """CREATE TABLE blobs (
            sha256 TEXT PRIMARY KEY,
            size_bytes INTEGER NOT NULL
        ) WITHOUT ROWID""",
        # Who may name which image.
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
        # Of the picture, in pixels; NULL where nobody has looked yet.
        "ALTER TABLE blobs ADD COLUMN width INTEGER",
        "ALTER TABLE blobs ADD COLUMN height INTEGER",
        # What an unfinished job holds of its tenant's quota for its result.
        "ALTER TABLE jobs ADD COLUMN reserved_bytes INTEGER NOT NULL DEFAULT 0",
        "UPDATE jobs SET reserved_bytes = reserved_bytes_of(message) WHERE final = 0",
        # Jobs are listed by their row: the clock may be set back.
        "DROP INDEX jobs_by_age",
        "CREATE INDEX jobs_by_row ON jobs (tenant, id, state)",
        "DROP INDEX jobs_unfinished",
        "CREATE INDEX jobs_unfinished ON jobs (id, tenant) WHERE final = 0",
        "DROP INDEX jobs_by_bytes",
        "CREATE INDEX jobs_by_bytes ON jobs (tenant, reserved_bytes, result_bytes, checkpoint_bytes)",
    ),
)
"""Number n makes version n + 1 of version n, of nothing at first. Released ones are never changed."""


def open_database(path: Path) -> sqlite3.Connection:
    """A connection that writes to the database in its present version; made if it is not there.

    Every commit is durable. Only the process that has the folder's lock may open it, after `is_new`.

    Raises:
        StoreError: it cannot be opened; then it is as it was.
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
    """A connection that only reads: it waits neither for a commit nor for another process that writes."""
    # SQLite locks readers out only for moments, such as the recovery after a crash.
    database = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1, isolation_level=None, check_same_thread=False
    )
    database.row_factory = sqlite3.Row
    return database


def migrate(database: sqlite3.Connection) -> None:
    """Brings the tables to the present version, a version at a time, each whole or not at all."""
    database.create_function(
        "reserved_bytes_of", 1, lambda message: reserved_bytes(pb.Job.FromString(message))
    )
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
    """Whether there is no database yet: no file, or one in which nothing was ever stored. Writes nothing.

    Raises:
        StoreError: there is one, and it is damaged, another program's, or of a newer version of this one.
    """
    with storage_errors(path):
        # SQLite would delete the write-ahead log of an empty file, and all that is only there.
        if not path.exists() or path.stat().st_size == 0:
            return True
        # By a connection that cannot write: even opening for writing would change a damaged file further.
        with closing(open_reader(path)) as database:
            database.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
            return _is_new(path, database)


def newest_job(path: Path) -> tuple[int, int]:
    """How often a database was opened, and the number of the newest job that it ever had. Writes nothing.

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
        raise StoreError(f"{path} is another program's database; give another folder")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer version of this program (its version is {version}, this "
            f"program knows up to {len(MIGRATIONS)}); run the newer version, or give another folder"
        )
    if tables and not tables >= _TABLES:
        raise damaged(path, f"it has no table {min(_TABLES - tables)}")
    return not tables


def _number(database: sqlite3.Connection, pragma: str) -> int:
    return int(database.execute(f"PRAGMA {pragma}").fetchone()[0])
