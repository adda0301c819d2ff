"""Sets files aside that no row names but that may still be needed, instead of deleting them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from impasto_server.store.blobs import make_folder, sync_folder
from impasto_server.store.errors import storage_errors

UNCLAIMED = "unclaimed"


class Unclaimed:
    """A numbered folder in a data folder, created when the first file is set aside.

    Attributes:
        path: the folder.
    """

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            StoreError: the data folder cannot be read.
        """
        self._folder = folder
        place = folder / UNCLAIMED
        with storage_errors(place):
            numbers = (
                [int(path.name) for path in place.iterdir() if path.name.isdecimal()]
                if place.is_dir()
                else []
            )
        self.path = place / str(max(numbers, default=0) + 1)

    def copy(self, files: Iterable[Path]) -> None:
        """Copies files of the data folder, as far as they exist, durably.

        Raises:
            StoreError: they cannot be copied; `DiskFull` if there is no room. The incomplete copy is removed.
        """
        try:
            for file in files:
                if file.exists():
                    self._copy(file, self._place(file))
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def move(self, files: Iterable[Path]) -> None:
        """Moves files out of the data folder.

        Raises:
            StoreError: a file cannot be moved; it and all later files stay where they are.
        """
        for file in files:
            place = self._place(file)
            with storage_errors(place):
                os.replace(file, place)

    def _place(self, file: Path) -> Path:
        place = self.path / file.relative_to(self._folder)
        make_folder(place.parent)
        return place

    def _copy(self, file: Path, place: Path) -> None:
        with storage_errors(place):
            shutil.copyfile(file, place)
            with place.open("rb") as copied:
                os.fsync(copied.fileno())
            sync_folder(place.parent)
