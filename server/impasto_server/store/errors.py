"""What can go wrong between a caller's wish and the disk: storage in trouble, or a wish refused."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Besides a full disk: a full quota of the file system, and a limit on the size of files.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})

# SQLite needs more room than this for any change: an I/O error with less left is a full disk.
_LITTLE_ROOM_BYTES = 128 << 10

_log = logging.getLogger(__name__)


class StoreError(Exception):
    """The store cannot do its work. The message says what to do; nothing half-written is left."""


class DiskFull(StoreError):
    """There is no room. The store goes on working once there is."""


class StoreBusy(StoreError):
    """Another process has locked the database. Nothing was changed; try again later."""


class StoreClosed(StoreError):
    """The store was closed. Nothing was changed."""


class Refusal(Exception):
    """A wish that the store cannot grant. The store is well."""


class QuotaExceeded(Refusal):
    """The tenant would have more stored than it may.

    Attributes:
        tenant: whose quota it is.
        quota_bytes: what it may.
        needed_bytes: what it would have.
    """

    def __init__(self, tenant: str, quota_bytes: int, needed_bytes: int) -> None:
        super().__init__(
            f"{needed_bytes} bytes would be stored, and {quota_bytes} are allowed; delete jobs (their images "
            "make room 10 minutes after their last use), or give smaller images"
        )
        self.tenant = tenant
        self.quota_bytes = quota_bytes
        self.needed_bytes = needed_bytes


class TooManyUploads(Refusal):
    """The tenant has as many unfinished uploads as it may.

    Attributes:
        tenant: which one.
        limit: how many it may have.
    """

    def __init__(self, tenant: str, limit: int) -> None:
        super().__init__(f"you have {limit} unfinished uploads, the most allowed; finish one of them first")
        self.tenant = tenant
        self.limit = limit


class WrongOffset(Refusal):
    """An upload does not stand where the caller thinks.

    Attributes:
        committed: where it stands, in bytes.
    """

    def __init__(self, committed: int) -> None:
        super().__init__(f"the upload has come to {committed} bytes; go on from there")
        self.committed = committed


class DigestMismatch(Refusal):
    """The data of an upload is not what its digest and size announced; the upload is forgotten."""


class RequestIdTaken(Refusal):
    """The tenant has used this request id for another request."""


class MissingImage(Refusal):
    """The tenant has no such image, or no longer.

    Attributes:
        sha256: its digest.
    """

    def __init__(self, sha256: str) -> None:
        super().__init__(f"there is no image {sha256}; upload it")
        self.sha256 = sha256


class Damaged(Refusal):
    """A stored result is not what was stored: its file is missing, or has other bytes."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the stored result of {name} is damaged; paint it again by a new job")


class BadPageToken(Refusal):
    """A page token that does not belong to this list, or was given for other states."""


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns errors of the file system and of SQLite into a `StoreError` that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full(path) from error
        if error.errno == errno.ENOENT:
            raise removed(path) from error
        reason = error.strerror or str(error)
        if error.errno in _NOT_WRITABLE:
            raise StoreError(
                f"cannot write to {path}: {reason}; give a folder that this user can write to"
            ) from error
        raise StoreError(f"cannot use {path}: {reason}; check its disk") from error
    except sqlite3.Error as error:
        raise _of_sqlite(path, str(error)) from error


@contextmanager
def left_for_later(name: str) -> Iterator[None]:
    """Logs errors of clearing up after a change that is stored: they must not make it look refused.

    What is not removed, the next opening finds and removes.
    """
    try:
        yield
    except (OSError, StoreError) as error:
        _log.warning("not cleared up job=%s reason=%s", name, error)


def _of_sqlite(path: Path, text: str) -> StoreError:
    # Python 3.10 gives no error codes.
    if "is full" in text or ("I/O error" in text and _has_little_room(path)):
        return disk_full(path)
    if "malformed" in text or "not a database" in text:
        return damaged(path, text)
    if "is locked" in text:
        return StoreBusy(f"another process has locked {path}; try again, or end that process")
    if "closed database" in text:
        return closed(path)
    return StoreError(f"cannot use {path}: {text}; check its disk")


def damaged(database: Path, finding: str) -> StoreError:
    return StoreError(
        f"the database {database} is damaged ({finding}). It was left as it is. Put a copy of it that is "
        f"whole in its place, try `sqlite3 {database} .recover`, or give another folder to begin with no jobs"
    )


def disk_full(path: Path) -> DiskFull:
    return DiskFull(f"there is no room to write {path}; make room on its disk")


def removed(path: Path) -> StoreError:
    return StoreError(
        f"{path} is not there: the data folder was removed; stop the server, put the folder back if there is "
        "a copy of it, and start the server again"
    )


def closed(path: Path) -> StoreClosed:
    return StoreClosed(f"the store of {path} is closed; open it again")


def _has_little_room(path: Path) -> bool:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _LITTLE_ROOM_BYTES
