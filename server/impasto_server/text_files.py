"""Texts that people write with editors of their own."""

from __future__ import annotations

import codecs
from pathlib import Path


def read_text(path: Path) -> str:
    """Reads a text in UTF-8, or in UTF-16 with a byte order mark, as Windows saves it.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is no text.
    """
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")
