"""Formats of pictures, and the suffixes of their files."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal, TypeVar, cast, get_args

StoredFormat = Literal["png", "png16"]
"""Formats in which a server keeps a result: a PNG with 8 or 16 bits per channel."""
FileFormat = Literal["png", "png16", "tiff", "tiff16", "jpeg", "webp"]
"""Formats in which a result can be written. "tiff16" is a TIFF with 16 bits per channel."""

FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
LOSSY: dict[str, str] = {"jpeg": "JPEG", "webp": "WebP"}
"""Formats that change the pixels, with their names for people."""
SUFFIXES: dict[str, FileFormat] = {
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
}
"""The format of each suffix."""


def file_format(path: PurePath, wanted: FileFormat | None = None) -> FileFormat:
    """Return the format in which to write a picture to a file.

    Args:
        wanted: the format that was asked for; None for the format of the suffix.

    Raises:
        ValueError: the suffix belongs to another format, or to none; the message is a clause that follows the
            file's name.
    """
    said = SUFFIXES.get(path.suffix.lower())
    if said is None and path.name.lower() in SUFFIXES:
        raise ValueError(f"has nothing before its ending; give a whole name, as out{path.name}")
    if said is None:
        raise ValueError(f"does not end in {', '.join(SUFFIXES)}; give another name")
    if wanted is None:
        return said
    if said != coding(wanted):
        suffixes = [suffix for suffix, format in SUFFIXES.items() if format == coding(wanted)]
        # If 16 bits were asked for, suggest 16 bits in the other format too, if it has them.
        as_deep = f"{said}16" if stored(wanted) and f"{said}16" in FILE_FORMATS else said
        raise ValueError(
            f"does not end in {' or '.join(suffixes)}, as a {wanted} does; give another name, or "
            f"--format {as_deep}"
        )
    return wanted


_Format = TypeVar("_Format", bound=str)


def coding(format: _Format) -> _Format:
    """Return a format without its depth: the format in which to download a result."""
    return cast("_Format", {"png16": "png", "tiff16": "tiff"}.get(format, format))


def stored(format: FileFormat) -> StoredFormat | None:
    """Return the format in which a server has to keep a result, to be written in a format; None for any."""
    return "png16" if format in ("png16", "tiff16") else None
