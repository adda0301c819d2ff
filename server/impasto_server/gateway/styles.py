"""The styles that callers may name: a folder of paintings, and one that comes with the program."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import importlib.resources
import io
import logging
import re
import threading
import unicodedata
from pathlib import Path

import PIL.Image
from PIL import ImageOps

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.formats import ACCEPTED
from impasto_server.gateway.images import upright_size

_log = logging.getLogger(__name__)

_THUMBNAIL_SIDE = 128
_THUMBNAIL_BYTES = 16 * 1024
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
_BUILT_IN = ("starry-night", "The Starry Night")


class BadPageToken(ValueError):
    """The token is none that was given for this list."""


@dataclasses.dataclass(frozen=True)
class _Style:
    """A painting of the library; `path` is None for the one that comes with the program."""

    name: str
    title: str
    path: Path | None
    stamp: object = None


class StyleLibrary:
    """Named styles, read again when the folder changes. Safe to use from several threads.

    The folder is the operator's: unlike what callers send, its images may be decoded here.
    """

    def __init__(self, folder: Path | None) -> None:
        """
        Args:
            folder: of images; None for the built-in style alone.
        """
        self._folder = folder
        self._shown: dict[tuple[str, object], pb.NamedStyle | None] = {}
        self._lock = threading.Lock()

    async def page(self, page_size: int, page_token: str = "") -> tuple[list[pb.NamedStyle], str]:
        """Styles in the order of their names, and the token of the next page, empty after the last.

        Raises:
            BadPageToken: the token is none of ours.
        """
        return await asyncio.to_thread(self._page, page_size, page_token)

    def get(self, name: str) -> bytes | None:
        """A painting's file, by its name ("styles/starry-night"); None if there is no such."""
        style = next((style for style in self._styles() if style.name == name), None)
        if style is None or self._described(style) is None:
            return None
        return _read(style)

    def _page(self, page_size: int, page_token: str) -> tuple[list[pb.NamedStyle], str]:
        try:
            after = base64.urlsafe_b64decode(page_token.encode("ascii")).decode()
        except ValueError as error:
            raise BadPageToken("the page token is none of ours") from error
        if page_token and not after.startswith("styles/"):
            raise BadPageToken("the page token is none of ours")
        page: list[pb.NamedStyle] = []
        for style in self._styles():
            if style.name <= after:
                continue
            described = self._described(style)
            if described is None:
                continue
            if len(page) == page_size:
                return page, base64.urlsafe_b64encode(page[-1].name.encode()).decode()
            page.append(described)
        return page, ""

    def _styles(self) -> list[_Style]:
        styles = [_Style(f"styles/{_BUILT_IN[0]}", _BUILT_IN[1], None)]
        taken = {styles[0].name}
        for path in sorted(self._files()):
            title = path.stem.replace("_", " ").strip()
            base = f"styles/{_slug(path.stem)}"
            name, number = base, 1
            while name in taken:
                number += 1
                name = f"{base}-{number}"
            try:
                found = path.stat()
            except OSError:
                continue  # Taken away since the folder was read.
            taken.add(name)
            styles.append(_Style(name, title, path, (str(path), found.st_mtime_ns, found.st_size)))
        with self._lock:
            current = {(style.name, style.stamp) for style in styles}
            self._shown = {key: shown for key, shown in self._shown.items() if key in current}
        return sorted(styles, key=lambda style: style.name)

    def _files(self) -> list[Path]:
        if self._folder is None:
            return []
        try:
            return [p for p in self._folder.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file()]
        except OSError as error:
            _log.error("styles cannot be read folder=%s error=%r", self._folder, str(error))
            return []

    def _described(self, style: _Style) -> pb.NamedStyle | None:
        """The style with its thumbnail, made once; None if it cannot be read."""
        key = (style.name, style.stamp)
        with self._lock:
            if key not in self._shown:
                try:
                    self._shown[key] = _describe(style)
                except Exception as error:
                    # Pillow raises nearly every kind of exception for files that are damaged.
                    _log.warning("style cannot be read path=%s error=%r", style.path, str(error))
                    self._shown[key] = None
            return self._shown[key]


def _read(style: _Style) -> bytes:
    if style.path is not None:
        return style.path.read_bytes()
    # Data of the same distribution; nothing of the client is run for it.
    return importlib.resources.files("impasto").joinpath("data/starry_night.jpg").read_bytes()


def _describe(style: _Style) -> pb.NamedStyle:
    data = _read(style)
    width, height = upright_size(pb.Image(encoded=data))
    with PIL.Image.open(io.BytesIO(data), formats=list(ACCEPTED.values())) as opened:
        opened.draft("RGB", (4 * _THUMBNAIL_SIDE, 4 * _THUMBNAIL_SIDE))
        picture = _eight_bits(ImageOps.exif_transpose(opened))
    picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), PIL.Image.Resampling.LANCZOS)
    for quality in (85, 70, 50, 30):
        output = io.BytesIO()
        picture.save(output, "JPEG", quality=quality, optimize=True)
        if output.tell() <= _THUMBNAIL_BYTES:
            break
    return pb.NamedStyle(
        name=style.name, title=style.title, width=width, height=height, thumbnail=output.getvalue()
    )


def _eight_bits(picture: PIL.Image.Image) -> PIL.Image.Image:
    """In mode RGB. Pillow's own conversion makes nearly all of a 16-bit picture white."""
    if picture.mode.startswith("I"):
        picture = picture.convert("I").point(lambda level: level * (1 / 257)).convert("L")
    return picture.convert("RGB")


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "style"
