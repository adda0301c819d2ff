"""Pictures from files: the client's demo pair, which is part of every installation, or other files."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from importlib import resources
from pathlib import Path

from PIL import Image

from impasto_server.intake.decoding import decode_picture
from impasto_server.intake.faults import PictureFault


class PictureError(Exception):
    """A file that cannot be read as a picture. The message names it."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture from a file.

    Attributes:
        name: name of the file.
        data: bytes of the file.
        image: the picture, decoded as in the server: upright, sRGB, mode RGB.
    """

    name: str
    data: bytes = dataclasses.field(repr=False)
    image: Image.Image

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal digits."""
        return hashlib.sha256(self.data).hexdigest()


def demo_content() -> Picture:
    """Returns the photograph of `impasto demo`."""
    return _demo("astronaut.jpg")


def demo_style() -> Picture:
    """Returns the painting of `impasto demo`."""
    return _demo("starry_night.jpg")


def read_picture(path: Path) -> Picture:
    """Reads a picture.

    Raises:
        PictureError: the file cannot be read, or is not a picture.
    """
    try:
        return _decoded(path.name, path.read_bytes())
    except OSError as error:
        raise PictureError(f"{path} cannot be read ({error.strerror})") from error
    except PictureFault as error:
        raise PictureError(f"{path} {error}") from error


def _demo(name: str) -> Picture:
    return _decoded(name, (resources.files("impasto") / "data" / name).read_bytes())


def _decoded(name: str, data: bytes) -> Picture:
    return Picture(name, data, Image.fromarray(decode_picture(io.BytesIO(data), bits=8).samples, "RGB"))
