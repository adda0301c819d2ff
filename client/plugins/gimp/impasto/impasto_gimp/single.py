"""One dialog at a time: a second call of the menu shows the one that is open, on the image of the call."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable
from typing import IO, Any

from impasto.hosts import Storage
from impasto.hosts.storage import read_json, write_json
from impasto.hosts.translate import _

LOCK = "open.lock"
ASKED = "asked.json"


class OpenElsewhere(Exception):
    """A dialog is open already. The message is a sentence for people; empty where that dialog was asked."""


class OnlyOne:
    """Holds the lock of the dialog, which ends with the process, however that ends.

    Args:
        folder: folder of what is stored.
        image: number of the image that the dialog is opened for.

    Raises:
        OpenElsewhere: a dialog is open already.
    """

    def __init__(self, folder: pathlib.Path, storage: Storage, image: int) -> None:
        self._storage = storage
        storage.remove(ASKED)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # GIMP is the parent of each of its plug-ins.
        gimp = os.getppid()
        self._file = (folder / LOCK).open("a+", encoding="utf-8")
        if not _lock(self._file):
            holder = self._holder()
            self._file.close()
            if holder != gimp:
                raise OpenElsewhere(
                    _("Impasto is open in another GIMP. Close its dialog there, then try again.")
                )
            write_json(storage, ASKED, {"image": image})
            raise OpenElsewhere("")
        write_json(storage, "open.json", {"gimp": gimp})

    def asked(self, show: Callable[[int], None]) -> None:
        """Shows an image where another call has asked for that."""
        asked: dict[str, Any] = read_json(self._storage, ASKED, {})
        if asked:
            self._storage.remove(ASKED)
            if isinstance(asked.get("image"), int):
                show(asked["image"])

    def close(self) -> None:
        """Lets another dialog open."""
        self._file.close()

    def _holder(self) -> Any:
        return read_json(self._storage, "open.json", {}).get("gimp")


def _lock(file: IO[str]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
