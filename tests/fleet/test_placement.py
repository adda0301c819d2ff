"""The placement of jobs on devices, on a simulated clock."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto_server.fleet.placement import (
    SETTLED_SECONDS,
    TURN_SECONDS,
    Candidate,
    Place,
    Placed,
    Served,
    plan,
)

_names = itertools.count()


def candidate(tenant: str = "a", **fields: object) -> Candidate:
    number = next(_names)
    return Candidate(name=f"jobs/{number}", tenant=tenant, number=number, **fields)  # type: ignore[arg-type]


def placed(candidate: Candidate, seconds: float = 60.0, **fields: object) -> Placed:
    return Placed(candidate=candidate, seconds=seconds, **fields)  # type: ignore[arg-type]


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
        self.moves += len(todo.suspend)
        free = sum(self.slots - len(jobs) for jobs in self.devices.values())
        assert not (free and self.waiting), "a slot is free and a job waits"
        for device, jobs in self.devices.items():
            share = seconds / len(jobs) if jobs else 0.0
            for job in jobs:
                self.had[job.candidate.tenant] += share
                self.served.charge(job.candidate.tenant, share, job.candidate.weight)
            self.devices[device] = [
                dataclasses.replace(
                    job, seconds=job.seconds + seconds, leaving=job.candidate.name in todo.suspend
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
        assert max(world.had.values()) - min(world.had.values()) <= 3 * TURN_SECONDS
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
