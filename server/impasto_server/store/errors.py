"""What can go wrong between a caller's wish and the disk: storage in trouble, or a wish refused."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Besides a full disk: a full quota of the file system, and a limit on the size of files.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})


class StoreError(Exception):
    """The store cannot do its work. The message says what to do; nothing half-written is left."""


class DiskFull(StoreError):
    """There is no room. The store goes on working once there is."""


class Refusal(Exception):
    """A wish that the store cannot grant. The store is well."""


class QuotaExceeded(Refusal):
    """The tenant would have more stored than it may.

    Attributes:
        quota_bytes: what it may.
        needed_bytes: what it would have.
    """

    def __init__(self, quota_bytes: int, needed_bytes: int) -> None:
        super().__init__(
            f"{needed_bytes} bytes would be stored, and {quota_bytes} are allowed; delete jobs, or give "
            "smaller images"
        )
        self.quota_bytes = quota_bytes
        self.needed_bytes = needed_bytes


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


class BadPageToken(Refusal):
    """A page token that is none of this list's, or was given for other states."""


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns errors of the file system and of SQLite into a `StoreError` that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _disk_full(path) from error
        reason = error.strerror or str(error)
        if error.errno in _NOT_WRITABLE:
            raise StoreError(
                f"cannot write to {path}: {reason}; give a folder that this user can write to"
            ) from error
        raise StoreError(f"cannot use {path}: {reason}; look after its disk") from error
    except sqlite3.Error as error:
        # Python 3.10 gives no error codes.
        if "is full" in str(error):
            raise _disk_full(path) from error
        if "malformed" in str(error) or "not a database" in str(error):
            raise damaged(path, str(error)) from error
        raise StoreError(f"cannot use {path}: {error}; look after its disk") from error


def damaged(database: Path, finding: str) -> StoreError:
    return StoreError(
        f"the database {database} is damaged ({finding}). It was left as it is. Put a copy of it that is "
        f"whole in its place, try `sqlite3 {database} .recover`, or give another folder to begin with no jobs"
    )


def _disk_full(path: Path) -> DiskFull:
    return DiskFull(f"there is no room to write {path}; make room on its disk")
