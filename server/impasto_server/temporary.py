"""Folders that go with the process that made them, even if it is killed: the next one sees to that."""

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
    """A new folder for this user alone, until `remove`.

    Attributes:
        path: where it is.
    """

    def __init__(self, prefix: str, parent: str | None = None) -> None:
        """
        Args:
            prefix: of its name. Folders of the same prefix whose processes were killed are removed.
            parent: where to make it; None for the usual place.
        """
        where = Path(parent or tempfile.gettempdir())
        for old in where.glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                _remove_left(old)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=where))
        self._owner: BinaryIO = (self.path / _OWNER).open("ab")
        fcntl.flock(self._owner, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Removes it with all that is in it. Harmless when it is gone."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._owner.close()


def anonymous_file() -> BinaryIO:
    """A new file without a name, in memory where the system has that. It goes with its last descriptor."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("impasto", os.MFD_CLOEXEC), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _remove_left(folder: Path) -> None:
    """Removes a folder that this user made, unless the process that made it lives.

    Everybody may put things of such names beside ours: a pipe that nobody writes to, a link to elsewhere.

    Raises:
        OSError: it is somebody else's, in use, or no such folder.
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
