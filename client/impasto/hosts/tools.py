"""What the paintings of one controller share."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from impasto.errors import FailedPrecondition, NotFound
from impasto.hosts import words
from impasto.hosts.connection import Connection, Timing
from impasto.hosts.errands import Errands
from impasto.hosts.history import History
from impasto.hosts.host import Host
from impasto.hosts.memory import Memory
from impasto.hosts.styles import StyleLibrary

if TYPE_CHECKING:
    from impasto.client import Client
    from impasto.recipe import Previews


@dataclasses.dataclass(frozen=True)
class Tools:
    """What a run needs."""

    host: Host
    errands: Errands
    connection: Connection
    library: StyleLibrary
    memory: Memory
    timing: Timing
    history: History
    previews: Previews
    result_format: str


def format_of(tools: Tools, bits: int) -> str:
    """Return the format in which to fetch a result with 8 or 16 bits per channel."""
    if tools.result_format == "png":
        return "png16" if bits == 16 else "png"
    return "rgba16" if bits == 16 else "rgba8"


def cancel_job(tools: Tools, key: str, which: str) -> None:
    """Cancels a job: now, or when its server can be reached.

    Args:
        key: the server's key.
        which: the job's name, or its title if the name is unknown.
    """
    tools.memory.to_cancel(key, which)
    client = tools.connection.client
    if client is None or tools.connection.key != key:
        return

    def work() -> None:
        names = [which] if which.startswith("jobs/") else _names_of(client, which)
        for name in names:
            try:
                client.cancel(name)
            except (NotFound, FailedPrecondition):
                continue

    def failed(error: Exception) -> None:
        if isinstance(error, words.RETRIABLE):
            tools.connection.lost(client, error)

    tools.errands.start(work, lambda _: tools.memory.told(key, which), failed)


def _names_of(client: Client, title: str) -> list[str]:
    return [job.name for job in client.jobs(["queued", "running", "paused"]) if job.title == title]
