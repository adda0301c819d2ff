"""The tables of the store, and how older ones become today's."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE counter (generation INTEGER NOT NULL);
    INSERT INTO counter VALUES (0);

    CREATE TABLE job (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        tenant TEXT NOT NULL,
        request_id TEXT,
        request_digest BLOB NOT NULL,
        state INTEGER NOT NULL,
        final INTEGER NOT NULL,
        created INTEGER NOT NULL,
        ended INTEGER,
        message BLOB NOT NULL,
        spec BLOB NOT NULL,
        linger REAL,
        deaths INTEGER NOT NULL,
        furthest INTEGER NOT NULL,
        checkpoint INTEGER,
        checkpoint_bytes INTEGER NOT NULL DEFAULT 0,
        result_bytes INTEGER NOT NULL DEFAULT 0,
        UNIQUE (tenant, request_id)
    );
    CREATE INDEX job_of_tenant ON job (tenant, created DESC, id DESC);
    CREATE INDEX job_unfinished ON job (created) WHERE NOT final;
    CREATE INDEX job_ended ON job (ended) WHERE final;

    CREATE TABLE image (
        tenant TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size INTEGER NOT NULL,
        raw INTEGER NOT NULL,
        used REAL NOT NULL,
        PRIMARY KEY (tenant, sha256)
    );
    CREATE INDEX image_file ON image (sha256);

    CREATE TABLE job_image (
        job INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
        tenant TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        PRIMARY KEY (job, sha256),
        FOREIGN KEY (tenant, sha256) REFERENCES image (tenant, sha256)
    );
    CREATE INDEX job_image_image ON job_image (tenant, sha256);
    """,
)
"""Each leads from the version before it to its own, counted from 1. Only ever added to."""


class TooNew(Exception):
    """The database was written by a later version of this program."""


def migrate(database: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Brings a database to today's version: each step whole, or not at all.

    Raises:
        TooNew: it is beyond that.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise TooNew(f"version {version}, and this program knows {len(migrations)}")
    for number, script in enumerate(migrations[version:], start=version + 1):
        database.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")
