"""The history: every painting that arrived, with its settings and a thumbnail."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from impasto.address import same
from impasto.hosts import choices as choosing
from impasto.hosts import thumbnails
from impasto.hosts.choices import Choices
from impasto.hosts.foreign import foreign_json, is_shallow
from impasto.hosts.memory import named
from impasto.hosts.shares import StyleShare, shares_from_json, shares_to_json
from impasto.hosts.storage import Lasting, Storage, read_json, write_json
from impasto.hosts.styles import StyleItem
from impasto.hosts.told import plain

if TYPE_CHECKING:
    from impasto.hosts.host import Painted

MOST = 200
"""Entries that are stored."""
MOST_GUESTS = 1000
"""Entries that are there besides, because a document has them."""
MOST_BYTES = 32 * 2**20
"""Largest history of a document that is written and read."""
MOST_THUMBNAIL_BYTES = 128 * 2**10
_MOST_TEXT = 4096
_MOST_REMOVED = 1000
_INDEX = "history.json"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A painting of earlier. Its picture is kept by the server.

    Attributes:
        id: its identifier, that of its run.
        time: when it arrived, in POSIX seconds.
        document: key of the document that it was painted in: `Order.document`. Copies of the document have
            it in their history too (`History.of`).
        subject: what was painted, for people.
        styles: the styles that were chosen.
        choices: the choices at the end, including steered ones.
        bits: bits per channel of the picture, 8 or 16.
        address: the server that has the picture: `Server.key`.
        job: the name of the job on that server.
        width, height: the painted size in pixels.
        seconds: how long the server painted; 0 if unknown.
        place: the host's notes about where the picture goes.
        thumbnail: a small JPEG; empty if there is none.
    """

    id: str
    time: float
    document: str
    subject: str
    styles: tuple[StyleShare, ...]
    choices: Choices
    bits: int
    address: str
    job: str
    width: int
    height: int
    seconds: float
    place: dict[str, Any] = dataclasses.field(repr=False)
    thumbnail: bytes = dataclasses.field(default=b"", repr=False)

    @property
    def style(self) -> StyleItem:
        """The first style."""
        return self.styles[0].style

    @property
    def label(self) -> str:
        """Its styles, seed and strength in one line."""
        return named(self.styles, self.choices)


class History:
    """The paintings of earlier, in the storage and in the documents that are open.

    The storage has the newest `MOST` of those that were painted here. What comes from a document is not
    stored again, so that no document can take the place of what the artist has painted. An entry may belong
    to several documents: to the one that it was painted in, and to its copies.

    Args:
        changed: called when an entry is new, changed or removed.

    Attributes:
        entries: newest first.
    """

    def __init__(self, storage: Storage, changed: Callable[[], None]) -> None:
        self._storage = Lasting(storage)
        self._changed = changed
        self._removed: list[str] = []
        self._guests: set[str] = set()
        # What documents have brought along, beside what was painted in them.
        self._brought: dict[str, set[str]] = {}
        # What is stored and cannot be read, for example by a newer plugin.
        self._unread: list[str] = []
        self.entries: tuple[Entry, ...] = ()
        self._read_again()

    def find(self, id: str) -> Entry | None:
        """Returns the entry with this identifier; None if there is none."""
        return next((entry for entry in self.entries if entry.id == id), None)

    def is_foreign(self, id: str) -> bool:
        """Returns whether an entry came from a document, so that somebody else may have written it."""
        return id in self._guests

    def of(self, document: str) -> tuple[Entry, ...]:
        """Returns the entries of a document, newest first."""
        brought = self._brought.get(document, ())
        return tuple(entry for entry in self.entries if entry.document == document or entry.id in brought)

    def add(self, painted: Painted, address: str, thumbnail: bytes) -> Entry:
        """Adds a painting that has arrived.

        Args:
            address: the key of the server that painted it.
            thumbnail: a small JPEG of it; empty if there is none.
        """
        job = painted.job
        begun, ended = job.start_time, job.end_time
        entry = Entry(
            id=painted.id,
            # The server's clock, or this one, may be set wrong: the newest stays the first, and is kept.
            time=max([time.time(), *(entry.time for entry in self.entries[:1])]),
            document=painted.document,
            subject=painted.subject,
            styles=painted.styles,
            choices=painted.choices,
            bits=painted.bits,
            address=address,
            job=job.name,
            width=job.width,
            height=job.height,
            seconds=(ended - begun).total_seconds() if begun and ended else 0,
            place=painted.place,
            thumbnail=thumbnail if len(thumbnail) <= MOST_THUMBNAIL_BYTES else b"",
        )
        self._guests.discard(entry.id)
        self._take([entry])
        return entry

    def remove(self, id: str) -> None:
        """Removes an entry, if it is there. It does not return with the document that it is kept in."""
        if self.find(id) is None:
            return
        with self._storage.locked():
            self._read_again()
            self._removed.append(id)
            self._keep(self.entries)

    def dump(self, document: str) -> bytes:
        """Returns the entries of a document, for the host to keep within the document; see `merge`.

        If they are too many for `merge`, the oldest are left out.
        """
        entries: list[str] = []
        room = MOST_BYTES - 100
        for entry in self.of(document):
            entries.append(json.dumps(_to_json(dataclasses.replace(entry, document=document))))
            room -= len(entries[-1]) + 2
            if room < 0:
                del entries[-1]
                break
        return f'{{"impasto_history": 1, "entries": [{", ".join(entries)}]}}'.encode()

    def merge(self, data: bytes, document: str = "") -> None:
        """Takes in what `dump` has returned, on any computer. Ignores what cannot be read.

        Args:
            document: the document's present key; empty for the one that it had.
        """
        value = foreign_json(data, MOST_BYTES, None)
        stored = value.get("entries") if isinstance(value, dict) else None
        new: dict[str, Entry] = {}
        changed = False
        latest = time.time()
        for each in stored[:MOST_GUESTS] if isinstance(stored, list) else []:
            entry = _from_json(each)
            if entry is None or entry.id in self._removed or entry.id in new:
                continue
            if document:
                entry = dataclasses.replace(entry, document=document)
            known = self.find(entry.id)
            if known is None:
                new[entry.id] = dataclasses.replace(entry, time=min(entry.time, latest))
            elif known.document != entry.document:
                # What was painted here counts more than what a document says about it, which may be a copy.
                brought = self._brought.setdefault(entry.document, set())
                changed = changed or known.id not in brought
                brought.add(known.id)
        if new:
            self._guests.update(new)
            self._take(list(new.values()))
        elif changed:
            self._changed()

    def _take(self, entries: list[Entry]) -> None:
        with self._storage.locked():
            self._read_again()
            ids = {entry.id for entry in entries}
            for entry in entries:
                if entry.id not in self._guests:
                    write_json(self._storage, _key(entry.id), _to_json(entry))
            self._keep([*entries, *(entry for entry in self.entries if entry.id not in ids)])

    def _read_again(self) -> None:
        """Adds what another process of the host has stored meanwhile."""
        index = read_json(self._storage, _INDEX, {})
        self._removed += [id for id in _texts(index.get("removed")) if id not in self._removed]
        ids = [id for id in _texts(index.get("ids")) if _is_id(id)]
        self._guests.difference_update(ids)
        known = {entry.id for entry in self.entries}
        stored = {id: _read(self._storage, id) for id in ids if id not in known}
        self._unread = [id for id, entry in stored.items() if entry is None]
        self.entries = _newest((*self.entries, *(entry for entry in stored.values() if entry is not None)))

    def _keep(self, entries: Iterable[Entry]) -> None:
        entries = _newest(entries)
        own = [entry.id for entry in entries if entry.id not in self._guests]
        gone = {*own[MOST:], *(id for id in own if id in self._removed)}
        # An old one may still be in an open document.
        self._guests.update(own[MOST:])
        guests = [entry.id for entry in entries if entry.id in self._guests]
        left_out = {*self._removed, *guests[MOST_GUESTS:]}
        self.entries = tuple(entry for entry in entries if entry.id not in left_out)
        self._guests.intersection_update(entry.id for entry in self.entries)
        ids = [entry.id for entry in self.entries if entry.id not in self._guests]
        ids += [id for id in self._unread if id not in self._removed][:MOST]
        write_json(self._storage, _INDEX, {"ids": ids, "removed": self._removed[-_MOST_REMOVED:]})
        for id in gone:
            self._storage.remove(_key(id))
        self._changed()


def _newest(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: -entry.time))


def _key(id: str) -> str:
    return f"history/{id}.json"


def _is_id(id: str) -> bool:
    # It becomes the name of a file, and can come from another person's document.
    return re.fullmatch("[0-9a-f]{32}", id) is not None


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _read(storage: Storage, id: str) -> Entry | None:
    entry = _from_json(read_json(storage, _key(id), {}))
    if entry is None or entry.id != id:
        return None
    # The clock may have been wrong then: what is painted now must not be older.
    return dataclasses.replace(entry, time=min(entry.time, time.time()))


def _to_json(entry: Entry) -> dict[str, Any]:
    fields = {
        field.name: getattr(entry, field.name)
        for field in dataclasses.fields(entry)
        if field.name not in ("styles", "choices", "thumbnail")
    }
    return {
        **fields,
        "styles": shares_to_json(entry.styles),
        "choices": dataclasses.asdict(entry.choices),
        "thumbnail": base64.b64encode(entry.thumbnail).decode(),
    }


def _from_json(value: Any) -> Entry | None:
    """An entry, from any source; None if it cannot be read."""
    styles = shares_from_json(value)
    if not styles or not is_shallow(value):
        return None
    texts = {name: value.get(name) for name in ("id", "document", "subject", "address", "job")}
    if not all(isinstance(text, str) and len(text) <= _MOST_TEXT for text in texts.values()):
        return None
    # These are sent to a server and shown, so they are no half characters either.
    if not (texts["address"].isprintable() and texts["job"].isprintable()):
        return None
    numbers = {name: value.get(name) for name in ("time", "width", "height", "seconds")}
    if not all(
        isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number <= 2**40
        for number in numbers.values()
    ):
        return None
    place = value.get("place")
    if not _is_id(texts["id"]) or not isinstance(place, dict):
        return None
    try:
        thumbnail = base64.b64decode(value.get("thumbnail", ""))
    except (TypeError, ValueError):
        thumbnail = b""
    return Entry(
        **{**texts, "subject": plain(texts["subject"]), "address": same(texts["address"])},
        time=float(numbers["time"]),
        styles=styles,
        choices=choosing.from_json(value.get("choices")),
        bits=16 if value.get("bits") == 16 else 8,
        width=int(numbers["width"]),
        height=int(numbers["height"]),
        seconds=float(numbers["seconds"]),
        place=place,
        thumbnail=thumbnails.checked(thumbnail, MOST_THUMBNAIL_BYTES, png=False),
    )
