"""Pictures from a server: complete, checked, and still coded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mimetypes
import os
from typing import TYPE_CHECKING, Any

from impasto import png
from impasto.enums import image_format
from impasto.errors import DataLoss, InvalidRequest, invalid_field
from impasto.files import write_whole
from impasto.formats import SUFFIXES, coding
from impasto.job import Job, decode
from impasto.provenance import PNG_SIGNATURE, png_text

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from impasto.v1 import style_transfer_pb2 as pb

_BITS_PER_SAMPLE = 258


@dataclasses.dataclass(frozen=True)
class CodedImage:
    """A coded image from a server.

    Attributes:
        data: the coded image.
        format: its format: "png", "png16", "jpeg", "webp" or "tiff"; "rgba8" or "rgba16" for rows of bare
            pixels.
        width, height: its size in pixels.
        sha256: SHA-256 of `data`, in hexadecimal.
    """

    data: bytes = dataclasses.field(repr=False)
    format: str
    width: int
    height: int
    sha256: str

    @property
    def image(self) -> Image:
        """The image, decoded. Needs Pillow.

        Colours have 8 bits per channel: Pillow has no mode with more. Grey with 16 bits has the mode "I;16".
        `array` has all bits.
        """
        size = (self.width, self.height)
        if self.format in ("rgba8", "rgba16"):
            from PIL import Image

            # "RGBA;16L" reads the higher byte of each 16-bit sample.
            raw = "RGBA" if self.format == "rgba8" else "RGBA;16L"
            return Image.frombytes("RGBA", size, self.data, "raw", raw)
        return decode(self.data)

    @property
    def array(self) -> NDArray[Any]:
        """The image, decoded into an array: height × width × channels (grey: height × width). Needs NumPy.

        Its type is uint16 if the image has 16 bits per channel, else uint8. All formats but bare pixels need
        Pillow.

        Raises:
            InvalidRequest: it is a TIFF with 16 bits; download it as "png16" or "rgba16".
        """
        import numpy as np

        if self.format in ("rgba8", "rgba16"):
            kind = np.uint8 if self.format == "rgba8" else np.dtype("<u2")
            bare = np.frombuffer(self.data, kind).reshape(self.height, self.width, 4)
            return bare.astype(bare.dtype.newbyteorder("="))
        if png.depth(self.data) == 16:
            high, low = (np.asarray(half).astype(np.uint16) for half in png.halves(self.data))
            return high << 8 | low
        image = decode(self.data)
        # Pillow would silently reduce them to 8 bits.
        if self.format == "tiff" and 16 in image.tag_v2.get(_BITS_PER_SAMPLE, ()):  # type: ignore[attr-defined]
            raise InvalidRequest(
                'a TIFF with 16 bits cannot be decoded here; download it as "png16" or "rgba16"'
            )
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        return np.asarray(image)

    @property
    def metadata(self) -> dict[str, Any]:
        """How the picture was made, from a result that is a PNG; empty for other images."""
        text = png_text(self.data, "impasto") if self.data.startswith(PNG_SIGNATURE) else None
        return dict(json.loads(text)) if text else {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `data` to a file, whole or not at all. Does not convert it to another format.

        Raises:
            InvalidRequest: the file's name has the suffix of another image format.
            OSError: the file cannot be written; an existing file is unchanged.
        """
        self._check_name(os.fsdecode(path))
        write_whole(path, self.data)

    def _check_name(self, path: str) -> None:
        suffix = os.path.splitext(path)[1].lower()
        said = SUFFIXES.get(suffix)
        own = coding(self.format)
        # A name without the suffix of an image format is accepted.
        if said == own or not (said or (mimetypes.guess_type(f"x{suffix}")[0] or "").startswith("image/")):
            return
        fitting = [suffix for suffix, format in SUFFIXES.items() if format == own]
        what = f"a {own.upper().replace('WEBP', 'WebP')}" if fitting else "bare pixels"
        remedies = [f"give a name that ends in {' or '.join(fitting)}"] if fitting else []
        if said is not None:
            remedies.append(f"get it as one with client.download(result_of=…, format={said!r})")
        remedy = ", or ".join(remedies) or "get it as a PNG with client.download(result_of=…, format='png')"
        raise invalid_field("path", f"ends in {suffix}, but the picture is {what}: {remedy}")


@dataclasses.dataclass(frozen=True)
class Picture(CodedImage):
    """A finished picture: a PNG with 8 or 16 bits per channel.

    Attributes:
        job: the job that made it, with its recipe and the reason why it stopped.
    """

    job: Job


class Pieces:
    """The pieces of an image, collected from one or more calls and checked.

    Attributes:
        received: number of bytes received, from the beginning.
    """

    def __init__(self) -> None:
        self._info: pb.ImageInfo | None = None
        self._data = bytearray()
        self._described = False

    @property
    def received(self) -> int:
        return len(self._data)

    @property
    def complete(self) -> bool:
        return self._info is not None and len(self._data) == self._info.size_bytes

    def begin(self) -> None:
        """Prepares for a call that sends the pieces from `received` on."""
        self._described = False

    def forget(self) -> None:
        """Discards all pieces: those that follow belong to another image."""
        self._info, self._data, self._described = None, bytearray(), False

    def add(self, chunk: pb.ImageChunk) -> bool:
        """Adds the next piece. Returns False, and discards all pieces, if it belongs to another image.

        Raises:
            DataLoss: it is not the next piece.
        """
        if not self._described:
            if not chunk.HasField("info"):
                raise DataLoss("the server's first piece of the picture does not describe it")
            if self._info is not None and self._info.sha256 != chunk.info.sha256:
                self.forget()
                return False
            self._info, self._described = chunk.info, True
        assert self._info is not None
        if chunk.offset != len(self._data):
            raise DataLoss(f"a piece of the picture is for byte {chunk.offset}, not {len(self._data)}")
        if len(self._data) + len(chunk.data) > self._info.size_bytes:
            raise DataLoss(f"the picture is longer than the {self._info.size_bytes} bytes announced")
        self._data += chunk.data
        return True

    def missing(self) -> str:
        """Returns a clause that says how much is missing."""
        if self._info is None:
            return "no bytes of the picture arrived"
        return f"only {len(self._data)} of the picture's {self._info.size_bytes} bytes arrived"

    def image(self) -> CodedImage:
        """Returns the complete image.

        Raises:
            DataLoss: it is incomplete or damaged.
        """
        info = self._info
        if info is None or not self.complete:
            raise DataLoss(self.missing())
        data = bytes(self._data)
        if hashlib.sha256(data).hexdigest() != info.sha256:
            raise DataLoss("the picture does not match its SHA-256: it was damaged on the way")
        return CodedImage(
            data=data,
            format=image_format(info.format),
            width=info.width,
            height=info.height,
            sha256=info.sha256,
        )

    def picture(self, job: Job) -> Picture:
        """Returns the complete image as the result of a job.

        Raises:
            DataLoss: it is incomplete or damaged.
        """
        image = self.image()
        return Picture(image.data, image.format, image.width, image.height, image.sha256, job)
