"""What is known of a picture that nobody but the intake reads."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path
from typing import BinaryIO, Protocol

from impasto.v1 import style_transfer_pb2 as pb


class PictureFault(Exception):
    """A picture that cannot be accepted. The message is a sentence without its subject that says what to do.

    Attributes:
        field: the path of the field at fault within `Image`; "" is the image itself.
    """

    def __init__(self, remedy: str, field: str = "") -> None:
        super().__init__(remedy)
        self.field = field


class PictureDamaged(PictureFault):
    """The bytes of a picture do not have the SHA-256 that they should have."""


class IntakeUnable(OSError):
    """Pictures cannot be read just now, whatever they are."""


@dataclasses.dataclass(frozen=True)
class Description:
    """What a picture is.

    Attributes:
        format: how it is coded; IMAGE_FORMAT_UNSPECIFIED for raw pixels.
        width, height: in pixels, once it is turned upright.
        coded_width, coded_height: in pixels, as it is coded.
        bits: per channel: 8, or 16 for all that has more than 8.
    """

    format: pb.ImageFormat
    width: int
    height: int
    coded_width: int
    coded_height: int
    bits: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright."""
        return self.width, self.height


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a picture is.

    Attributes:
        file: its path, or an open file.
        raw: whether it is a serialized `RawPixels` instead of an image file.
        pixels: how many it has, once it was described: they decide what memory and time a task may take.
        sha256: that its bytes must have, 64 hexadecimal digits; "" leaves that unchecked.
    """

    file: Path | BinaryIO
    raw: bool = False
    pixels: int = 0
    sha256: str = ""

    def open(self) -> BinaryIO:
        """The file, to be closed by the caller.

        Raises:
            OSError: it cannot be opened.
        """
        if isinstance(self.file, Path):
            return self.file.open("rb")
        return io.FileIO(os.dup(self.file.fileno()), "rb")


@dataclasses.dataclass(frozen=True)
class Samples:
    """A decoded picture or mask.

    Attributes:
        file: rows from the top, pixel by pixel; closed by whoever has asked for them.
        width, height: in pixels.
        channels: 3 for R, G, B in sRGB, 1 for the levels of a mask.
        bits: of each sample: 8, or 16 with the lower byte first.
    """

    file: BinaryIO
    width: int
    height: int
    channels: int
    bits: int


class Intake(Protocol):
    """Reads pictures, in turns shared fairly among tenants.

    Every call raises `PictureFault` for a picture that cannot be read, `PictureDamaged` if it is not the one
    that is meant, `OSError` if its file cannot be opened, and `IntakeUnable` if no process can read it now.
    """

    async def describe(self, tenant: str, source: Source) -> Description:
        """Looks at a picture without decoding its pixels."""

    async def decode(self, tenant: str, source: Source, size: tuple[int, int], bits: int) -> Samples:
        """A picture in sRGB, upright.

        Args:
            tenant: whose turn it takes.
            source: the picture.
            size: (width, height) in pixels that it is to have.
            bits: of each sample, 8 or 16.
        """

    async def decode_mask(self, tenant: str, source: Source, size: tuple[int, int]) -> Samples:
        """The levels of a mask: its luminance over black, no larger than a size (width, height)."""

    async def encode(
        self,
        tenant: str,
        samples: Samples,
        metadata: str,
        content: Source | None = None,
        selection: Source | None = None,
    ) -> BinaryIO:
        """A painting as the PNG that is its job's result.

        Args:
            tenant: whose turn it takes.
            samples: the painting, of the whole result's size.
            metadata: how it was made, in JSON.
            content: gives alpha, colour profile, and what is outside the selection.
            selection: the mask of what was painted; None for all.
        """

    async def convert(self, tenant: str, source: Source, format: pb.ImageFormat, out: BinaryIO) -> None:
        """Writes a picture in another format to an empty file."""

    async def thumbnail(self, source: Source, side: int, max_bytes: int) -> tuple[bytes, Description]:
        """A small JPEG of a picture, and what the picture is."""
