"""Reduced pictures, such as the thumbnails of a wall: each is made once, and kept while there is room."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import hashlib
from pathlib import Path

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.pictures import Intake, Source
from impasto_server.shares import acting_for

KEPT_BYTES = 64 * 1024 * 1024
"""Maximum size of all pictures that are kept: about 3,000 thumbnails of 256 pixels."""

_LARGEST_KEPT = 2 * 1024 * 1024
_FIXED_BYTES = 64 * 1024

Key = tuple[str, int, pb.ImageFormat]
"""SHA-256 of the whole picture, longest side, and format of the reduced one."""


@dataclasses.dataclass(frozen=True)
class Reduced:
    """A reduced picture.

    Attributes:
        data: the file.
        info: describes it.
    """

    data: bytes
    info: pb.ImageInfo


class ReducedPictures:
    """Makes reduced pictures, and keeps those that were used last. A picture is made once at a time."""

    def __init__(self, intake: Intake) -> None:
        """
        Args:
            intake: makes them.
        """
        self._intake = intake
        self._kept: collections.OrderedDict[Key, Reduced] = collections.OrderedDict()
        self._kept_bytes = 0
        self._making: dict[Key, asyncio.Task[Reduced]] = {}

    def kept(self, key: Key) -> Reduced | None:
        """Returns a picture that is kept; None if it must be made."""
        reduced = self._kept.get(key)
        if reduced is not None:
            self._kept.move_to_end(key)
        return reduced

    async def made(self, key: Key, source: Source) -> Reduced:
        """Returns a picture, which is made if it is not kept.

        Args:
            key: what to make.
            source: the whole picture.

        Raises:
            PictureFault, OSError: as `Intake.reduce`.
        """
        reduced = self.kept(key)
        if reduced is not None:
            return reduced
        making = self._making.get(key)
        if making is None:
            # Opened here, because the caller may leave and close its own.
            own = dataclasses.replace(source, file=source.open())
            making = self._making[key] = asyncio.create_task(self._make(key, own))
        # Others may wait for it: it is completed even if this caller leaves.
        return await asyncio.shield(making)

    async def _make(self, key: Key, source: Source) -> Reduced:
        assert not isinstance(source.file, Path)
        try:
            with source.file:
                _, side, format = key
                data, width, height = await self._intake.reduce(acting_for.get(), source, side, format)
            sha256 = await asyncio.to_thread(_digest, data)
        finally:
            del self._making[key]
        info = pb.ImageInfo(format=format, width=width, height=height, size_bytes=len(data), sha256=sha256)
        reduced = Reduced(data, info)
        self._keep(key, reduced)
        return reduced

    def _keep(self, key: Key, reduced: Reduced) -> None:
        if len(reduced.data) > _LARGEST_KEPT:
            return
        self._kept[key] = reduced
        self._kept_bytes += len(reduced.data)
        while self._kept_bytes > KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped.data)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def most_bytes(width: int, height: int, side: int) -> int:
    """The size in bytes that a reduced picture has at most: that of its bare pixels, and a little more."""
    longest = max(width, height, 1)
    if longest > side:
        width, height = -(-width * side // longest), -(-height * side // longest)
    return _FIXED_BYTES + width * height * 4
