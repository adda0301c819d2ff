"""Decides whose turn it is on the device. This is the policy only, without a clock, threads or a device.

Time is the device's time, which only `Scheduler.charge` reports. An evaluation cannot be interrupted, so the
shares are exact only to within the longest evaluation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator
from typing import Generic, Literal, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_TURNS = 3
FIRST_SECONDS = 1.0
"""An interactive job goes before others until it has had this many turns, or this many seconds."""

CREDIT_SECONDS = 1.0
"""Time in seconds by which the first turns of a tenant's jobs may go before other tenants' turns, and before
the turns of its own other jobs, until these have caught up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A job's claim to turns.

    Attributes:
        tenant: the tenant to which its time is charged.
        weight: the tenant's weight relative to other tenants, above 0.
        priority: order among the tenant's jobs; a higher priority goes first.
        created: order by age; a lower number is older.
        watched: whether somebody watches the job.
        draft: whether the job is a draft.
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
    """Start-time fair queueing among parties, which are tenants or lanes.

    Each party has a virtual time: its seconds divided by its weight. The party with the lowest time goes
    next. A party that enters gets the lowest time of those present, so that idling earns nothing. If it was
    ahead of them when it left, it keeps its time, so that leaving earns nothing either.
    """

    def __init__(self) -> None:
        self._times: dict[K, float] = {}
        self._weights: dict[K, float] = {}
        # The times of the parties that were ahead when they left.
        self._left: dict[K, float] = {}
        self._floor = 0.0

    def __contains__(self, key: object) -> bool:
        return key in self._times

    def enter(self, key: K, weight: float = 1.0) -> None:
        """Adds a party, or changes the weight of a party that is present."""
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
        """Returns the seconds by which a party is ahead of the one with the lowest time."""
        return (self._times[key] - min(self._times.values())) * self._weights[key]

    def least(self) -> K:
        """Returns the party with the lowest time; of several, the one that entered first."""
        return min(self._times, key=self._times.__getitem__)

    def _raise_floor(self) -> None:
        self._floor = max(self._floor, min(self._times.values(), default=0.0))
        self._left = {key: time for key, time in self._left.items() if time > self._floor}


@dataclasses.dataclass
class _Job(Generic[K]):
    """A job of the scheduler.

    Attributes:
        key: the job's key.
        claim: its claim.
        memory_bytes: memory that it uses on the device; None while it waits in line.
        turns, seconds: turns and seconds that it has had.
    """

    key: K
    claim: Claim
    memory_bytes: int | None = None
    turns: int = 0
    seconds: float = 0.0

    @property
    def urgent(self) -> bool:
        """Whether its first turns should come soon."""
        return self.claim.interactive and self.turns < FIRST_TURNS and self.seconds < FIRST_SECONDS


_Lane = Hashable
_UNWATCHED: Literal["unwatched"] = "unwatched"


class _Tenant(Generic[K]):
    """The jobs of one tenant that take turns.

    Only jobs of the highest priority get turns. Among these, each watched job is a lane of its own, and all
    other jobs share one lane, in which the oldest job goes until it is done, because one finished picture is
    better than three half-painted ones that nobody watches. All lanes have equal shares.
    """

    def __init__(self) -> None:
        self.jobs: dict[K, _Job[K]] = {}
        self._lanes: dict[int, Shares[_Lane]] = {}
        # Seconds by which new jobs have gone before others, and which the others have not caught up with.
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
        # The shared lane does not pay for the first turns of a job, or a stream of drafts would keep all
        # unwatched jobs from their turns.
        if job.claim.watched or not job.urgent:
            self._lanes[job.claim.priority].charge(_lane(job), seconds)

    def _first(self) -> list[_Job[K]]:
        """Returns the jobs of the highest priority."""
        highest = max(job.claim.priority for job in self.jobs.values())
        return [job for job in self.jobs.values() if job.claim.priority == highest]


class Scheduler(Generic[K]):
    """Shares a device among jobs: it decides which job comes onto the device next, and whose turn is next.

    Tenants share by their weights. For two tenants that have jobs on the device all the time, the seconds
    divided by weight differ by at most (2 · longest evaluation + `CREDIT_SECONDS`) · (1 / weight + 1 / other
    weight), whatever the others do.

    A job first waits in line for the device's memory. After `admit` it takes turns.
    """

    def __init__(self) -> None:
        self._line: dict[K, _Job[K]] = {}
        self._held: K | None = None
        self._tenants: dict[str, _Tenant[K]] = {}
        self._shares: Shares[str] = Shares()
        # Seconds by which each tenant went before others, and which the others have not caught up with.
        self._ahead: dict[str, float] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._line or any(key in tenant.jobs for tenant in self._tenants.values())

    @property
    def admitted(self) -> Iterator[K]:
        """The jobs that take turns."""
        for tenant in self._tenants.values():
            yield from tenant.jobs

    def add(self, key: K, claim: Claim) -> None:
        """Puts a job in line."""
        self._line[key] = _Job(key, claim)

    def first_in_line(self) -> K | None:
        """Returns the job that comes onto the device next.

        It is a job of the tenant that uses the least memory divided by its weight. Among that tenant's jobs,
        a higher priority comes first, then interactive jobs, then older ones. After `hold`, it stays the same
        job until that one is admitted or removed.
        """
        if self._held is not None:
            return self._held
        return min(self._line.values(), key=self._order_in_line).key if self._line else None

    @property
    def holds(self) -> bool:
        """Whether the first in line waits for memory."""
        return self._held is not None

    def hold(self) -> None:
        """Keeps the first in line first, because there was not enough memory for it.

        Otherwise small jobs could overtake a large one for ever.
        """
        self._held = self.first_in_line()

    def admit(self, key: K, memory_bytes: int) -> None:
        """Takes a job from the line and lets it take turns.

        Args:
            key: the job.
            memory_bytes: memory that it uses on the device.
        """
        job = self._line.pop(key)
        self._held = None if self._held == key else self._held
        job.memory_bytes = memory_bytes
        self._enter(job)

    def remove(self, key: K) -> None:
        """Removes a job, from the line or from those that take turns."""
        if key in self._line:
            del self._line[key]
            self._held = None if self._held == key else self._held
        else:
            self._leave(self._job(key))

    def change(self, key: K, *, priority: int | None = None, watched: bool | None = None) -> None:
        """Changes a job's claim; None leaves a value as it is."""
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
        """Returns the job whose turn it is; None if no job takes turns."""
        choices = {name: tenant.next() for name, tenant in self._tenants.items()}
        if not choices:
            return None
        soon = [name for name, job in choices.items() if job.urgent and self._ahead[name] < CREDIT_SECONDS]
        return choices[min(soon, key=self._shares.time) if soon else self._shares.least()].key

    def charge(self, key: K, seconds: float) -> None:
        """Records that a job has had a turn of so many seconds."""
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
        # A tenant that is still ahead from before it left has used that much of its credit.
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
