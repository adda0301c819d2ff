"""What is remembered of paintings: recent recipes, jobs under way, and jobs still to be cancelled."""

from __future__ import annotations

import dataclasses
from typing import Any

from impasto.hosts import choices as choosing
from impasto.hosts.choices import Choices
from impasto.hosts.storage import Storage, read_json, write_json
from impasto.hosts.styles import StyleItem, item_from_json, item_to_json

MOST_RECENT = 12
"""Recent recipes that are kept."""


@dataclasses.dataclass(frozen=True)
class Recent:
    """A recipe that was used: a style and the choices with it."""

    style: StyleItem
    choices: Choices


@dataclasses.dataclass(frozen=True)
class Remembered:
    """A job, with what it takes to put its picture in place after the host was closed.

    Attributes:
        id: of our own.
        address: of the server that paints it.
        name: the job's; empty while the server has not told it.
        title: as the server shows it; it has our id in it.
        style: as it was chosen.
        choices: as they last were.
        place: the host's own notes.
    """

    id: str
    address: str
    name: str
    title: str
    style: StyleItem
    choices: Choices
    place: dict[str, Any] = dataclasses.field(repr=False)


class Memory:
    """What is remembered, kept at every change.

    Attributes:
        recents: recent recipes, the newest first.
        jobs: jobs whose picture is not in place yet, the oldest first.
        cancelled: names of jobs that a server is still to be told to cancel, by its address.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        kept = read_json(storage, "recents.json", [])
        self.recents: list[Recent] = [recent for recent in map(_recent, kept) if recent is not None]
        jobs = (_remembered(storage, value) for value in read_json(storage, "jobs.json", []))
        self.jobs: list[Remembered] = [job for job in jobs if job is not None]
        self.cancelled: dict[str, list[str]] = {
            str(address): [str(name) for name in names]
            for address, names in read_json(storage, "cancelled.json", {}).items()
            if isinstance(names, list)
        }

    def use(self, recent: Recent) -> None:
        """A recipe was used: it comes first."""
        self.recents = [recent, *(other for other in self.recents if other != recent)][:MOST_RECENT]
        write_json(
            self._storage,
            "recents.json",
            [
                {"style": item_to_json(recent.style), "choices": dataclasses.asdict(recent.choices)}
                for recent in self.recents
            ],
        )

    def remember(self, job: Remembered) -> None:
        """Remembers a job, or what is new about it."""
        known = next((other for other in self.jobs if other.id == job.id), None)
        if known is None or known.place != job.place:
            # A selection may be large; it is written once.
            write_json(self._storage, _place(job.id), job.place)
        if known is None:
            self.jobs.append(job)
        else:
            self.jobs[self.jobs.index(known)] = job
        self._keep_jobs()

    def forget(self, id: str) -> None:
        """Forgets a job. Harmless if it is not known."""
        self.jobs = [job for job in self.jobs if job.id != id]
        self._keep_jobs()
        self._storage.remove(_place(id))

    def to_cancel(self, address: str, name: str) -> None:
        """A job is to be cancelled as soon as its server is there."""
        names = self.cancelled.setdefault(address, [])
        if name not in names:
            names.append(name)
        write_json(self._storage, "cancelled.json", self.cancelled)

    def told(self, address: str, name: str) -> None:
        """A server was told to cancel a job. Harmless if it did not have to be."""
        if name not in self.cancelled.get(address, []):
            return
        self.cancelled[address].remove(name)
        if not self.cancelled[address]:
            del self.cancelled[address]
        write_json(self._storage, "cancelled.json", self.cancelled)

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
                    "style": item_to_json(job.style),
                    "choices": dataclasses.asdict(job.choices),
                }
                for job in self.jobs
            ],
        )


def _place(id: str) -> str:
    return f"places/{id}.json"


def _recent(value: Any) -> Recent | None:
    style = item_from_json(value.get("style")) if isinstance(value, dict) else None
    return None if style is None else Recent(style, choosing.from_json(value.get("choices")))


def _remembered(storage: Storage, value: Any) -> Remembered | None:
    style = item_from_json(value.get("style")) if isinstance(value, dict) else None
    if style is None or not all(
        isinstance(value.get(key), str) for key in ("id", "address", "name", "title")
    ):
        return None
    return Remembered(
        value["id"],
        value["address"],
        value["name"],
        value["title"],
        style,
        choosing.from_json(value.get("choices")),
        read_json(storage, _place(value["id"]), {}),
    )
