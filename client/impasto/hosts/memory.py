"""What a host remembers: recent settings, unfinished jobs, and jobs that are still to be cancelled."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import Any

from impasto.address import same
from impasto.hosts import choices as choosing
from impasto.hosts.choices import Choices
from impasto.hosts.shares import StyleShare, shares_from_json, shares_to_json, title_of
from impasto.hosts.storage import Lasting, Storage, read_json, write_json
from impasto.hosts.styles import StyleItem
from impasto.hosts.told import cut
from impasto.hosts.translate import _
from impasto.process_notes import told_apart

MOST_TITLE = 80
"""Longest titles of styles in a name, in characters."""
MOST_RECENT = 12
"""Recent settings that are kept."""


@dataclasses.dataclass(frozen=True)
class Recent:
    """Settings that were used: styles and choices."""

    styles: tuple[StyleShare, ...]
    choices: Choices

    @property
    def style(self) -> StyleItem:
        """The first style."""
        return self.styles[0].style


@dataclasses.dataclass(frozen=True)
class Remembered:
    """A job, with everything needed to place its picture after the host was restarted.

    Attributes:
        id: an identifier made here.
        address: the server that paints it: `Server.key`.
        name: the job's name; empty until the server has sent it.
        title: the job's title on the server; contains `id`.
        styles: the styles that were chosen.
        choices: the newest choices.
        place: the host's notes about where the picture goes.
        bits: bits per channel of the result.
        texture: whether a texture is made.
        subject: what is painted, for people.
        document: key of the document in the history.
        keeper: the process that paints it, or has to place it.
    """

    id: str
    address: str
    name: str
    title: str
    styles: tuple[StyleShare, ...]
    choices: Choices
    place: dict[str, Any] = dataclasses.field(repr=False)
    bits: int = 8
    texture: bool = False
    subject: str = ""
    document: str = ""
    keeper: str = ""

    @property
    def is_kept_elsewhere(self) -> bool:
        """Whether another process of the host still runs that paints it. On macOS this takes a moment."""
        process, _colon, mark = self.keeper.partition(":")
        if not mark or not process.isdigit() or self.keeper == this_process():
            return False
        return told_apart(int(process)) == mark

    @property
    def label(self) -> str:
        """What is painted in which style, for people."""
        # Older plugins stored the subject in the title only.
        return described(self.styles, self.subject) if self.subject else self.title.rpartition(" [")[0]


def named(styles: tuple[StyleShare, ...], choices: Choices) -> str:
    """Return a painting's styles, seed and strength in one line, as the name of a layer too.

    It does not end in a number: Krita would number the artist's next layers from there.
    """
    return _("{style} · seed {seed} · strength {strength} %").format(
        style=cut(title_of(styles), MOST_TITLE), seed=choices.seed, strength=choices.strength
    )


def described(styles: tuple[StyleShare, ...], subject: str) -> str:
    """Return what is painted in which style, for people."""
    if not subject:
        return title_of(styles)
    return _("{style} on {subject}").format(style=title_of(styles), subject=subject)


@functools.cache
def this_process() -> str:
    """Return what tells this process from all others: the `Remembered.keeper` of its jobs."""
    return f"{os.getpid()}:{told_apart(os.getpid()) or ''}"


class Memory:
    """What a host remembers; stored at every change.

    Attributes:
        recents: recent settings, newest first.
        jobs: jobs whose pictures are not placed yet, oldest first.
        cancelled: names of jobs that are still to be cancelled, by the key of their server.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = Lasting(storage)
        # What is stored and cannot be read, for example by a newer plugin: it is stored again as it is.
        self._strange: list[Any] = []
        self.recents: list[Recent] = []
        self.jobs: list[Remembered] = []
        self.cancelled: dict[str, list[str]] = {}
        self._own: set[str] = set()
        self.read_again()

    def read_again(self) -> None:
        """Reads what is stored: another process of the host may have changed it."""
        kept = read_json(self._storage, "recents.json", [])
        self.recents = [recent for recent in map(_recent, kept) if recent is not None]
        known = {job.id: job for job in self.jobs}
        values = read_json(self._storage, "jobs.json", [])
        stored = [_remembered(self._storage, value, known) for value in values]
        self._strange = [value for value, job in zip(values, stored, strict=True) if job is None]
        jobs = {job.id: job for job in stored if job is not None}
        # What another process has overwritten.
        jobs |= {id: job for id, job in known.items() if id in self._own}
        self.jobs = list(jobs.values())
        self.cancelled = {}
        for address, names in read_json(self._storage, "cancelled.json", {}).items():
            if isinstance(names, list):
                self.cancelled.setdefault(same(address), []).extend(map(str, names))

    def use(self, recent: Recent) -> None:
        """Makes settings the most recent ones."""
        with self._changing():
            self.recents = [recent, *(other for other in self.recents if other != recent)][:MOST_RECENT]
            write_json(
                self._storage,
                "recents.json",
                [
                    {"styles": shares_to_json(recent.styles), "choices": dataclasses.asdict(recent.choices)}
                    for recent in self.recents
                ],
            )

    def remember(self, job: Remembered) -> None:
        """Stores a job, or its changes."""
        with self._changing():
            self._own.add(job.id)
            known = next((other for other in self.jobs if other.id == job.id), None)
            if known is None or known.place != job.place:
                # The place may have a large selection in it, so it is written only when it changes.
                write_json(self._storage, _place(job.id), job.place)
            if known is None:
                self.jobs.append(job)
            else:
                self.jobs[self.jobs.index(known)] = job
            self._keep_jobs()

    def forget(self, id: str) -> None:
        """Removes a job, if it is known."""
        with self._changing():
            self._own.discard(id)
            self.jobs = [job for job in self.jobs if job.id != id]
            self._keep_jobs()
            self._storage.remove(_place(id))

    def to_cancel(self, address: str, name: str) -> None:
        """Remembers to cancel a job as soon as its server can be reached."""
        with self._changing():
            names = self.cancelled.setdefault(address, [])
            if name not in names:
                names.append(name)
            write_json(self._storage, "cancelled.json", self.cancelled)

    def told(self, address: str, name: str) -> None:
        """Forgets to cancel a job: its server knows."""
        with self._changing():
            if name not in self.cancelled.get(address, []):
                return
            self.cancelled[address].remove(name)
            if not self.cancelled[address]:
                del self.cancelled[address]
            write_json(self._storage, "cancelled.json", self.cancelled)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Reads what is stored, and keeps other processes from changing it meanwhile."""
        with self._storage.locked():
            self.read_again()
            yield

    def _keep_jobs(self) -> None:
        write_json(
            self._storage,
            "jobs.json",
            [
                {
                    "id": job.id,
                    "address": job.address,
                    "name": job.name,
                    "title": job.title,
                    "styles": shares_to_json(job.styles),
                    "choices": dataclasses.asdict(job.choices),
                    "bits": job.bits,
                    "texture": job.texture,
                    "subject": job.subject,
                    "document": job.document,
                    "keeper": job.keeper,
                }
                for job in self.jobs
            ]
            + self._strange,
        )


def _place(id: str) -> str:
    return f"places/{id}.json"


def _recent(value: Any) -> Recent | None:
    styles = shares_from_json(value)
    return Recent(styles, choosing.from_json(value.get("choices"))) if styles else None


def _remembered(storage: Storage, value: Any, known: dict[str, Remembered]) -> Remembered | None:
    styles = shares_from_json(value)
    if not styles or not all(isinstance(value.get(key), str) for key in ("id", "address", "name", "title")):
        return None
    return Remembered(
        value["id"],
        same(value["address"]),
        value["name"],
        value["title"],
        styles,
        choosing.from_json(value.get("choices")),
        # The place may be large, and does not change.
        known[value["id"]].place if value["id"] in known else read_json(storage, _place(value["id"]), {}),
        bits=16 if value.get("bits") == 16 else 8,
        texture=value.get("texture") is True,
        subject=str(value.get("subject") or ""),
        document=str(value.get("document") or ""),
        keeper=str(value.get("keeper") or ""),
    )
