"""What a host remembers: recent recipes, unfinished jobs, and jobs that are still to be cancelled."""

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
    """A recipe that was used: a style and its choices."""

    style: StyleItem
    choices: Choices


@dataclasses.dataclass(frozen=True)
class Remembered:
    """A job, with everything needed to place its picture after the host was restarted.

    Attributes:
        id: an identifier made here.
        address: the address of the server that paints it.
        name: the job's name; empty until the server has sent it.
        title: the job's title on the server; contains `id`.
        style: the style that was chosen.
        choices: the newest choices.
        place: the host's notes about where the picture goes.
    """

    id: str
    address: str
    name: str
    title: str
    style: StyleItem
    choices: Choices
    place: dict[str, Any] = dataclasses.field(repr=False)


class Memory:
    """What a host remembers; stored at every change.

    Attributes:
        recents: recent recipes, newest first.
        jobs: jobs whose pictures are not placed yet, oldest first.
        cancelled: names of jobs that are still to be cancelled, by the address of their server.
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
        """Makes a recipe the most recent one."""
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
        """Stores a job, or its changes."""
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
        self.jobs = [job for job in self.jobs if job.id != id]
        self._keep_jobs()
        self._storage.remove(_place(id))

    def to_cancel(self, address: str, name: str) -> None:
        """Remembers to cancel a job as soon as its server can be reached."""
        names = self.cancelled.setdefault(address, [])
        if name not in names:
            names.append(name)
        write_json(self._storage, "cancelled.json", self.cancelled)

    def told(self, address: str, name: str) -> None:
        """Forgets to cancel a job: its server knows."""
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
