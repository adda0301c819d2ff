"""Pictures as files: the client's demo pair, which is part of every installation, or people's own."""

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
    """A file that is no picture. The message names it."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture's file.

    Attributes:
        name: of the file.
        data: its bytes.
        image: decoded as the server does: upright sRGB, mode RGB.
    """

    name: str
    data: bytes = dataclasses.field(repr=False)
    image: Image.Image

    @property
    def sha256(self) -> str:
        """Of the file's bytes."""
        return hashlib.sha256(self.data).hexdigest()


def demo_content() -> Picture:
    """The photograph of `impasto demo`."""
    return _demo("astronaut.jpg")


def demo_style() -> Picture:
    """The painting of `impasto demo`."""
    return _demo("starry_night.jpg")


def read_picture(path: Path) -> Picture:
    """Reads a picture.

    Raises:
        PictureError: it cannot be read or is no picture.
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
