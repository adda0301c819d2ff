"""Whose turn it is on the device: the policy alone, without a clock, threads or a device.

Time is what the device spends; it only comes in by `Scheduler.charge`. An evaluation cannot be interrupted,
so the longest one is the grain of all that is promised here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator
from typing import Generic, Literal, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_TURNS = 3
FIRST_SECONDS = 1.0
"""An interactive job goes before others until it has had so many turns, or so much of the device's time."""

CREDIT_SECONDS = 1.0
"""For so long a tenant's first turns may come before other tenants' turns, and before those of its own other
jobs, until these have caught up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A job's claim to turns.

    Attributes:
        tenant: whom its time is charged to.
        weight: the tenant's share beside other tenants', above 0.
        priority: among the tenant's jobs, higher goes first.
        created: orders jobs by age: less is older.
        watched: whether someone looks on.
        draft: whether it is meant for a quick look.
    """

    tenant: str
    weight: float = 1.0
    priority: int = 0
    created: int = 0
    watched: bool = False
    draft: bool = False

    @property
    def interactive(self) -> bool:
        return self.watched or self.draft


class Shares(Generic[K]):
    """Start-time fair queueing: each party has a virtual time, its seconds over its weight, and the least
    goes next.

    A party that comes starts level with the least of those present, so that idling earns nothing; one that
    was ahead of them when it left is still, so that leaving earns nothing either.
    """

    def __init__(self) -> None:
        self._times: dict[K, float] = {}
        self._weights: dict[K, float] = {}
        # Of those who left, who were ahead.
        self._left: dict[K, float] = {}
        self._floor = 0.0

    def __contains__(self, key: object) -> bool:
        return key in self._times

    def enter(self, key: K, weight: float = 1.0) -> None:
        """Lets a party in; one that is there only gets the weight."""
        self._weights[key] = weight
        if key not in self._times:
            self._raise_floor()
            self._times[key] = max(self._floor, self._left.pop(key, 0.0))

    def leave(self, key: K) -> None:
        self._raise_floor()
        del self._weights[key]
        self._left[key] = self._times.pop(key)

    def charge(self, key: K, seconds: float) -> None:
        self._times[key] += seconds / self._weights[key]

    def time(self, key: K) -> float:
        return self._times[key]

    def lead(self, key: K) -> float:
        """By how many seconds a party has had more than its share, against the one that has had least."""
        return (self._times[key] - min(self._times.values())) * self._weights[key]

    def least(self) -> K:
        """Who has had least; of several, who came first."""
        return min(self._times, key=self._times.__getitem__)

    def _raise_floor(self) -> None:
        self._floor = max(self._floor, min(self._times.values(), default=0.0))
        self._left = {key: time for key, time in self._left.items() if time > self._floor}


@dataclasses.dataclass
class _Job(Generic[K]):
    """A job that has been let in.

    Attributes:
        memory_bytes: what it holds on the device; None while it waits for that.
        turns, seconds: had so far.
    """

    key: K
    claim: Claim
    memory_bytes: int | None = None
    turns: int = 0
    seconds: float = 0.0

    @property
    def urgent(self) -> bool:
        """Whether it is to have its first turns soon."""
        return self.claim.interactive and self.turns < FIRST_TURNS and self.seconds < FIRST_SECONDS


_Lane = Hashable
_UNWATCHED: Literal["unwatched"] = "unwatched"


class _Tenant(Generic[K]):
    """One tenant's jobs that take turns.

    The highest priority alone goes. Among equals each watched job is a lane, and all others together are
    one, in which the oldest goes until it is done: three half-painted pictures that nobody looks at are
    worth less than one that is finished. Lanes share evenly.
    """

    def __init__(self) -> None:
        self.jobs: dict[K, _Job[K]] = {}
        self._lanes: dict[int, Shares[_Lane]] = {}
        # Seconds that new jobs have gone before others for, and not given back.
        self._owed = 0.0

    def add(self, job: _Job[K]) -> None:
        self.jobs[job.key] = job
        self._lanes.setdefault(job.claim.priority, Shares()).enter(_lane(job))

    def remove(self, job: _Job[K]) -> None:
        del self.jobs[job.key]
        others = [other for other in self.jobs.values() if other.claim.priority == job.claim.priority]
        if not others:
            del self._lanes[job.claim.priority]
        elif _lane(job) not in map(_lane, others):
            self._lanes[job.claim.priority].leave(_lane(job))

    def next(self) -> _Job[K]:
        first = self._first()
        urgent = [job for job in first if job.urgent]
        if urgent and (self._owed < CREDIT_SECONDS or len(urgent) == len(first)):
            return _oldest(urgent)
        lanes = self._lanes[first[0].claim.priority]
        settled = [job for job in first if not job.urgent]
        least = min((lanes.time(_lane(job)) for job in settled), default=0.0)
        return _oldest([job for job in settled if lanes.time(_lane(job)) == least])

    def charge(self, job: _Job[K], seconds: float) -> None:
        if not job.urgent:
            self._owed = max(0.0, self._owed - seconds)
        elif not all(other.urgent for other in self._first()):
            self._owed += seconds
        # A lane that others share does not pay for a job's first turns: a stream of drafts would keep out
        # whatever nobody watches.
        if job.claim.watched or not job.urgent:
            self._lanes[job.claim.priority].charge(_lane(job), seconds)

    def _first(self) -> list[_Job[K]]:
        """Those of the highest priority."""
        highest = max(job.claim.priority for job in self.jobs.values())
        return [job for job in self.jobs.values() if job.claim.priority == highest]


class Scheduler(Generic[K]):
    """Shares a device among jobs: who comes onto it next, and whose turn is next on it.

    Tenants share by their weights. Two that have jobs on the device all the time differ, whatever the
    others do, by at most (2 · longest evaluation + `CREDIT_SECONDS`) · (1 / weight + 1 / other weight) in
    seconds over weight.

    A job first stands in line for the device's memory; `admit` lets it take turns.
    """

    def __init__(self) -> None:
        self._line: dict[K, _Job[K]] = {}
        self._held: K | None = None
        self._tenants: dict[str, _Tenant[K]] = {}
        self._shares: Shares[str] = Shares()
        # Seconds that each tenant was served before its turn, and the others have not caught up with.
        self._ahead: dict[str, float] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._line or any(key in tenant.jobs for tenant in self._tenants.values())

    @property
    def admitted(self) -> Iterator[K]:
        """Those that take turns."""
        for tenant in self._tenants.values():
            yield from tenant.jobs

    def add(self, key: K, claim: Claim) -> None:
        """Puts a job in line."""
        self._line[key] = _Job(key, claim)

    def first_in_line(self) -> K | None:
        """Who gets onto the device next: a job of the tenant that holds the least of its memory, over its
        weight; of that tenant's the highest priority, interactive before others, the oldest.

        Once `hold` was called, the one that it was called for, until it is in or gone.
        """
        if self._held is not None:
            return self._held
        return min(self._line.values(), key=self._order_in_line).key if self._line else None

    @property
    def holds(self) -> bool:
        """Whether the first in line waits for room."""
        return self._held is not None

    def hold(self) -> None:
        """The first in line found no room: it stays the first, and nobody gets past it. Otherwise small
        jobs could keep a large one out for ever."""
        self._held = self.first_in_line()

    def admit(self, key: K, memory_bytes: int) -> None:
        """Lets a job that was in line take turns, which holds so much of the device's memory."""
        job = self._line.pop(key)
        self._held = None if self._held == key else self._held
        job.memory_bytes = memory_bytes
        self._enter(job)

    def remove(self, key: K) -> None:
        """Takes a job out, wherever it is."""
        if key in self._line:
            del self._line[key]
            self._held = None if self._held == key else self._held
        else:
            self._leave(self._job(key))

    def change(self, key: K, *, priority: int | None = None, watched: bool | None = None) -> None:
        """Changes a job's claim; None leaves as it is."""
        job = self._job(key)
        claim = dataclasses.replace(
            job.claim,
            priority=job.claim.priority if priority is None else priority,
            watched=job.claim.watched if watched is None else watched,
        )
        if key in self._line:
            job.claim = claim
        elif claim != job.claim:
            tenant = self._tenants[claim.tenant]
            tenant.remove(job)
            job.claim = claim
            tenant.add(job)

    def next(self) -> K | None:
        """Whose turn it is; None if nobody takes turns."""
        choices = {name: tenant.next() for name, tenant in self._tenants.items()}
        if not choices:
            return None
        soon = [name for name, job in choices.items() if job.urgent and self._ahead[name] < CREDIT_SECONDS]
        return choices[min(soon, key=self._shares.time) if soon else self._shares.least()].key

    def charge(self, key: K, seconds: float) -> None:
        """Notes that a job has had a turn, and how long it took."""
        job = self._job(key)
        name = job.claim.tenant
        if self._shares.lead(name) > 0:
            self._ahead[name] += seconds
        self._shares.charge(name, seconds)
        self._ahead = {name: min(ahead, self._shares.lead(name)) for name, ahead in self._ahead.items()}
        self._tenants[name].charge(job, seconds)
        job.turns += 1
        job.seconds += seconds

    def _order_in_line(self, job: _Job[K]) -> tuple[float, int, bool, int]:
        tenant = self._tenants.get(job.claim.tenant)
        held = sum(other.memory_bytes or 0 for other in tenant.jobs.values()) if tenant else 0
        claim = job.claim
        return held / claim.weight, -claim.priority, not claim.interactive, claim.created

    def _job(self, key: K) -> _Job[K]:
        if key in self._line:
            return self._line[key]
        return next(tenant.jobs[key] for tenant in self._tenants.values() if key in tenant.jobs)

    def _enter(self, job: _Job[K]) -> None:
        name = job.claim.tenant
        self._shares.enter(name, job.claim.weight)
        # One that left while it was ahead has had its credit.
        self._ahead.setdefault(name, self._shares.lead(name))
        self._tenants.setdefault(name, _Tenant()).add(job)

    def _leave(self, job: _Job[K]) -> None:
        name = job.claim.tenant
        self._tenants[name].remove(job)
        if not self._tenants[name].jobs:
            del self._tenants[name]
            del self._ahead[name]
            self._shares.leave(name)


def _lane(job: _Job[K]) -> _Lane:
    return job.key if job.claim.watched else _UNWATCHED


def _oldest(jobs: list[_Job[K]]) -> _Job[K]:
    return min(jobs, key=lambda job: job.claim.created)
