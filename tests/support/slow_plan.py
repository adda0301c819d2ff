"""The placement of jobs written as directly as possible: slow, and the reference for the fast one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from impasto_server.fleet.placement import (
    SETTLED_SECONDS,
    Candidate,
    Place,
    Placed,
    Plan,
    Served,
    turn_seconds,
)


def slow_plan(waiting: Sequence[Candidate], places: Sequence[Place], served: Served) -> Plan:
    """Decides like `plan`, without moves.

    A job that must be alone goes first, because that lasts only a short time. Otherwise the order is: the
    tenant with fewer places divided by its weight, then the tenant that was served less; within a tenant
    interactive jobs, then higher priority, then age.
    """
    board = _Board(places)
    start: list[tuple[str, str]] = []
    suspend: list[str] = []
    queues = _queues(waiting)
    hopeless: list[list[Candidate]] = []
    while queues:
        queue = min(queues, key=lambda queue: _order(queue[-1], board, served))
        candidate = queue.pop()
        device = board.device_for(candidate)
        if device is not None:
            board.place(candidate, device)
            start.append((candidate.name, device))
        elif candidate.alone:
            suspend += board.clear_for(candidate)
        elif not board.promised(candidate):
            if victim := board.victim_for(candidate, served):
                suspend.append(victim)
                board.promise(victim, candidate)
                # The number of places per tenant has changed, so the other queues get another chance.
                queues, hopeless = queues + hopeless, []
            else:
                # The jobs behind it are younger and otherwise equal.
                queues.remove(queue)
                hopeless.append(queue)
        queues = [queue for queue in queues if queue]
    return Plan(start, suspend)


def _queues(waiting: Sequence[Candidate]) -> list[list[Candidate]]:
    """Groups candidates that differ only in age, the oldest last.

    If the oldest finds no place, none of its group does. So only one candidate per group must be considered,
    however many wait.
    """
    queues: dict[object, list[Candidate]] = {}
    for candidate in waiting:
        alike = dataclasses.replace(candidate, name="", number=0, watched=False)
        queues.setdefault(alike, []).append(candidate)
    for queue in queues.values():
        queue.sort(key=lambda candidate: candidate.number, reverse=True)
    return list(queues.values())


def _order(candidate: Candidate, board: _Board, served: Served) -> tuple[bool, float, float, bool, int, int]:
    places = board.places_of(candidate.tenant) / candidate.weight
    # Jobs that need a device to themselves first, so that no other job is placed there and sent away at once.
    return (
        not candidate.alone,
        places,
        served[candidate.tenant],
        not candidate.interactive,
        -candidate.priority,
        candidate.number,
    )


class _Board:
    """The places while a plan is made."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places
        self._jobs: dict[str, list[Placed]] = {place.device: list(place.jobs) for place in places}
        self._reserved: set[str] = set()
        self._count: dict[str, int] = {}
        # Number of jobs that are leaving. Their places go to the first candidates that find none.
        self._leaving = 0
        for place in places:
            for job in place.jobs:
                if job.leaving:
                    self._leaving += 1
                else:
                    self._add(job.candidate.tenant, 1)

    def _add(self, tenant: str, number: int) -> None:
        self._count[tenant] = self._count.get(tenant, 0) + number

    def places_of(self, tenant: str) -> int:
        return self._count.get(tenant, 0)

    def device_for(self, candidate: Candidate) -> str | None:
        """Returns the device with the fewest jobs that can take the candidate, then the most free memory."""
        open_places = [
            place
            for place in self._places
            if place.device not in candidate.too_small
            and place.device not in self._reserved
            and (not self._jobs[place.device] if candidate.alone else self._takes_another(place))
        ]
        if not open_places:
            return None
        best = min(open_places, key=lambda place: (len(self._jobs[place.device]), -place.free_bytes))
        return best.device

    def _takes_another(self, place: Place) -> bool:
        jobs = self._jobs[place.device]
        return len(jobs) < place.slots and not any(job.candidate.alone for job in jobs)

    def place(self, candidate: Candidate, device: str) -> None:
        self._jobs[device].append(Placed(candidate=candidate, seconds=0.0))
        self._add(candidate.tenant, 1)

    def clear_for(self, candidate: Candidate) -> list[str]:
        """Reserves a device for the candidate, and returns the jobs that must make room."""
        candidates = [
            place
            for place in self._places
            if place.device not in candidate.too_small and place.device not in self._reserved
        ]
        if not candidates:
            return []
        device = min(candidates, key=lambda place: len(self._jobs[place.device])).device
        self._reserved.add(device)
        return [
            job.candidate.name for job in self._jobs[device] if not job.leaving and not job.candidate.alone
        ]

    def victim_for(self, candidate: Candidate, served: Served) -> str | None:
        """Returns the job that makes room for the candidate, if the candidate has a better right."""
        candidates = [
            job
            for place in self._places
            if place.device not in candidate.too_small and place.device not in self._reserved
            for job in self._jobs[place.device]
            if not job.leaving
            and job.seconds >= SETTLED_SECONDS
            and self._has_better_right(candidate, job, served)
        ]
        if not candidates:
            return None

        def cheapest(job: Placed) -> tuple[float, float, bool, int, int]:
            other = job.candidate
            over = self.places_of(other.tenant) / other.weight
            return -over, -served[other.tenant], other.watched, other.priority, -other.number

        return min(candidates, key=cheapest).candidate.name

    def _has_better_right(self, candidate: Candidate, job: Placed, served: Served) -> bool:
        other = job.candidate
        if other.alone:
            return False
        if other.tenant == candidate.tenant:
            if candidate.priority != other.priority:
                return candidate.priority > other.priority
            return candidate.interactive and not other.interactive and not other.watched
        after_mine = (self.places_of(candidate.tenant) + 1) / candidate.weight
        its = self.places_of(other.tenant) / other.weight
        if its > after_mine:
            return True
        mine = self.places_of(candidate.tenant) / candidate.weight
        # A job whose caller waits for the first preview does not wait until the other is far enough ahead.
        ahead = 0.0 if candidate.interactive and not other.interactive else turn_seconds(its)
        return its > mine and served[other.tenant] - served[candidate.tenant] >= ahead

    def promised(self, candidate: Candidate) -> bool:
        """Whether a job is already leaving. If so, its place is promised to this candidate."""
        if not self._leaving:
            return False
        self._leaving -= 1
        self._add(candidate.tenant, 1)
        return True

    def promise(self, victim: str, candidate: Candidate) -> None:
        """Promises the victim's place to the candidate."""
        for jobs in self._jobs.values():
            for index, job in enumerate(jobs):
                if job.candidate.name == victim:
                    jobs[index] = dataclasses.replace(job, leaving=True)
                    self._add(job.candidate.tenant, -1)
                    self._add(candidate.tenant, 1)
