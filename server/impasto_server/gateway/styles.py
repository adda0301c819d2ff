"""Named styles: the paintings in a folder, and one built-in painting."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import importlib.resources
import logging
import re
import unicodedata
from pathlib import Path

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.pictures import Intake, PictureFault, Source
from impasto_server.contract.texts import shown

_log = logging.getLogger(__name__)

_THUMBNAIL_SIDE = 128
_THUMBNAIL_BYTES = 16 * 1024
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
_BUILT_IN = ("starry-night", "The Starry Night")


class BadPageToken(ValueError):
    """The page token does not belong to this list."""


@dataclasses.dataclass(frozen=True)
class _Style:
    """A painting of the library. Its `stamp` changes when its file changes."""

    name: str
    title: str
    file: Path
    stamp: object = None


class StyleLibrary:
    """Named styles. The folder is read again when it changes."""

    def __init__(self, folder: Path | None, intake: Intake) -> None:
        """
        Args:
            folder: of paintings; None for the built-in style only.
            intake: reads the paintings, and makes thumbnails.
        """
        self._folder = folder
        self._intake = intake
        self._shown: dict[tuple[str, object], pb.NamedStyle | None] = {}
        self._lock = asyncio.Lock()

    async def page(self, page_size: int, page_token: str = "") -> tuple[list[pb.NamedStyle], str]:
        """Returns styles in the order of their names, and the token of the next page, empty after the last.

        Raises:
            BadPageToken: the token does not belong to this list.
        """
        after = _decoded(page_token)
        page: list[pb.NamedStyle] = []
        for style in await asyncio.to_thread(self._styles):
            if style.name <= after:
                continue
            described = await self._described(style)
            if described is None:
                continue
            if len(page) == page_size:
                return page, base64.urlsafe_b64encode(page[-1].name.encode()).decode()
            page.append(described)
        return page, ""

    async def get(self, name: str) -> bytes | None:
        """Returns a painting's file by its name, such as "styles/starry-night"; None if there is none."""
        styles = await asyncio.to_thread(self._styles)
        style = next((style for style in styles if style.name == name), None)
        if style is None or await self._described(style) is None:
            return None
        try:
            return await asyncio.to_thread(style.file.read_bytes)
        except OSError:
            # Removed since the folder was read.
            return None

    def _styles(self) -> list[_Style]:
        styles = [_Style(f"styles/{_BUILT_IN[0]}", _BUILT_IN[1], _built_in())]
        taken = {styles[0].name}
        for path in sorted(self._files()):
            title = shown(path.stem.replace("_", " ").strip())
            base = f"styles/{_slug(path.stem)}"
            name, number = base, 1
            while name in taken:
                number += 1
                name = f"{base}-{number}"
            try:
                found = path.stat()
            except OSError:
                continue  # Removed since the folder was read.
            taken.add(name)
            styles.append(_Style(name, title, path, (str(path), found.st_mtime_ns, found.st_size)))
        current = {(style.name, style.stamp) for style in styles}
        self._shown = {key: shown for key, shown in self._shown.items() if key in current}
        return sorted(styles, key=lambda style: style.name)

    def _files(self) -> list[Path]:
        if self._folder is None:
            return []
        try:
            # Hidden files belong to programs, such as the "._x.jpg" that macOS writes beside x.jpg.
            shown = [p for p in self._folder.iterdir() if not p.name.startswith(".")]
            return [p for p in shown if p.suffix.lower() in _SUFFIXES and p.is_file()]
        except OSError as error:
            _log.error("styles cannot be read folder=%s error=%r", self._folder, str(error))
            return []

    async def _described(self, style: _Style) -> pb.NamedStyle | None:
        """Returns the style with its thumbnail, which is made once; None if it cannot be read."""
        key = (style.name, style.stamp)
        async with self._lock:
            if key not in self._shown:
                try:
                    thumbnail, about = await self._intake.thumbnail(
                        Source(style.file), _THUMBNAIL_SIDE, _THUMBNAIL_BYTES
                    )
                except OSError as error:
                    # Not remembered: it can perhaps be read the next time.
                    _log.warning("style not read path=%s error=%r", style.file, str(error))
                    return None
                except PictureFault as error:
                    _log.warning("style cannot be read path=%s error=%r", style.file, str(error))
                    self._shown[key] = None
                else:
                    self._shown[key] = pb.NamedStyle(
                        name=style.name,
                        title=style.title,
                        width=about.width,
                        height=about.height,
                        thumbnail=thumbnail,
                    )
            return self._shown[key]


def _decoded(page_token: str) -> str:
    """Returns the name after which a page begins."""
    try:
        after = base64.urlsafe_b64decode(page_token.encode("ascii")).decode()
    except ValueError as error:
        raise BadPageToken("the page token does not belong to this list") from error
    if page_token and not after.startswith("styles/"):
        raise BadPageToken("the page token does not belong to this list")
    return after


def _built_in() -> Path:
    # The file is in the client's package; no code of the client is imported for it.
    return Path(str(importlib.resources.files("impasto").joinpath("data/starry_night.jpg")))


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "style"
