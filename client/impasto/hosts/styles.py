"""The styles to choose from: the server's, and the artist's own, uploaded once and remembered by digest."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from impasto.hosts.storage import Storage, read_json, write_json
from impasto.recipe import StyleName, UploadedImage

if TYPE_CHECKING:
    from impasto.client import Client

MOST_OWN = 40
"""Own styles that are kept; the one used longest ago goes first."""


@dataclasses.dataclass(frozen=True)
class StyleItem:
    """A style to choose.

    Attributes:
        key: "styles/…" for one of the server's; the SHA-256 of its file for an own one.
        title: for people.
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
    """The styles there are.

    Args:
        changed: called when there are others.

    Attributes:
        offered: the server's, in its order; what was offered last while there is no connection.
        own: the artist's own, the newest first.
    """

    def __init__(self, storage: Storage, changed: Callable[[], None]) -> None:
        self._storage = storage
        self._changed = changed
        self._uploaded: set[tuple[str, str]] = set()
        self.offered: tuple[StyleItem, ...] = ()
        kept = (item_from_json(value) for value in read_json(storage, "styles.json", []))
        self.own: tuple[StyleItem, ...] = tuple(item for item in kept if item is not None and item.own)

    def offer(self, items: tuple[StyleItem, ...]) -> None:
        """The server offers these."""
        if [(item, item.thumbnail) for item in items] != [(item, item.thumbnail) for item in self.offered]:
            self.offered = items
            self._changed()

    def add(self, data: bytes, title: str, thumbnail: bytes = b"") -> StyleItem:
        """Takes in an own style; one that is there already comes first again.

        Args:
            data: its file, in one of `ServerInfo.accepted_formats`.
            thumbnail: a small coded picture of it.

        Raises:
            OSError: its file cannot be kept.
        """
        item = StyleItem(hashlib.sha256(data).hexdigest(), title, thumbnail)
        self._storage.write(_file(item.key), data)
        self._keep((item, *(other for other in self.own if other.key != item.key)))
        return item

    def remove(self, key: str) -> None:
        """Forgets an own style. Harmless if there is none."""
        self._keep(tuple(item for item in self.own if item.key != key))
        self._storage.remove(_file(key))

    def find(self, key: str) -> StyleItem | None:
        """The style with this key, if it is there."""
        return next((item for item in (*self.offered, *self.own) if item.key == key), None)

    def source(self, item: StyleItem, client: Client, address: str, *, again: bool = False) -> Any:
        """What a job is told of a style; uploads an own one that this server was not sent. On any thread.

        Args:
            again: the server says that it has it no more.

        Raises:
            ValueError: its file is lost; the message is a sentence for people.
            ImpastoError: it cannot be uploaded.
        """
        if not item.own:
            return StyleName(item.key)
        if again or (address, item.key) not in self._uploaded:
            data = self._storage.read(_file(item.key))
            if data is None:
                raise ValueError(f"The file of the style “{item.title}” is lost. Add it again.")
            client.upload(data)
            self._uploaded.add((address, item.key))
        return UploadedImage(item.key)

    def _keep(self, own: tuple[StyleItem, ...]) -> None:
        for item in own[MOST_OWN:]:
            self._storage.remove(_file(item.key))
        self.own = own[:MOST_OWN]
        write_json(self._storage, "styles.json", [item_to_json(item) for item in self.own])
        self._changed()


def _file(key: str) -> str:
    return f"styles/{key}"


def item_to_json(item: StyleItem) -> dict[str, str]:
    """A style as it is kept."""
    return {
        "key": item.key,
        "title": item.title,
        "thumbnail": base64.b64encode(item.thumbnail).decode(),
    }


def item_from_json(value: Any) -> StyleItem | None:
    """A style as it was kept; None if it cannot be understood."""
    try:
        key, title = str(value["key"]), str(value["title"])
        return StyleItem(key, title, base64.b64decode(value.get("thumbnail", "")))
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
