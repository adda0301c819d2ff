"""The files of the page, read and compressed once."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "page"
DESCRIPTION = Path(__file__).parent / "openapi.json"
_NOT_SERVED = ("tsconfig.json",)

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
_COMPRESSED = (".css", ".html", ".js", ".json", ".svg", ".webmanifest")


@dataclasses.dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Attributes:
        type: its content type.
        data: its bytes.
        gzip: its bytes compressed; None if that saves nothing.
        etag: names this content.
    """

    type: str
    data: bytes
    gzip: bytes | None
    etag: str


def read_page(folder: Path = FOLDER) -> dict[str, PageFile]:
    """Reads all files of the page, by their path relative to the page's address. "" is index.html.

    Beside them lies the description of the calls.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in TYPES and path.name not in _NOT_SERVED and path.is_file():
            files[path.relative_to(folder).as_posix()] = _read(path)
    files["openapi.json"] = _read(DESCRIPTION)
    if "index.html" in files:
        files[""] = files["index.html"]
    return files


def _read(path: Path) -> PageFile:
    data = path.read_bytes()
    small = gzip.compress(data, mtime=0) if path.suffix in _COMPRESSED else None
    if small is not None and len(small) >= len(data):
        small = None
    return PageFile(TYPES[path.suffix], data, small, f'"{hashlib.sha256(data).hexdigest()[:32]}"')
