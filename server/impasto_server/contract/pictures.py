"""Descriptions of pictures. Only the intake reads the pictures themselves."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path
from typing import BinaryIO, Protocol

from impasto.v1 import style_transfer_pb2 as pb


class PictureFault(Exception):
    """A picture that cannot be accepted.

    The message is a sentence without its subject, which is the field's name, and says what to do: "is empty;
    give the bytes of a PNG file".

    Attributes:
        field: the path within `Image` of the field at fault; "" means the image itself.
    """

    def __init__(self, remedy: str, field: str = "") -> None:
        super().__init__(remedy)
        self.field = field


class PictureDamaged(PictureFault):
    """The bytes of a picture do not have the expected SHA-256."""


class IntakeUnable(OSError):
    """No picture can be read at the moment, because of a fault of the server or its machine."""


@dataclasses.dataclass(frozen=True)
class Description:
    """Format and size of a picture.

    Attributes:
        format: of the file; IMAGE_FORMAT_UNSPECIFIED for raw pixels.
        width, height: in pixels, after its EXIF orientation is applied.
        coded_width, coded_height: in pixels, as stored in the file.
        bits: per channel: 8, or 16 for everything above 8.
    """

    format: pb.ImageFormat
    width: int
    height: int
    coded_width: int
    coded_height: int
    bits: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, after the EXIF orientation is applied."""
        return self.width, self.height


@dataclasses.dataclass(frozen=True)
class Source:
    """The file of a picture.

    Attributes:
        file: its path, or an open file.
        raw: whether it is a serialized `RawPixels` instead of an image file.
        pixels: number of pixels, if the picture was described. It decides how much memory and time a task
            may take.
        sha256: expected digest, 64 hexadecimal digits; "" means not checked.
    """

    file: Path | BinaryIO
    raw: bool = False
    pixels: int = 0
    sha256: str = ""

    def open(self) -> BinaryIO:
        """Opens the file, which the caller closes.

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
        file: rows from top to bottom, interleaved samples. The caller closes it.
        width, height: in pixels.
        channels: 3 for R, G, B in sRGB, or 1 for the levels of a mask.
        bits: per sample: 8, or 16 in little-endian order.
    """

    file: BinaryIO
    width: int
    height: int
    channels: int
    bits: int


class Intake(Protocol):
    """Reads pictures in turns that tenants share fairly.

    Every method raises `PictureFault` for a picture that cannot be read, `PictureDamaged` if the file does
    not have the expected SHA-256, `OSError` if the file cannot be opened, and `IntakeUnable` if no process
    can read it at the moment.
    """

    async def describe(self, tenant: str, source: Source) -> Description:
        """Describes a picture without decoding its pixels."""

    async def decode(self, tenant: str, source: Source, size: tuple[int, int], bits: int) -> Samples:
        """Decodes a picture to sRGB, with its EXIF orientation applied.

        Args:
            tenant: whose turn it takes.
            source: the picture.
            size: wanted (width, height) in pixels.
            bits: per sample, 8 or 16.
        """

    async def decode_mask(self, tenant: str, source: Source, size: tuple[int, int]) -> Samples:
        """Decodes a mask: its luminance over black, at most of the size (width, height)."""

    async def encode(
        self,
        tenant: str,
        samples: Samples,
        metadata: str,
        content: Source | None = None,
        selection: Source | None = None,
    ) -> BinaryIO:
        """Encodes a painting as the PNG of the job's result.

        Args:
            tenant: whose turn it takes.
            samples: the painting, of the result's size.
            metadata: JSON that describes how the picture was made.
            content: the photograph, which gives transparency, colour profile, and the pixels outside the
                selection.
            selection: the mask of the painted area; None if everything was painted.
        """

    async def convert(self, tenant: str, source: Source, format: pb.ImageFormat, out: BinaryIO) -> None:
        """Writes a picture in another format to the empty file `out`."""

    async def reduce(
        self, tenant: str, source: Source, side: int, format: pb.ImageFormat
    ) -> tuple[bytes, int, int]:
        """Makes a reduced picture: upright, sRGB, 8 bits per channel.

        Args:
            tenant: whose turn it takes.
            source: the picture.
            side: maximum length of the longer side, in pixels.
            format: PNG, JPEG or WebP.

        Returns:
            The file, and its width and height in pixels.
        """

    async def thumbnail(self, source: Source, side: int, max_bytes: int) -> tuple[bytes, Description]:
        """Makes a small JPEG of a picture, and describes the picture."""
