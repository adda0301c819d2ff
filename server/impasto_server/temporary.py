"""Temporary folders and files. A folder whose process was killed is removed by the next such process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

_OWNER = "owner"


class TemporaryFolder:
    """A new folder that only this user can enter, until `remove`.

    Attributes:
        path: the folder.
    """

    def __init__(self, prefix: str, parent: str | None = None) -> None:
        """
        Args:
            prefix: how its name begins. Folders with the same prefix whose processes were killed are removed.
            parent: the folder to make it in; None for the system's folder for temporary files.
        """
        where = Path(parent or tempfile.gettempdir())
        for old in where.glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                _remove_left(old)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=where))
        self._owner: BinaryIO = (self.path / _OWNER).open("ab")
        fcntl.flock(self._owner, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Removes the folder and everything in it. Does nothing if it is gone already."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._owner.close()


def anonymous_file() -> BinaryIO:
    """A new file without a name, in memory if the system can do that. It ends with its last descriptor."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("impasto", os.MFD_CLOEXEC), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _remove_left(folder: Path) -> None:
    """Removes a folder that this user made, unless the process that made it is still alive.

    Other users can put things with such names beside ours, such as a link or a pipe without a writer.

    Raises:
        OSError: the folder belongs to another user, is in use, or is not such a folder.
    """
    if not _is_own(folder.lstat(), stat.S_IFDIR):
        return
    owner = os.open(folder / _OWNER, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if _is_own(os.fstat(owner), stat.S_IFREG):
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(owner)


def _is_own(found: os.stat_result, kind: int) -> bool:
    return stat.S_IFMT(found.st_mode) == kind and found.st_uid == os.geteuid()
