"""The placement of jobs on devices, on a simulated clock."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto_server.fleet.placement import (
    MOVE_SECONDS,
    SETTLED_SECONDS,
    TURN_SECONDS,
    Candidate,
    Place,
    Placed,
    Plan,
    Served,
    Waiting,
    turn_seconds,
)
from impasto_server.fleet.placement import plan as plan_of
from support.slow_plan import slow_plan

_names = itertools.count()


def candidate(tenant: str = "a", **fields: object) -> Candidate:
    number = next(_names)
    return Candidate(name=f"jobs/{number}", tenant=tenant, number=number, **fields)  # type: ignore[arg-type]


def placed(candidate: Candidate, seconds: float = 60.0, **fields: object) -> Placed:
    return Placed(candidate=candidate, seconds=seconds, **fields)  # type: ignore[arg-type]


def plan(waiting: Sequence[Candidate], places: Sequence[Place], served: Served) -> Plan:
    return plan_of(Waiting(waiting), places, served)


def served(**seconds: float) -> Served:
    made = Served()
    made.keep(seconds)
    for tenant, amount in seconds.items():
        made.charge(tenant, amount, 1.0)
    return made


def test_free_slots_are_filled_evenly_over_tenants() -> None:
    waiting = [candidate("a") for _ in range(6)] + [candidate("b") for _ in range(6)]
    todo = plan(waiting, [Place(device="cpu", slots=4, jobs=[])], served(a=0, b=0))
    tenants = {job.name: job.tenant for job in waiting}
    assert sorted(tenants[name] for name, _ in todo.start) == ["a", "a", "b", "b"]
    assert not todo.suspend


def test_several_devices_are_filled_evenly_and_those_with_more_memory_first() -> None:
    waiting = [candidate() for _ in range(3)]
    places = [
        Place(device="cuda:0", slots=4, jobs=[], free_bytes=10),
        Place(device="cuda:1", slots=4, jobs=[], free_bytes=20),
    ]
    todo = plan(waiting, places, served(a=0))
    assert [device for _, device in todo.start] == ["cuda:1", "cuda:0", "cuda:1"]


def test_a_job_is_placed_only_where_it_can_fit() -> None:
    waiting = [candidate(too_small=frozenset({"cuda:0"}))]
    assert not plan(waiting, [Place(device="cuda:0", slots=4, jobs=[])], served(a=0)).start
    both = [Place(device="cuda:0", slots=4, jobs=[]), Place(device="cuda:1", slots=1, jobs=[])]
    assert plan(waiting, both, served(a=0)).start == [(waiting[0].name, "cuda:1")]


def test_a_tenant_without_a_place_gets_one_from_a_tenant_with_several() -> None:
    jobs = [placed(candidate("a")) for _ in range(4)]
    newcomer = candidate("b")
    todo = plan([newcomer], [Place(device="cpu", slots=4, jobs=jobs)], served(a=0, b=0))
    assert todo.suspend == [jobs[-1].candidate.name], "the youngest makes room"
    leaving = [dataclasses.replace(job, leaving=job.candidate.name in todo.suspend) for job in jobs]
    again = plan([newcomer], [Place(device="cpu", slots=4, jobs=leaving)], served(a=0, b=0))
    assert not again.suspend, "one who makes room is enough"


def test_watched_jobs_make_room_last() -> None:
    jobs = [placed(candidate("a")), placed(candidate("a", watched=True))]
    todo = plan([candidate("b")], [Place(device="cpu", slots=2, jobs=jobs)], served(a=0, b=0))
    assert todo.suspend == [jobs[0].candidate.name]


def test_a_job_that_was_just_placed_does_not_make_room() -> None:
    jobs = [placed(candidate("a"), SETTLED_SECONDS / 2) for _ in range(2)]
    assert not plan([candidate("b")], [Place(device="cpu", slots=2, jobs=jobs)], served(a=0, b=0)).suspend


def test_equal_tenants_take_turns_only_after_a_minimum_time() -> None:
    place = [Place(device="cpu", slots=1, jobs=[placed(candidate("a"))])]
    assert not plan([candidate("b")], place, served(a=TURN_SECONDS / 2, b=0)).suspend
    assert plan([candidate("b")], place, served(a=TURN_SECONDS, b=0)).suspend


def test_a_tenant_with_many_places_must_be_further_ahead() -> None:
    mine = [placed(candidate("b", weight=0.5)) for _ in range(2)]
    jobs = [placed(candidate("a")) for _ in range(5)]
    place = [Place(device="cpu", slots=7, jobs=[*jobs, *mine])]
    waiting = [candidate("b", weight=0.5)]
    assert not plan(waiting, place, served(a=5 * TURN_SECONDS - 1, b=0)).suspend
    assert plan(waiting, place, served(a=5 * TURN_SECONDS, b=0)).suspend


def test_an_interactive_job_does_not_wait_for_that_time() -> None:
    place = [Place(device="cpu", slots=1, jobs=[placed(candidate("a"))])]
    assert plan([candidate("b", interactive=True)], place, served(a=0, b=0)).suspend
    own = [Place(device="cpu", slots=1, jobs=[placed(candidate("a"))])]
    assert plan([candidate("a", interactive=True)], own, served(a=0)).suspend
    watched = [Place(device="cpu", slots=1, jobs=[placed(candidate("a", watched=True))])]
    assert not plan([candidate("a", interactive=True)], watched, served(a=0)).suspend


def test_priority_counts_only_among_jobs_of_the_same_tenant() -> None:
    low, high = candidate("a"), candidate("a", priority=5)
    place = [Place(device="cpu", slots=1, jobs=[])]
    assert plan([low, high], place, served(a=0)).start == [(high.name, "cpu")]
    taken = [Place(device="cpu", slots=1, jobs=[placed(low)])]
    assert plan([high], taken, served(a=0)).suspend == [low.name]
    assert not plan([candidate("b", priority=100)], taken, served(a=0, b=0)).suspend


def test_a_job_that_may_crash_workers_gets_a_device_to_itself() -> None:
    suspect = candidate("a", alone=True)
    jobs = [placed(candidate("b")), placed(candidate("c"))]
    busy = [Place(device="cpu", slots=4, jobs=jobs)]
    todo = plan([suspect, candidate("d")], busy, served(a=0, b=0, c=0, d=5))
    assert sorted(todo.suspend) == sorted(job.candidate.name for job in jobs)
    assert not todo.start, "the device is being cleared: nobody else comes"
    empty = [Place(device="cpu", slots=4, jobs=[])]
    assert plan([suspect], empty, served(a=0)).start
    todo = plan([candidate("b"), suspect], empty, served(a=9, b=0))
    assert todo.start == [(suspect.name, "cpu")], "before those who would have to go again"
    assert not todo.suspend
    alone = [Place(device="cpu", slots=4, jobs=[placed(suspect)])]
    todo = plan([candidate("b", interactive=True)], alone, served(a=99, b=0))
    assert not todo.start
    assert not todo.suspend


class World:
    """Simulated devices that share their time equally among their jobs, and jobs that never end."""

    def __init__(self, tenants: dict[str, float], jobs_each: int, devices: int, slots: int) -> None:
        self.weights = tenants
        self.waiting = [candidate(t, weight=w) for t, w in tenants.items() for _ in range(jobs_each)]
        self.devices: dict[str, list[Placed]] = {f"cuda:{i}": [] for i in range(devices)}
        self.slots = slots
        self.served = Served()
        self.had = dict.fromkeys(tenants, 0.0)
        self.moves = 0

    def tick(self, seconds: float = 1.0) -> None:
        self.served.keep(self.weights)
        # Jobs that were told to leave have left by now.
        for device, jobs in self.devices.items():
            self.waiting += [job.candidate for job in jobs if job.leaving]
            self.devices[device] = [job for job in jobs if not job.leaving]
        places = [Place(device=d, slots=self.slots, jobs=jobs) for d, jobs in self.devices.items()]
        todo = plan(self.waiting, places, self.served)
        candidates = {candidate.name: candidate for candidate in self.waiting}
        for name, device in todo.start:
            self.waiting.remove(candidates[name])
            self.devices[device].append(placed(candidates[name], 0.0))
        leaving = {*todo.suspend, *todo.move}
        self.moves += len(leaving)
        free = sum(self.slots - len(jobs) for jobs in self.devices.values())
        assert not (free and self.waiting), "a slot is free and a job waits"
        for device, jobs in self.devices.items():
            share = seconds / len(jobs) if jobs else 0.0
            for job in jobs:
                self.had[job.candidate.tenant] += share
                self.served.charge(job.candidate.tenant, share, job.candidate.weight)
            self.devices[device] = [
                dataclasses.replace(
                    job,
                    seconds=job.seconds + seconds,
                    leaving=job.candidate.name in {*todo.suspend, *todo.move},
                )
                for job in jobs
            ]


@pytest.mark.slow
@given(
    tenants=st.integers(2, 12),
    jobs_each=st.integers(1, 6),
    devices=st.integers(1, 3),
    slots=st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_tenants_that_always_have_jobs_get_equal_time_in_the_long_run(
    tenants: int, jobs_each: int, devices: int, slots: int
) -> None:
    world = World({f"t{i}": 1.0 for i in range(tenants)}, jobs_each, devices, slots)
    places = devices * slots
    for _ in range(2000):
        world.tick()
    if tenants * jobs_each <= places:
        assert world.moves == 0, "where all have room, nobody moves"
    elif jobs_each >= places or tenants >= places:
        # They can differ by one turn each way, however long it runs.
        most = turn_seconds(-(-places // tenants))
        assert max(world.had.values()) - min(world.had.values()) <= 3 * most
    assert min(world.had.values()) > 0, "nobody starves"


def test_a_new_tenant_gets_no_credit_for_the_past() -> None:
    counts = Served()
    counts.keep(["a"])
    counts.charge("a", 1000.0, 1.0)
    counts.keep(["a", "b"])
    assert counts["b"] == counts["a"]
    counts.keep(["b"])
    counts.charge("b", 50.0, 1.0)
    counts.keep(["a", "b"])
    assert counts["a"] == counts["b"]


TENANTS = {"a": 1.0, "b": 1.0, "c": 2.0, "d": 0.5, "e": 3.0}
DEVICES = ("cuda:0", "cuda:1", "cuda:2")


def candidates() -> st.SearchStrategy[Candidate]:
    return st.builds(
        lambda tenant, **fields: candidate(tenant, weight=TENANTS[tenant], **fields),
        st.sampled_from(sorted(TENANTS)),
        priority=st.integers(0, 2),
        interactive=st.booleans(),
        watched=st.booleans(),
        alone=st.sampled_from([False] * 7 + [True]),
        too_small=st.sampled_from([frozenset[str]()] * 4 + [frozenset({"cuda:0"}), frozenset({"cuda:1"})]),
    )


def on_devices() -> st.SearchStrategy[Placed]:
    return st.builds(
        placed,
        candidates(),
        st.sampled_from([1.0, 5.0, 60.0]),
        leaving=st.sampled_from([False] * 4 + [True]),
        seconds_left=st.sampled_from([1.0, 60.0, float("inf")]),
    )


@given(
    waiting=st.lists(candidates(), max_size=20),
    jobs=st.lists(st.lists(on_devices(), max_size=6), min_size=1, max_size=3),
    free_bytes=st.lists(st.integers(0, 2), min_size=3, max_size=3),
    slots=st.integers(1, 6),
    seconds=st.lists(st.sampled_from([0.0, 3.0, 9.0, 14.0, 25.0]), min_size=5, max_size=5),
)
@settings(max_examples=500, deadline=None)
def test_the_plan_is_that_of_the_slow_reference(
    waiting: list[Candidate],
    jobs: list[list[Placed]],
    free_bytes: list[int],
    slots: int,
    seconds: list[float],
) -> None:
    places = [
        Place(device=device, slots=slots, jobs=jobs, free_bytes=free)
        for device, jobs, free in zip(DEVICES, jobs, free_bytes, strict=False)
    ]
    shares = served(**dict(zip(TENANTS, seconds, strict=True)))
    todo, expected = plan(waiting, places, shares), slow_plan(waiting, places, shares)
    assert (todo.start, todo.suspend) == (expected.start, expected.suspend)


def everyone_on(*counts: int, **fields: object) -> list[Place]:
    """Devices with so many jobs each."""
    return [
        Place(device=f"cuda:{index}", slots=8, jobs=[placed(candidate(), **fields) for _ in range(count)])  # type: ignore[arg-type]
        for index, count in enumerate(counts)
    ]


def test_a_job_moves_to_a_device_with_two_jobs_fewer() -> None:
    assert not plan([], everyone_on(2, 1), served(a=0)).move
    places = everyone_on(4, 0)
    todo = plan([], places, served(a=0))
    assert not todo.start
    assert not todo.suspend
    names = [job.candidate.name for job in places[0].jobs]
    assert todo.move == [names[3], names[2]], "the youngest move, and only as many as make both equal"


def test_jobs_that_are_leaving_count_as_moved() -> None:
    [full, empty] = everyone_on(4, 0)
    leaving = [dataclasses.replace(job, leaving=index > 1) for index, job in enumerate(full.jobs)]
    assert not plan([], [dataclasses.replace(full, jobs=leaving), empty], served(a=0)).move


def test_a_waiting_job_fills_the_gap_instead() -> None:
    waiting = [candidate()]
    todo = plan(waiting, everyone_on(2, 0), served(a=0))
    assert todo.start == [(waiting[0].name, "cuda:1")]
    assert not todo.move


def test_jobs_that_cannot_or_should_not_move_stay() -> None:
    idle = everyone_on(0)[0]

    def moves(*jobs: Placed, target: Place = idle) -> list[str]:
        source = Place(device="cuda:1", slots=8, jobs=jobs)
        return list(plan([], [target, source], served(a=0, b=0)).move)

    stays = placed(candidate())
    assert not moves(placed(candidate(), SETTLED_SECONDS / 2), placed(candidate(), 0.0))
    too_small = frozenset({"cuda:0"})
    assert moves(placed(candidate(too_small=too_small)), stays) == [stays.candidate.name]
    assert moves(placed(candidate(watched=True)), stays) == [stays.candidate.name]
    assert moves(placed(candidate(), seconds_left=MOVE_SECONDS / 2), stays) == [stays.candidate.name]
    ends_later = placed(candidate(), seconds_left=1000.0)
    assert moves(ends_later, placed(candidate(), seconds_left=100.0)) == [ends_later.candidate.name]
    suspect = placed(candidate(alone=True))
    assert not moves(stays, placed(candidate()), target=dataclasses.replace(idle, jobs=[suspect]))


def test_a_job_moves_to_a_busy_device_only_after_a_while() -> None:
    young = SETTLED_SECONDS
    assert plan([], everyone_on(2, 0, seconds=young), served(a=0)).move
    assert not plan([], everyone_on(3, 1, seconds=young), served(a=0)).move
    assert plan([], everyone_on(3, 1, seconds=MOVE_SECONDS), served(a=0)).move


def test_a_job_of_the_tenant_that_was_served_least_moves() -> None:
    mine, others = candidate("b"), [candidate("a"), candidate("a")]
    places = [
        Place(device="cuda:0", slots=8, jobs=[placed(job) for job in (mine, *others)]),
        Place(device="cuda:1", slots=8, jobs=[]),
    ]
    assert plan([], places, served(a=5, b=0)).move == [mine.name]


@given(
    jobs=st.lists(st.lists(on_devices(), max_size=8), min_size=2, max_size=3),
    waiting=st.lists(candidates(), max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_no_more_jobs_move_than_there_are_gaps(jobs: list[list[Placed]], waiting: list[Candidate]) -> None:
    places = [Place(device=device, slots=8, jobs=jobs) for device, jobs in zip(DEVICES, jobs, strict=False)]
    todo = plan(waiting, places, served(**dict.fromkeys(TENANTS, 0.0)))
    assert len(set(todo.move)) == len(todo.move)
    assert not set(todo.move) & set(todo.suspend)
    counts = [len(place.jobs) for place in places]
    even = sum(counts) // len(counts)
    assert len(todo.move) <= sum(max(0, count - even) for count in counts)
    by_name = {job.candidate.name: job for place in places for job in place.jobs}
    assert not any(by_name[name].leaving or by_name[name].candidate.alone for name in todo.move)


@given(
    counts=st.lists(st.integers(0, 8), min_size=2, max_size=6),
    slots=st.sampled_from([8, 9]),
    watched=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_moves_make_the_devices_even_and_end(counts: list[int], slots: int, watched: bool) -> None:
    world = World({"a": 1.0, "b": 2.0}, 0, len(counts), slots)
    for jobs, count in zip(world.devices.values(), counts, strict=True):
        jobs += [
            placed(candidate("ab"[n % 2], weight=1.0 + n % 2, watched=watched and not n))
            for n in range(count)
        ]
    for _ in range(30):
        world.tick()
    even = sum(counts) // len(counts)
    assert all(even <= len(jobs) <= even + 1 for jobs in world.devices.values())
    assert world.moves <= sum(max(0, count - even) for count in counts)
    moves = world.moves
    for _ in range(60):
        world.tick()
    assert world.moves == moves, "once the devices are even, nobody moves"


@given(changes=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.booleans()), max_size=30))
def test_waiting_jobs_can_be_changed_and_removed(changes: list[tuple[int, int, bool]]) -> None:
    waiting, expected = Waiting(), {}
    for number, priority, stays in changes:
        name = f"jobs/{number}"
        if stays:
            expected[name] = Candidate(name=name, tenant="a", number=number, priority=priority)
            waiting.put(expected[name])
        else:
            expected.pop(name, None)
            waiting.remove(name)
    assert len(waiting) == len(expected)
    groups = [list(group) for group in waiting.groups]
    assert sorted(c.name for group in groups for c in group) == sorted(expected)
    assert all(c == expected[c.name] for group in groups for c in group)
    assert all(len({c.priority for c in group}) == 1 for group in groups)
    assert all(group == sorted(group, key=lambda c: c.number) for group in groups)
