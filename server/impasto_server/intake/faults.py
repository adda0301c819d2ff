"""What is told of a picture that cannot be used."""

from __future__ import annotations


class PictureFault(Exception):
    """A picture cannot be used. The message is a sentence without its subject: what is wrong, what to do."""


def truncated() -> PictureFault:
    return PictureFault("is truncated or damaged; send the whole file")


def unreadable() -> PictureFault:
    return PictureFault("cannot be read as an image; save it again and resend")


def check_pixels(width: int, height: int, limit: int) -> None:
    """
    Raises:
        PictureFault: a side is 0, or width × height is more than `limit`.
    """
    if width < 1 or height < 1:
        raise PictureFault("has no pixels; send a picture of at least 1 × 1")
    if width * height > limit:
        raise PictureFault(
            f"is {width} × {height} pixels; scale it to at most {limit:,} pixels (width × height)"
        )
