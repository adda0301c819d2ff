"""Says why a picture cannot be used."""

from __future__ import annotations


class PictureFault(Exception):
    """A picture cannot be used. The message says what is wrong and what to do, without its subject."""


def truncated() -> PictureFault:
    return PictureFault("is truncated or damaged; send the whole file")


def unreadable() -> PictureFault:
    return PictureFault("cannot be read as an image; save it again and resend")


def unsupported(name: str) -> PictureFault:
    """The fault of a file in a format that is known but not read.

    Args:
        name: the format with its article: "a GIF".
    """
    return PictureFault(f"is {name} file, which is not supported; export it as PNG, TIFF or JPEG")


def check_pixels(width: int, height: int, limit: int) -> None:
    """Checks the size of a picture.

    Raises:
        PictureFault: a side is 0, or width × height is more than `limit`.
    """
    if width < 1 or height < 1:
        raise PictureFault("has no pixels; send a picture of at least 1 × 1")
    if width * height > limit:
        raise PictureFault(
            f"is {width} × {height} pixels; scale it to at most {limit:,} pixels (width × height)"
        )
