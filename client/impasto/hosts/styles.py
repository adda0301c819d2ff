"""The styles to choose from: the server's, and the artist's own, which are uploaded once."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from impasto.hosts import thumbnails
from impasto.hosts.storage import Lasting, Storage, read_json, write_json
from impasto.hosts.told import ToldError, cut, plain
from impasto.hosts.translate import _
from impasto.recipe import StyleName, UploadedImage

if TYPE_CHECKING:
    from impasto.client import Client

MOST_OWN = 200
"""Own styles that are kept; a new one replaces the oldest."""
MOST_THUMBNAIL_BYTES = 256 * 2**10
MOST_TITLE = 200


@dataclasses.dataclass(frozen=True)
class StyleItem:
    """A style to choose.

    Attributes:
        key: "styles/…" for one of the server's; the SHA-256 of the file for an own one.
        title: its title.
        thumbnail: a small coded picture; empty if there is none.
    """

    key: str
    title: str
    thumbnail: bytes = dataclasses.field(default=b"", repr=False, compare=False)

    @property
    def own(self) -> bool:
        """Whether it is the artist's own."""
        return not self.key.startswith("styles/")


class StyleLibrary:
    """The available styles.

    Args:
        changed: called when they change.

    Attributes:
        offered: the server's styles, in its order; without a connection, those that it offered last.
        own: the artist's own styles, newest first.
    """

    def __init__(self, storage: Storage, changed: Callable[[], None]) -> None:
        self._storage = storage
        self._kept = Lasting(storage)
        # What is stored and cannot be read, for example by a newer plugin: it is stored again as it is.
        self._strange: list[Any] = []
        self._changed = changed
        self._uploaded: set[tuple[str, str]] = set()
        self.offered: tuple[StyleItem, ...] = ()
        self.own: tuple[StyleItem, ...] = ()
        self._read_again()

    def offer(self, items: tuple[StyleItem, ...]) -> None:
        """Replaces the styles that the server offers."""
        if [(item, item.thumbnail) for item in items] != [(item, item.thumbnail) for item in self.offered]:
            self.offered = items
            self._changed()

    def add(self, data: bytes, title: str, thumbnail: bytes = b"") -> StyleItem:
        """Adds an own style. If it is there already, it becomes the first.

        Args:
            data: its file, in one of `ServerInfo.accepted_formats`.
            thumbnail: a small coded picture of it.

        Raises:
            OSError: its file cannot be stored.
        """
        item = StyleItem(hashlib.sha256(data).hexdigest(), plain(title)[:MOST_TITLE], thumbnail)
        with self._storage.locked():
            self._storage.write(_file(item.key), data)
            self._read_again()
            self._keep((item, *(other for other in self.own if other.key != item.key)))
        return item

    def remove(self, key: str) -> None:
        """Removes an own style, if it is there."""
        with self._storage.locked():
            self._read_again()
            self._keep(tuple(item for item in self.own if item.key != key))
            self._kept.remove(_file(key))

    def find(self, key: str) -> StyleItem | None:
        """Returns the style with this key; None if there is none."""
        return next((item for item in (*self.offered, *self.own) if item.key == key), None)

    def file(self, item: StyleItem) -> bytes | None:
        """Returns the file of an own style; None if it is lost, or for one of the server's styles."""
        return self._storage.read(_file(item.key)) if item.own else None

    def source(self, item: StyleItem, client: Client, address: str, *, again: bool = False) -> Any:
        """Returns a style as `Client.create_job` takes it; uploads an own one if this server lacks it.

        May be used from any thread.

        Args:
            again: whether the server has said that it no longer has the style.

        Raises:
            ToldError: the style's file is lost.
            ImpastoError: it cannot be uploaded.
        """
        if not item.own:
            return StyleName(item.key)
        if again or (address, item.key) not in self._uploaded:
            data = self._storage.read(_file(item.key))
            if data is None:
                raise ToldError(
                    _("The file of the style “{style}” is lost.").format(style=cut(item.title)),
                    _("Add the style again."),
                )
            client.upload(data)
            self._uploaded.add((address, item.key))
        return UploadedImage(item.key)

    def _read_again(self) -> None:
        """Reads the own styles: another process of the host may have changed them."""
        values = read_json(self._kept, "styles.json", [])
        items = [item_from_json(value) for value in values]
        self._strange = [value for value, item in zip(values, items, strict=True) if item is None]
        self.own = tuple(item for item in items if item is not None and item.own)

    def _keep(self, own: tuple[StyleItem, ...]) -> None:
        for item in own[MOST_OWN:]:
            self._kept.remove(_file(item.key))
        self.own = own[:MOST_OWN]
        write_json(self._kept, "styles.json", [*map(item_to_json, self.own), *self._strange])
        self._changed()


def _file(key: str) -> str:
    return f"styles/{key}"


def item_to_json(item: StyleItem) -> dict[str, str]:
    """Return a style as it is stored."""
    return {
        "key": item.key,
        "title": item.title,
        "thumbnail": base64.b64encode(item.thumbnail).decode(),
    }


def item_from_json(value: Any) -> StyleItem | None:
    """Return a stored style, from any source; None if it cannot be read."""
    try:
        key, title = value["key"], value["title"]
        # An own style's key becomes the name of a file, and can come from another person.
        if not re.fullmatch("styles/[a-z0-9-]{1,200}|[0-9a-f]{64}", key) or not isinstance(title, str):
            return None
        thumbnail = thumbnails.checked(base64.b64decode(value.get("thumbnail", "")), MOST_THUMBNAIL_BYTES)
        # Cut first, as one from somebody else may have millions of characters.
        return StyleItem(key, plain(title[: 4 * MOST_TITLE])[:MOST_TITLE], thumbnail)
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
