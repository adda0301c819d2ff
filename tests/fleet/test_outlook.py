"""What a new job would find: its device, and the time until its result."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto_server.fleet.outlook import Load, device_of_newcomer, time_left
from impasto_server.fleet.placement import Candidate, Place, Placed, Served, Waiting, plan

NEW = Candidate(name="new", tenant="a", number=99)
GIB = 1 << 30


def place(device: str, jobs: int, *, slots: int = 4, free_bytes: int = GIB) -> Place:
    placed = [Placed(candidate=Candidate(name=f"{device}-{n}", tenant="b"), seconds=1.0) for n in range(jobs)]
    return Place(device=device, slots=slots, jobs=placed, free_bytes=free_bytes)


def test_without_others_the_time_left_is_the_time_of_the_device() -> None:
    assert time_left("a", 8.0, 1.0, {}) == 8.0


def test_a_tenant_with_as_much_to_do_doubles_the_time_and_a_small_one_only_adds_its_own() -> None:
    assert time_left("a", 8.0, 1.0, {"b": Load(1.0, seconds=100.0)}) == 16.0
    assert time_left("a", 8.0, 1.0, {"b": Load(1.0, seconds=3.0)}) == 11.0


def test_weights_count() -> None:
    assert time_left("a", 8.0, 4.0, {"b": Load(1.0, seconds=100.0)}) == 10.0


def test_the_tenants_own_jobs_come_first() -> None:
    loads = {"a": Load(1.0, seconds=5.0), "b": Load(1.0, seconds=100.0)}
    assert time_left("a", 8.0, 1.0, loads) == 26.0


def test_a_job_whose_time_is_not_known_counts_as_the_new_one() -> None:
    assert time_left("a", 8.0, 1.0, {"a": Load(1.0, unknown=1.5)}) == 20.0


tenants = st.dictionaries(
    st.sampled_from("bcde"),
    st.builds(Load, st.floats(0.1, 10), st.floats(0, 50)),
    max_size=4,
)


@given(tenants, st.floats(0.1, 50), st.floats(0.1, 10))
def test_it_is_the_end_of_the_work_when_the_device_is_shared_by_weight(
    loads: dict[str, Load], seconds: float, weight: float
) -> None:
    """Compared with a device that is shared continuously, from the end of one tenant's work to the next."""
    left = {"a": seconds, **{name: load.seconds for name, load in loads.items()}}
    weights = {"a": weight, **{name: load.weight for name, load in loads.items()}}
    now = 0.0
    while left["a"] > 1e-12:
        busy = [name for name in left if left[name] > 1e-12]
        whole = sum(weights[name] for name in busy)
        step = min(left[name] * whole / weights[name] for name in busy)
        for name in busy:
            left[name] -= step * weights[name] / whole
        now += step
    assert time_left("a", seconds, weight, loads) == pytest.approx(now)


def test_the_device_is_the_one_with_the_fewest_jobs_then_the_most_free_memory() -> None:
    places = [place("x", 2), place("y", 1), place("z", 1, free_bytes=2 * GIB)]
    assert device_of_newcomer(NEW, places, Served()) == "z"


def test_devices_that_are_too_small_are_left_out() -> None:
    places = [place("x", 0), place("y", 3)]
    small = Candidate(name="new", tenant="a", too_small=frozenset({"x"}))
    assert device_of_newcomer(small, places, Served()) == "y"
    assert device_of_newcomer(small, places[:1], Served()) is None
    assert device_of_newcomer(small, [], Served()) is None


def test_without_a_free_slot_it_is_the_one_that_is_likely_to_have_one_first() -> None:
    places = [place("x", 3, slots=3), place("y", 2, slots=2)]
    assert device_of_newcomer(NEW, places, Served()) == "y"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=6))
def test_it_is_the_device_of_the_plan(devices: list[tuple[int, int]]) -> None:
    places = [place(str(n), jobs, free_bytes=free * GIB) for n, (jobs, free) in enumerate(devices)]
    ((_, device),) = plan(Waiting([NEW]), places, Served()).start
    assert device_of_newcomer(NEW, places, Served()) == device
