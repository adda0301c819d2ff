"""The formats that pictures are asked for in, and what their files are called."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal, TypeVar, cast, get_args

StoredFormat = Literal["png", "png16"]
"""What a server keeps a result as: a PNG of 8 or 16 bits per channel."""
FileFormat = Literal["png", "png16", "tiff", "tiff16", "jpeg", "webp"]
"""What a result can be written as. A "tiff16" is a TIFF of 16 bits per channel."""

FILE_FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
LOSSY: dict[str, str] = {"jpeg": "JPEG", "webp": "WebP"}
"""Those whose files do not have exactly the pixels that were painted, and what people call them."""
SUFFIXES: dict[str, FileFormat] = {
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
}
"""The format that a file's name says, by its suffix."""


def file_format(path: PurePath, wanted: FileFormat | None = None) -> FileFormat:
    """How to write a picture to a file.

    Args:
        wanted: the format that was asked for; None for what the file's name says.

    Raises:
        ValueError: the file's name says otherwise, or nothing; a clause that goes on from its name.
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
        # Who asked for 16 bits wants them in another format too, if it has them.
        as_deep = f"{said}16" if stored(wanted) and f"{said}16" in FILE_FORMATS else said
        raise ValueError(
            f"does not end in {' or '.join(suffixes)}, as a {wanted} does; give another name, or "
            f"--format {as_deep}"
        )
    return wanted


_Format = TypeVar("_Format", bound=str)


def coding(format: _Format) -> _Format:
    """A format without its depth: what a result is to be downloaded as."""
    return cast("_Format", {"png16": "png", "tiff16": "tiff"}.get(format, format))


def stored(format: FileFormat) -> StoredFormat | None:
    """What a server is to be asked to keep a result as, to be written in a format; None for nothing."""
    return "png16" if format in ("png16", "tiff16") else None
