"""Errors of the store: either storage fails, or the store refuses a request."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A full disk, a full quota of the file system, or a limit on the size of files.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})

# SQLite needs more space than this for any change: an I/O error with less space left means a full disk.
_LITTLE_ROOM_BYTES = 128 << 10

_log = logging.getLogger(__name__)


class StoreError(Exception):
    """Storage fails. The message says what to do; nothing half-written is left."""


class DiskFull(StoreError):
    """There is no space on the disk. The store works again once there is."""


class StoreBusy(StoreError):
    """Another process has locked the database. Nothing was changed; try again later."""


class StoreClosed(StoreError):
    """The store was closed. Nothing was changed."""


class Refusal(Exception):
    """The store refuses a request. The store itself works."""


class QuotaExceeded(Refusal):
    """The request would exceed the tenant's quota.

    Attributes:
        tenant: the owner of the quota.
        quota_bytes: the quota, in bytes.
        needed_bytes: bytes that the tenant would have stored.
    """

    def __init__(self, tenant: str, quota_bytes: int, needed_bytes: int) -> None:
        super().__init__(
            f"this would need {needed_bytes} bytes, and your quota is {quota_bytes}; delete jobs (their "
            "images make room 10 minutes after their last use), or send smaller images"
        )
        self.tenant = tenant
        self.quota_bytes = quota_bytes
        self.needed_bytes = needed_bytes


class TooManyUploads(Refusal):
    """The tenant has the maximum number of unfinished uploads.

    Attributes:
        tenant: the owner of the uploads.
        limit: the maximum.
    """

    def __init__(self, tenant: str, limit: int) -> None:
        super().__init__(f"you have {limit} unfinished uploads, which is the maximum; finish one first")
        self.tenant = tenant
        self.limit = limit


class WrongOffset(Refusal):
    """The offset of a piece is not the current length of the upload.

    Attributes:
        committed: bytes of the upload that are stored.
    """

    def __init__(self, committed: int) -> None:
        super().__init__(f"the server has {committed} bytes of this upload; continue at that offset")
        self.committed = committed


class DigestMismatch(Refusal):
    """The data of an upload does not match its announced digest and size. The upload is discarded."""


class RequestIdTaken(Refusal):
    """The tenant has already used this request id for another request."""


class MissingImage(Refusal):
    """The tenant has no such image, or no longer has it.

    Attributes:
        sha256: its digest.
    """

    def __init__(self, sha256: str) -> None:
        super().__init__(f"there is no image {sha256}; upload it")
        self.sha256 = sha256


class Damaged(Refusal):
    """A stored result is damaged: its file is missing, or its bytes have changed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the stored result of {name} is damaged; paint the picture again with a new job")


class BadPageToken(Refusal):
    """The page token does not belong to this list, or was issued for other states."""


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Converts errors of the file system and of SQLite to a `StoreError` that names the path."""
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
                f"cannot write to {path}: {reason}; choose a folder that this user can write to"
            ) from error
        raise StoreError(f"cannot use {path}: {reason}; check its disk") from error
    except sqlite3.Error as error:
        raise _of_sqlite(path, str(error)) from error


@contextmanager
def left_for_later(name: str) -> Iterator[None]:
    """Logs errors of cleaning up after a change is stored: they must not make the change look refused.

    The next opening removes whatever could not be removed.
    """
    try:
        yield
    except (OSError, StoreError) as error:
        _log.warning("cleanup failed job=%s reason=%s", name, error)


def _of_sqlite(path: Path, text: str) -> StoreError:
    # Python 3.10 does not give SQLite's error codes.
    if "is full" in text or ("I/O error" in text and _has_little_room(path)):
        return disk_full(path)
    if "malformed" in text or "not a database" in text:
        return damaged(path, text)
    if "is locked" in text:
        return StoreBusy(f"another process has locked {path}; try again, or stop that process")
    if "closed database" in text:
        return closed(path)
    return StoreError(f"cannot use {path}: {text}; check its disk")


def damaged(database: Path, finding: str) -> StoreError:
    return StoreError(
        f"the database {database} is damaged ({finding}). It was not changed. Replace it with an intact "
        f"copy, try `sqlite3 {database} .recover`, or choose another folder to start without jobs"
    )


def disk_full(path: Path) -> DiskFull:
    return DiskFull(f"there is no space left to write {path}; make room on its disk")


def removed(path: Path) -> StoreError:
    return StoreError(
        f"{path} does not exist: the data folder was removed; stop the server, restore the folder if you "
        "have a copy, and start the server again"
    )


def closed(path: Path) -> StoreClosed:
    return StoreClosed(f"the store in {path} is closed; open it again")


def _has_little_room(path: Path) -> bool:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _LITTLE_ROOM_BYTES
