"""The order in which each tenant's jobs wait."""

from __future__ import annotations

import bisect
from typing import Protocol


class Queued(Protocol):
    """A job, as far as its place in a queue matters; see `StoredJob`."""

    @property
    def name(self) -> str: ...

    @property
    def tenant(self) -> str: ...

    @property
    def waiting(self) -> bool: ...

    @property
    def rank(self) -> tuple[int, int]: ...


class Queues:
    """The ranks of the waiting jobs of each tenant, sorted, so that a position costs no look at all jobs."""

    def __init__(self) -> None:
        self._ranks: dict[str, tuple[str, tuple[int, int]]] = {}
        self._queues: dict[str, list[tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def update(self, job: Queued) -> None:
        """Takes over that a job has begun to wait, waits no more, or has another rank."""
        before = self._ranks.get(job.name)
        now = (job.tenant, job.rank) if job.waiting else None
        if now == before:
            return
        if before is not None:
            tenant, rank = before
            queue = self._queues[tenant]
            del queue[bisect.bisect_left(queue, rank)]
            if not queue:
                del self._queues[tenant]
            del self._ranks[job.name]
        if now is not None:
            tenant, rank = now
            bisect.insort(self._queues.setdefault(tenant, []), rank)
            self._ranks[job.name] = now

    def position(self, job: Queued) -> int:
        """Returns the position, from 1, that a job has or would have among its tenant's waiting jobs."""
        return 1 + bisect.bisect_left(self._queues.get(job.tenant, ()), job.rank)
