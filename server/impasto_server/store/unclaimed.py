"""What is set aside instead of being deleted: files that no row names although they may be good."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from impasto_server.store.blobs import make_folder, sync_folder
from impasto_server.store.errors import storage_errors

UNCLAIMED = "unclaimed"


class Unclaimed:
    """A numbered folder in a data folder, made when the first file comes.

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
        """Copies those files of the data folder that are there, durably.

        Raises:
            StoreError: they cannot be copied; `DiskFull` if there is no room. Nothing is left of the copy.
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
            StoreError: one cannot be moved; it and those after it stay where they are.
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
