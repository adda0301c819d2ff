"""Reads the files that the administrator names: settings, tokens, certificates."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 16 << 20
"""Maximum size of a file, in bytes."""


def read_whole(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Reads a regular file. A pipe is refused: it could block for ever, and can be read only once.

    Raises:
        OSError: the file cannot be read; `strerror` says why.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            kind = "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
            raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", os.fspath(path))
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes >> 20} MiB", os.fspath(path))
    return data


def read_pem(path: Path) -> bytes:
    """Reads certificates or a key for gRPC, without the byte order mark that some editors write.

    Raises:
        OSError: as `read_whole`.
    """
    return read_whole(path).removeprefix(codecs.BOM_UTF8)


def read_text(path: Path) -> str:
    """Reads text in UTF-8, or in UTF-16 with a byte order mark, as Windows saves it.

    Raises:
        OSError: as `read_whole`.
        UnicodeDecodeError: the file is not text in one of these encodings.
    """
    data = read_whole(path)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")
