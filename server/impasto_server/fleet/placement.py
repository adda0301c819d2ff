"""Decides which jobs are on which device, over seconds.

Pure: it uses no clock and no processes. Jobs on the same device share it by the worker's scheduler, one
evaluation at a time; this module decides only which jobs are there.
"""

from __future__ import annotations

import bisect
import dataclasses
import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

TURN_SECONDS = 10.0
"""How far, in seconds of device time divided by weight, a tenant must be ahead of another before it makes
room for it, if neither has a whole place too few. A tenant with more places must be ahead by so much for
each, because its time also grows faster. Otherwise, jobs of large fleets would change places every few
seconds."""

SETTLED_SECONDS = 2.0
"""Minimum time in seconds for which a job stays on a device."""

MOVE_SECONDS = 10.0
"""A job moves to a device with fewer jobs only after this many seconds on its device, unless the other device
is idle, and only if it will stay for at least this many more seconds. A move costs a second or two."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A job that has a place or wants one.

    Attributes:
        name: of the job.
        tenant: owner of the job.
        weight: of the tenant, the same for all its jobs.
        priority: among the tenant's jobs, higher first.
        number: increases with each new job, so that the smallest is the oldest.
        interactive: whether someone waits for its first preview: it is a draft or is watched, and has no
            progress yet.
        watched: whether someone watches it.
        alone: whether it must have a device to itself.
        too_small: devices that are known to have too little memory for it.
    """

    name: str
    tenant: str
    weight: float = 1.0
    priority: int = 0
    number: int = 0
    interactive: bool = False
    watched: bool = False
    alone: bool = False
    too_small: frozenset[str] = frozenset()


@dataclasses.dataclass(kw_only=True, slots=True)
class Placed:
    """A job on a device.

    Attributes:
        candidate: the job.
        seconds: time since it was placed.
        leaving: whether it was told to leave its device.
        seconds_left: estimated time until its result; infinite if that is not known.
    """

    candidate: Candidate
    seconds: float
    leaving: bool = False
    seconds_left: float = math.inf


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A device whose worker takes jobs.

    Attributes:
        device: a unique key, even if several devices are called "cpu".
        slots: maximum number of jobs.
        jobs: the jobs on the device.
        free_bytes: memory that is not planned for these jobs.
    """

    device: str
    slots: int
    jobs: Sequence[Placed]
    free_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """The next steps.

    Attributes:
        start: pairs of a job and the device to start it on.
        suspend: jobs that must make room for others.
        move: jobs that must leave their device because another has fewer jobs. They wait until they are off
            their device; a later plan then starts them on the other.
    """

    start: Sequence[tuple[str, str]]
    suspend: Sequence[str]
    move: Sequence[str] = ()


class Served:
    """Device time that each tenant has had, divided by its weight.

    A tenant that comes, or comes back, starts with the smallest value of the present tenants: nobody saves up
    time by being idle.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def keep(self, tenants: Iterable[str]) -> None:
        """Sets the tenants that are present: adds new ones, and forgets all others."""
        there = set(tenants)
        least = min((self._seconds[t] for t in there if t in self._seconds), default=0.0)
        self._seconds = {tenant: self._seconds.get(tenant, least) for tenant in there}

    def charge(self, tenant: str, seconds: float, weight: float) -> None:
        if tenant in self._seconds:
            self._seconds[tenant] += seconds / weight

    def __getitem__(self, tenant: str) -> float:
        return self._seconds.get(tenant, 0.0)


class Waiting:
    """The jobs that wait, in groups of jobs that differ only in age.

    If the oldest job of a group finds no place, no other job of the group does. So a plan looks at few jobs,
    however many wait.
    """

    def __init__(self, candidates: Iterable[Candidate] = ()) -> None:
        self._candidates: dict[str, Candidate] = {}
        self._groups: dict[object, list[Candidate]] = {}
        for candidate in candidates:
            self.put(candidate)

    def __len__(self) -> int:
        return len(self._candidates)

    def __contains__(self, name: object) -> bool:
        return name in self._candidates

    def put(self, candidate: Candidate) -> None:
        """Adds a job, or changes one that is there."""
        if self._candidates.get(candidate.name) != candidate:
            self.remove(candidate.name)
            self._candidates[candidate.name] = candidate
            bisect.insort(self._groups.setdefault(_alike(candidate), []), candidate, key=_number)

    def remove(self, name: str) -> None:
        """Removes a job. Does nothing if it is not there."""
        candidate = self._candidates.pop(name, None)
        if candidate is None:
            return
        key = _alike(candidate)
        group = self._groups[key]
        index = bisect.bisect_left(group, candidate.number, key=_number)
        while group[index].name != name:
            index += 1
        del group[index]
        if not group:
            del self._groups[key]

    @property
    def fits_everywhere(self) -> int:
        """The number of jobs that can be placed on any device with a free slot."""
        return sum(len(g) for g in self._groups.values() if not g[0].alone and not g[0].too_small)

    @property
    def groups(self) -> Iterable[Sequence[Candidate]]:
        """The groups, each with the oldest job first."""
        return self._groups.values()


def _number(candidate: Candidate) -> int:
    return candidate.number


def _alike(candidate: Candidate) -> object:
    c = candidate
    return c.tenant, c.weight, c.priority, c.interactive, c.alone, c.too_small


def plan(waiting: Waiting, places: Sequence[Place], served: Served) -> Plan:
    """Fills the free slots fairly over tenants, and decides which jobs make room for others or move.

    A job that must be alone goes first, because that lasts only a short time. Otherwise the order is: the
    tenant with fewer places divided by its weight, then the tenant that was served less; within a tenant
    interactive jobs, then higher priority, then age.

    Jobs move until no device has 2 jobs more than another.
    """
    board = _Board(places, served)
    start: list[tuple[str, str]] = []
    suspend: list[str] = []
    lines = _Lines(waiting, board)
    for line in lines:
        candidate = line.pop()
        device = board.device_for(candidate)
        if device is not None:
            board.place(candidate, device)
            start.append((candidate.name, device))
            lines.changed(candidate.tenant)
        elif candidate.alone:
            suspend += board.clear_for(candidate)
            lines.changed(candidate.tenant)
        elif board.promised(candidate):
            lines.changed(candidate.tenant)
        elif victim := board.victim_for(candidate):
            suspend.append(victim.name)
            board.promise(victim, candidate)
            # The number of places per tenant has changed, so other lines get another chance.
            lines.changed(candidate.tenant, victim.tenant)
            lines.retry(victim.tenant)
        else:
            # The jobs behind it are younger and otherwise equal.
            lines.give_up(line)
    return Plan(start, suspend, board.moves(waiting))


class _Line:
    """A group of waiting jobs while a plan is made."""

    def __init__(self, group: Sequence[Candidate]) -> None:
        self.tenant = group[0].tenant
        # Changes with each new entry in the heap, so that older entries can be recognised.
        self.entry = 0
        self.hopeless = False
        self._group = group
        self._next = 0

    @property
    def first(self) -> Candidate | None:
        return self._group[self._next] if self._next < len(self._group) else None

    @property
    def last(self) -> Candidate:
        """The job that was taken last."""
        return self._group[self._next - 1]

    def pop(self) -> Candidate:
        self._next += 1
        return self.last


class _Lines:
    """Yields the line whose first job is next, until none is left."""

    def __init__(self, waiting: Waiting, board: _Board) -> None:
        self._board = board
        self._of_tenant: dict[str, list[_Line]] = {}
        self._heap: list[tuple[tuple[bool, float, float, bool, int, int], int, int, _Line]] = []
        # By tenant, and by whether they are interactive: what such lines may displace is the same.
        self._hopeless: dict[tuple[str, bool], list[_Line]] = {}
        # Tenants that got more places since the last `retry`.
        self._grown: set[str] = set()
        for group in waiting.groups:
            line = _Line(group)
            self._of_tenant.setdefault(line.tenant, []).append(line)
            self._enter(line)

    def __iter__(self) -> Iterator[_Line]:
        while self._heap:
            _, _, entry, line = heapq.heappop(self._heap)
            if entry == line.entry:
                yield line

    def changed(self, *tenants: str) -> None:
        """Sorts the lines of tenants again, because the number of their places or their first job changed."""
        self._grown.update(tenants)
        for tenant in tenants:
            for line in self._of_tenant.get(tenant, ()):
                if not line.hopeless:
                    self._enter(line)

    def give_up(self, line: _Line) -> None:
        """Leaves a line out until `retry` finds that it has a chance again."""
        line.hopeless = True
        candidate = line.last
        self._hopeless.setdefault((candidate.tenant, candidate.interactive), []).append(line)

    def retry(self, shrunk: str) -> None:
        """Takes up the lines that may find a place now: those of a tenant that has fewer places, and those
        that come before tenants that have more."""
        highest = max(map(self._board.over, self._grown), default=0.0)
        for key, lines in list(self._hopeless.items()):
            candidate = lines[0].last
            if candidate.tenant == shrunk or (
                self._board.share_of(candidate) < highest
                and any(self._board.yields(other, candidate) for other in self._grown)
            ):
                del self._hopeless[key]
                for line in lines:
                    line.hopeless = False
                    self._enter(line)
        self._grown.clear()

    def _enter(self, line: _Line) -> None:
        line.entry += 1
        if line.first is not None:
            order = self._board.order(line.first)
            heapq.heappush(self._heap, (order, id(line), line.entry, line))


@dataclasses.dataclass(slots=True)
class _Device:
    """A device while a plan is made.

    Attributes:
        place: the device.
        index: its index among the places.
        jobs: number of jobs on it, including those that leave.
        staying: number of jobs that do not leave.
        alone: whether a job has it, or will have it, to itself.
        reserved: whether it is being cleared.
    """

    place: Place
    index: int
    jobs: int = 0
    staying: int = 0
    alone: bool = False
    reserved: bool = False

    @property
    def takes_another(self) -> bool:
        return self.jobs < self.place.slots and not self.alone and not self.reserved

    @property
    def order(self) -> tuple[int, int, int]:
        """Devices with fewer jobs come first, then those with more free memory."""
        return self.jobs, -self.place.free_bytes, self.index


_Victim = tuple[Candidate, _Device]
"""A job that can make room, and where it is."""


def _cost(victim: _Victim) -> tuple[bool, int, int]:
    """The order in which jobs of equal tenants make room: cheaper ones first."""
    candidate = victim[0]
    return candidate.watched, candidate.priority, -candidate.number


class _Ranking:
    """Tenants by places divided by weight, then by the device time that they had, the most first."""

    def __init__(self) -> None:
        self._overs: list[float] = []
        self._tenants: dict[float, list[tuple[float, str]]] = {}

    def add(self, over: float, served: float, tenant: str) -> None:
        if over not in self._tenants:
            bisect.insort(self._overs, over)
            self._tenants[over] = []
        bisect.insort(self._tenants[over], (served, tenant))

    def remove(self, over: float, served: float, tenant: str) -> None:
        tenants = self._tenants[over]
        del tenants[bisect.bisect_left(tenants, (served, tenant))]
        if not tenants:
            del self._tenants[over]
            del self._overs[bisect.bisect_left(self._overs, over)]

    def __iter__(self) -> Iterator[tuple[float, Iterator[tuple[float, str]]]]:
        """Yields each number of places with the device times and names of its tenants."""
        for over in reversed(self._overs):
            yield over, reversed(self._tenants[over])


class _Board:
    """The places while a plan is made."""

    def __init__(self, places: Sequence[Place], served: Served) -> None:
        self._served = served
        self._devices: dict[str, _Device] = {}
        self._count: Counter[str] = Counter()
        self._weight: dict[str, float] = {}
        # Number of jobs that are leaving. Their places go to the first candidates that find none.
        self._leaving = 0
        self._on_their_way = 0
        # The jobs that can make room, by tenant.
        self._victims: dict[str, list[_Victim]] = {}
        self._sorted: set[str] = set()
        self._ranking: _Ranking | None = None
        self._suspended: set[str] = set()
        self._started = 0
        for index, place in enumerate(places):
            self._devices[place.device] = self._enter(place, index)
        self._open = [(*device.order, device) for device in self._devices.values() if device.takes_another]
        heapq.heapify(self._open)

    def _enter(self, place: Place, index: int) -> _Device:
        device = _Device(place, index, len(place.jobs))
        for job in place.jobs:
            candidate = job.candidate
            if candidate.alone:
                device.alone = True
            if job.leaving:
                self._leaving += 1
                self._on_their_way += 1
                continue
            device.staying += 1
            tenant = candidate.tenant
            if tenant not in self._count:
                self._count[tenant] = 0
            self._count[tenant] += 1
            if job.seconds >= SETTLED_SECONDS and not candidate.alone:
                if tenant not in self._victims:
                    self._victims[tenant] = []
                    self._weight[tenant] = candidate.weight
                self._victims[tenant].append((candidate, device))
        return device

    def order(self, candidate: Candidate) -> tuple[bool, float, float, bool, int, int]:
        """The order in which candidates are considered."""
        # Jobs that need a device to themselves first, so that no other job is placed there and sent away at
        # once.
        return (
            not candidate.alone,
            self.share_of(candidate),
            self._served[candidate.tenant],
            not candidate.interactive,
            -candidate.priority,
            candidate.number,
        )

    def _add(self, tenant: str, number: int) -> None:
        if self._ranking is not None and tenant in self._victims:
            self._ranking.remove(self.over(tenant), self._served[tenant], tenant)
            self._count[tenant] += number
            self._ranking.add(self.over(tenant), self._served[tenant], tenant)
        else:
            self._count[tenant] += number

    def over(self, tenant: str) -> float:
        """The places of a tenant with jobs that can make room, divided by its weight; 0 if it has none."""
        return self._count[tenant] / self._weight[tenant] if tenant in self._victims else 0.0

    def share_of(self, candidate: Candidate) -> float:
        """The places of a candidate's tenant divided by its weight."""
        return self._count[candidate.tenant] / candidate.weight

    def device_for(self, candidate: Candidate) -> str | None:
        """Returns the device with the fewest jobs that can take the candidate, then the most free memory."""
        found: str | None = None
        too_small = []
        while self._open and found is None:
            jobs, _, _, device = self._open[0]
            if jobs != device.jobs or not device.takes_another:
                heapq.heappop(self._open)
            elif candidate.alone and jobs:
                break
            elif device.place.device in candidate.too_small:
                too_small.append(heapq.heappop(self._open))
            else:
                found = device.place.device
        for entry in too_small:
            heapq.heappush(self._open, entry)
        return found

    def place(self, candidate: Candidate, name: str) -> None:
        device = self._devices[name]
        device.jobs += 1
        device.staying += 1
        device.alone = candidate.alone
        if device.takes_another:
            heapq.heappush(self._open, (*device.order, device))
        self._started += not (candidate.alone or candidate.too_small)
        self._add(candidate.tenant, 1)

    def clear_for(self, candidate: Candidate) -> list[str]:
        """Reserves a device for the candidate, and returns the jobs that must make room."""
        devices = [
            device
            for device in self._devices.values()
            if not device.reserved and device.place.device not in candidate.too_small
        ]
        if not devices:
            return []
        device = min(devices, key=lambda device: device.jobs)
        device.reserved = True
        return [
            job.candidate.name for job in device.place.jobs if not job.leaving and not job.candidate.alone
        ]

    def victim_for(self, candidate: Candidate) -> Candidate | None:
        """Returns the job that makes room for the candidate, if the candidate has a better right.

        It is a job of the tenant with the most places divided by its weight, then of the one that was served
        most. Of its jobs, the unwatched go first, then lower priority, then the youngest.
        """
        if self._ranking is None:
            self._ranking = _Ranking()
            for tenant in self._victims:
                self._ranking.add(self.over(tenant), self._served[tenant], tenant)
        mine = self.share_of(candidate)
        for over, tenants in self._ranking:
            if over <= mine:
                break
            best: _Victim | None = None
            rank = 0.0
            for served, tenant in tenants:
                # Tenants behind this one were served less, so the candidate has no right over them either.
                if (best is not None and served != rank) or not self.yields(tenant, candidate):
                    break
                victim = self._victim_of(tenant, candidate)
                if victim is not None and (best is None or _cost(victim) < _cost(best)):
                    best, rank = victim, served
            if best is not None:
                return best[0]
        if candidate.tenant in self._victims:
            for victim in self._victims_of(candidate.tenant, candidate):
                if _comes_before(candidate, victim[0]):
                    return victim[0]
        return None

    def yields(self, tenant: str, candidate: Candidate) -> bool:
        """Whether some jobs of another tenant would make room for a candidate."""
        if tenant not in self._victims or tenant == candidate.tenant:
            return False
        its, mine = self.over(tenant), self._count[candidate.tenant]
        if its > (mine + 1) / candidate.weight:
            return True
        # A job whose caller waits for the first preview does not wait until the other is far enough ahead.
        at_least = 0.0 if candidate.interactive else turn_seconds(its)
        return its > mine / candidate.weight and self._ahead(tenant, candidate) >= at_least

    def _ahead(self, tenant: str, candidate: Candidate) -> float:
        return self._served[tenant] - self._served[candidate.tenant]

    def _victim_of(self, tenant: str, candidate: Candidate) -> _Victim | None:
        """Returns the first job of a tenant that `yields`; None if none can make room."""
        its = self.over(tenant)
        all_yield = its > (self._count[candidate.tenant] + 1) / candidate.weight or self._ahead(
            tenant, candidate
        ) >= turn_seconds(its)
        return next(
            (
                victim
                for victim in self._victims_of(tenant, candidate)
                if all_yield or not victim[0].interactive
            ),
            None,
        )

    def _victims_of(self, tenant: str, candidate: Candidate) -> Iterator[_Victim]:
        victims = self._victims[tenant]
        if tenant not in self._sorted:
            self._sorted.add(tenant)
            victims.sort(key=_cost)
        for victim in victims:
            device = victim[1]
            if not device.reserved and device.place.device not in candidate.too_small:
                yield victim

    def promised(self, candidate: Candidate) -> bool:
        """Whether a job is already leaving. If so, its place is promised to this candidate."""
        if not self._leaving:
            return False
        self._leaving -= 1
        self._add(candidate.tenant, 1)
        return True

    def promise(self, victim: Candidate, candidate: Candidate) -> None:
        """Promises the victim's place to the candidate."""
        victims = self._victims[victim.tenant]
        index = next(index for index, other in enumerate(victims) if other[0] is victim)
        device = victims.pop(index)[1]
        device.staying -= 1
        self._suspended.add(victim.name)
        self._add(victim.tenant, -1)
        self._add(candidate.tenant, 1)

    def moves(self, waiting: Waiting) -> list[str]:
        """Returns the jobs that must leave their device because another has at least 2 jobs fewer.

        Waiting jobs, and jobs that are leaving and will wait, fill the devices with the fewest jobs first.
        """
        devices = [device for device in self._devices.values() if not device.alone and not device.reserved]
        free = sum(device.place.slots - device.staying for device in devices)
        coming = self._on_their_way + len(self._suspended) + waiting.fits_everywhere - self._started
        if coming >= free:
            return []
        levels = _Levels(devices)
        levels.fill(coming)
        moved: list[str] = []
        while (gap := levels.gap()) is not None:
            source, target = gap
            job = self._movable(source, target)
            if job is None:
                levels.leave_out(source)
            else:
                moved.append(job.name)
                self._suspended.add(job.name)
                levels.add(source, -1)
                levels.add(target, 1)
        return moved

    def _movable(self, source: _Device, target: _Device) -> Candidate | None:
        """Returns the job that moves from a device to another; None if no job can.

        Unwatched jobs move first, then jobs of the tenant that was served least, because they get more time
        on the other device, then the job that will stay longest, then the youngest.
        """
        at_least = MOVE_SECONDS if target.staying else SETTLED_SECONDS
        jobs = [
            job
            for job in source.place.jobs
            if not job.leaving
            and job.seconds >= at_least
            and job.seconds_left >= MOVE_SECONDS
            and job.candidate.name not in self._suspended
            and target.place.device not in job.candidate.too_small
        ]
        if not jobs:
            return None

        def cheapest(job: Placed) -> tuple[bool, float, float, int]:
            candidate = job.candidate
            waited_for = candidate.watched or candidate.interactive
            return waited_for, self._served[candidate.tenant], -job.seconds_left, -candidate.number

        return min(jobs, key=cheapest).candidate


class _Levels:
    """Devices by the number of jobs that stay or come there."""

    def __init__(self, devices: Iterable[_Device]) -> None:
        self._low: list[tuple[int, int, int, _Device]] = []
        self._high: list[tuple[int, int, _Device]] = []
        self._left_out: set[int] = set()
        for device in devices:
            self.add(device, 0)

    def add(self, device: _Device, jobs: int) -> None:
        """Changes the number of jobs of a device."""
        device.staying += jobs
        if device.staying < device.place.slots:
            heapq.heappush(self._low, (device.staying, -device.place.free_bytes, device.index, device))
        heapq.heappush(self._high, (-device.staying, device.index, device))

    def fill(self, jobs: int) -> None:
        """Adds jobs to the devices with the fewest. There must be free slots for all of them."""
        for _ in range(jobs):
            lowest = self._lowest()
            assert lowest is not None
            self.add(lowest, 1)

    def gap(self) -> tuple[_Device, _Device] | None:
        """Returns the devices with the most and with the fewest jobs; None if no job must move."""
        target = self._lowest()
        # Entries that are no longer true, because the number of jobs changed, are dropped here.
        while self._high:
            negative, index, source = self._high[0]
            if negative == -source.staying and index not in self._left_out:
                return (source, target) if target and source.staying - target.staying >= 2 else None
            heapq.heappop(self._high)
        return None

    def leave_out(self, device: _Device) -> None:
        """Takes no more jobs from a device."""
        self._left_out.add(device.index)

    def _lowest(self) -> _Device | None:
        while self._low:
            if self._low[0][0] == self._low[0][3].staying:
                return self._low[0][3]
            heapq.heappop(self._low)
        return None


def turn_seconds(places: float) -> float:
    """Returns how far a tenant must be ahead of another, if it has so many places divided by its weight."""
    return TURN_SECONDS * max(1.0, places)


def _comes_before(candidate: Candidate, other: Candidate) -> bool:
    """Whether a waiting job takes the place of a job of the same tenant."""
    if candidate.priority != other.priority:
        return candidate.priority > other.priority
    return candidate.interactive and not other.interactive and not other.watched
