"""The policy on a simulated clock: Hypothesis lets jobs come, take turns, be watched, and go."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto_server.worker.scheduler import CREDIT_SECONDS, FIRST_SECONDS, FIRST_TURNS, Claim, Scheduler

LONGEST = 4.0
"""Duration of the longest evaluation in seconds."""


@dataclasses.dataclass
class SimulatedJob:
    """A job with a number of turns of equal length."""

    claim: Claim
    seconds: float
    turns: int


@dataclasses.dataclass
class Turn:
    key: int
    begin: float
    end: float


class Device:
    """A device whose clock advances only by the length of turns."""

    def __init__(self) -> None:
        self.scheduler: Scheduler[int] = Scheduler()
        self.now = 0.0
        self.jobs: dict[int, SimulatedJob] = {}
        self.turns: list[Turn] = []
        self.came: dict[int, float] = {}
        self._count = 0

    def add(self, claim: Claim, seconds: float, turns: int = 1_000_000) -> int:
        """Puts a new job onto the device and returns its key."""
        self._count += 1
        key = self._count
        self.jobs[key] = SimulatedJob(dataclasses.replace(claim, created=key), seconds, turns)
        self.came[key] = self.now
        self.scheduler.add(key, self.jobs[key].claim)
        self.scheduler.admit(key, 1)
        return key

    def remove(self, key: int) -> None:
        del self.jobs[key]
        self.scheduler.remove(key)

    def change(self, key: int, *, watched: bool | None = None, priority: int | None = None) -> None:
        self.scheduler.change(key, watched=watched, priority=priority)
        changes = {"watched": watched, "priority": priority}
        given = {name: value for name, value in changes.items() if value is not None}
        self.jobs[key].claim = dataclasses.replace(self.jobs[key].claim, **given)  # type: ignore[arg-type]

    def turn(self) -> int | None:
        key = self.scheduler.next()
        if key is None:
            return None
        job = self.jobs[key]
        self.turns.append(Turn(key, self.now, self.now + job.seconds))
        self.now += job.seconds
        self.scheduler.charge(key, job.seconds)
        job.turns -= 1
        if job.turns == 0:
            self.remove(key)
        return key

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end and self.turn() is not None:
            pass

    def seconds_of(self, key: int, since: float = 0.0) -> float:
        return sum(turn.end - turn.begin for turn in self.turns if turn.key == key and turn.begin >= since)


seconds = st.floats(0.01, LONGEST)
claims = st.builds(
    Claim,
    tenant=st.sampled_from(["c", "d", "e"]),
    weight=st.sampled_from([0.5, 1.0, 3.0]),
    priority=st.integers(-1, 1),
    watched=st.booleans(),
    draft=st.booleans(),
)
Happening = Callable[[Device], None]


@st.composite
def happenings(draw: st.DrawFn, claims: st.SearchStrategy[Claim]) -> list[Happening]:
    """Draws events between turns: jobs come, are cancelled, gain or lose watchers, or change priority."""

    def come(claim: Claim, each: float, turns: int) -> Happening:
        return lambda device: device.add(claim, each, turns) and None

    def change(which: int, watched: bool | None, priority: int | None, goes: bool) -> Happening:
        def do(device: Device) -> None:
            movable = [key for key, job in device.jobs.items() if job.turns < 1_000_000 // 2]
            if movable:
                key = movable[which % len(movable)]
                if goes:
                    device.remove(key)
                else:
                    device.change(key, watched=watched, priority=priority)

        return do

    def pass_time(count: int) -> Happening:
        def do(device: Device) -> None:
            for _ in range(count):
                device.turn()

        return do

    one = st.one_of(
        st.builds(come, claims, seconds, st.integers(1, 12)),
        st.builds(
            change,
            st.integers(0, 9),
            st.none() | st.booleans(),
            st.none() | st.integers(-1, 1),
            st.booleans(),
        ),
        st.builds(pass_time, st.integers(1, 8)),
    )
    return draw(st.lists(one, max_size=60))


@settings(max_examples=300, deadline=None)
@given(
    before=happenings(claims),
    during=happenings(claims),
    weights=st.tuples(st.floats(0.25, 4), st.floats(0.25, 4)),
    each=st.tuples(seconds, seconds),
    drafts=st.tuples(st.booleans(), st.booleans()),
)
def test_two_backlogged_tenants_share_by_weight_whatever_others_do(
    before: list[Happening],
    during: list[Happening],
    weights: tuple[float, float],
    each: tuple[float, float],
    drafts: tuple[bool, bool],
) -> None:
    device = Device()
    for happening in before:
        happening(device)
    since = device.now
    keys = [
        device.add(Claim(tenant=tenant, weight=weight, draft=draft), each_turn)
        for tenant, weight, each_turn, draft in zip("ab", weights, each, drafts, strict=True)
    ]
    bound = (2 * LONGEST + CREDIT_SECONDS) * sum(1 / weight for weight in weights)
    for happening in during:
        happening(device)
        device.turn()
        had = [device.seconds_of(key, since) / weight for key, weight in zip(keys, weights, strict=True)]
        assert abs(had[0] - had[1]) <= bound + 1e-6


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(seconds, st.integers(1, 5), st.booleans()), max_size=100))
def test_a_tenant_gains_nothing_by_coming_and_going(visits: list[tuple[float, int, bool]]) -> None:
    # One tenant always has a job. The jobs of the other come and go, and all of them are interactive.
    device = Device()
    steady = device.add(Claim(tenant="steady"), 0.5)
    for each, turns, is_cancelled in visits:
        visitor = device.add(Claim(tenant="visitor", watched=True, draft=True), each, turns)
        for _ in range(turns):
            device.turn()
        if visitor in device.jobs and is_cancelled:
            device.remove(visitor)
    visited = device.now - device.seconds_of(steady)
    assert visited - device.seconds_of(steady) <= 2 * LONGEST + CREDIT_SECONDS + 0.5 + 1e-6


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(happenings(claims))
def test_the_device_never_idles_and_the_highest_priority_of_a_tenant_goes_first(
    happens: list[Happening],
) -> None:
    device = Device()
    for happening in happens:
        happening(device)
        key = device.scheduler.next()
        assert (key is None) == (not device.jobs)
        assert set(device.scheduler.admitted) == set(device.jobs)
        if key is not None:
            claim = device.jobs[key].claim
            rivals = [job.claim for job in device.jobs.values() if job.claim.tenant == claim.tenant]
            assert claim.priority == max(rival.priority for rival in rivals)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    tenants=st.lists(st.floats(0.5, 2.0), min_size=1, max_size=4),
    lanes=st.integers(1, 4),
    each=seconds,
    visits=st.lists(st.tuples(seconds, st.integers(1, 4), st.booleans()), max_size=60),
)
def test_no_job_starves(
    tenants: list[float], lanes: int, each: float, visits: list[tuple[float, int, bool]]
) -> None:
    # Each tenant stays, with watched jobs and an unwatched one. There is also a stream of interactive jobs,
    # of another tenant and of the first one.
    device = Device()
    keys = []
    for index, weight in enumerate(tenants):
        for lane in range(lanes + 1):
            claim = Claim(tenant=f"t{index}", weight=weight, watched=lane > 0)
            keys.append(device.add(claim, each))
    last = dict.fromkeys(keys, 0.0)
    # While a job waits for its turn, each lane of its tenant and each other tenant gets at most its share of
    # one longest evaluation and of the credit. Visitors have at most two lanes.
    share = min(tenants) / (sum(tenants) + 1.0)
    bound = (lanes + 3) * (2 * LONGEST + CREDIT_SECONDS) / share
    for seconds_each, turns, is_own in visits:
        claim = Claim(tenant="t0" if is_own else "visitor", draft=True, weight=tenants[0] if is_own else 1.0)
        device.add(claim, seconds_each, turns)
        for _ in range(turns):
            begin = device.now
            key = device.turn()
            assert key is not None
            if key in last:
                last[key] = device.now
            assert begin - min(last.values()) <= bound
    device.run(bound * 2)
    served = {turn.key for turn in device.turns if turn.begin > device.now - bound}
    assert served >= set(keys)


def test_a_stream_of_drafts_does_not_keep_unwatched_jobs_from_their_turns() -> None:
    device = Device()
    unwatched = device.add(Claim(tenant="a"), 0.1)
    watched = device.add(Claim(tenant="a", watched=True), 0.1)
    for _ in range(100):
        device.add(Claim(tenant="a", draft=True), 1.0, turns=1)
        device.run(2.0)
    assert device.seconds_of(unwatched) == pytest.approx(device.seconds_of(watched), rel=0.05)
    assert device.seconds_of(unwatched) > 45


def test_weights_are_respected() -> None:
    device = Device()
    light = device.add(Claim(tenant="light"), 0.2)
    heavy = device.add(Claim(tenant="heavy", weight=3.0), 0.5)
    device.run(600)
    assert device.seconds_of(heavy) / device.seconds_of(light) == pytest.approx(3, rel=0.01)


def test_a_tenant_with_many_jobs_gets_no_more_time_than_a_tenant_with_one() -> None:
    device = Device()
    many = [device.add(Claim(tenant="many", watched=index % 2 == 0), 0.3) for index in range(8)]
    single = device.add(Claim(tenant="one"), 0.3)
    device.run(300)
    assert sum(map(device.seconds_of, many)) == pytest.approx(device.seconds_of(single), rel=0.02)


def test_a_tenant_gains_nothing_by_idling() -> None:
    device = Device()
    device.add(Claim(tenant="busy"), 0.5)
    idle = device.add(Claim(tenant="idle"), 0.5)
    device.remove(idle)
    device.run(100)
    since = device.now
    back = device.add(Claim(tenant="idle"), 0.5)
    device.run(100)
    assert device.seconds_of(back, since) == pytest.approx(50, abs=1)


def test_the_oldest_unwatched_job_of_equal_priority_goes_until_it_is_done() -> None:
    device = Device()
    first, second, third = (device.add(Claim(tenant="a"), 0.5, turns=4) for _ in range(3))
    device.run(100)
    assert [turn.key for turn in device.turns] == [first] * 4 + [second] * 4 + [third] * 4


def test_each_watched_job_has_the_same_share_as_all_unwatched_jobs_together() -> None:
    device = Device()
    unwatched = [device.add(Claim(tenant="a"), 0.1) for _ in range(5)]
    watched = [device.add(Claim(tenant="a", watched=True), 0.1) for _ in range(2)]
    device.run(90)
    for key in (unwatched[0], *watched):
        assert device.seconds_of(key) == pytest.approx(30, abs=2)
    # A job that is no longer watched waits behind older jobs.
    device.change(watched[0], watched=False)
    since = device.now
    device.run(60)
    assert device.seconds_of(watched[0], since) == 0
    assert device.seconds_of(watched[1], since) == pytest.approx(30, abs=2)


def test_a_job_gains_nothing_if_its_watcher_comes_and_goes() -> None:
    device = Device()
    fidgety, steady = (device.add(Claim(tenant="a", watched=True), 0.5) for _ in range(2))
    for _ in range(200):
        device.turn()
        device.change(fidgety, watched=False)
        device.change(fidgety, watched=True)
    assert abs(device.seconds_of(fidgety) - device.seconds_of(steady)) <= 2


@pytest.mark.parametrize("tenants", ["aaaaaaaa", "bbbbbbbb", "bcdefghi", "abababab"])
def test_the_first_turns_of_a_draft_come_soon_beside_eight_long_jobs(tenants: str) -> None:
    device = Device()
    for tenant in tenants:
        device.add(Claim(tenant=tenant), LONGEST)
    device.run(100)
    draft = device.add(Claim(tenant="a", draft=True), 0.2)
    for _ in range(FIRST_TURNS):
        assert device.turn() == draft


def test_an_endless_stream_of_drafts_leaves_half_the_time_to_other_jobs_of_their_tenant() -> None:
    device = Device()
    old = device.add(Claim(tenant="a"), 0.5)
    device.run(10)
    since = device.now
    while device.now < since + 100:
        device.add(Claim(tenant="a", draft=True), 0.3, turns=3)
        for _ in range(3):
            device.turn()
    assert device.seconds_of(old, since) >= 40


def test_a_slow_draft_soon_has_the_same_share_as_other_jobs() -> None:
    device = Device()
    old = device.add(Claim(tenant="a"), 0.5)
    draft = device.add(Claim(tenant="b", draft=True), FIRST_SECONDS * 2)
    device.run(200)
    assert device.seconds_of(old) == pytest.approx(device.seconds_of(draft), abs=5)


def in_line(scheduler: Scheduler[str]) -> list[str]:
    """Returns the order in which jobs come onto the device if all of them use the same memory."""
    order = []
    while (key := scheduler.first_in_line()) is not None:
        order.append(key)
        scheduler.admit(key, 100)
    return order


def test_the_tenant_with_the_least_memory_comes_onto_the_device_first() -> None:
    scheduler: Scheduler[str] = Scheduler()
    for index in range(3):
        scheduler.add(f"a{index}", Claim(tenant="a", created=index))
    scheduler.add("b0", Claim(tenant="b", created=10))
    scheduler.add("b1", Claim(tenant="b", created=11))
    assert in_line(scheduler) == ["a0", "b0", "a1", "b1", "a2"]


def test_the_line_of_a_tenant_is_ordered_by_priority_then_interactive_then_age() -> None:
    scheduler: Scheduler[str] = Scheduler()
    for created, (name, fields) in enumerate(
        {
            "old": {},
            "young": {},
            "draft": {"draft": True},
            "watched": {"watched": True},
            "low": {"priority": -1, "draft": True},
            "high": {"priority": 1},
        }.items()
    ):
        scheduler.add(name, Claim(tenant="a", created=created, **fields))  # type: ignore[arg-type]
    assert in_line(scheduler) == ["high", "draft", "watched", "old", "young", "low"]


def test_no_job_overtakes_one_that_waits_for_memory() -> None:
    scheduler: Scheduler[str] = Scheduler()
    scheduler.add("large", Claim(tenant="a"))
    scheduler.hold()
    scheduler.add("small", Claim(tenant="b", priority=5, draft=True))
    assert scheduler.holds
    assert scheduler.first_in_line() == "large"
    scheduler.remove("large")
    assert not scheduler.holds
    assert scheduler.first_in_line() == "small"


def test_an_empty_device_has_no_next_turn() -> None:
    scheduler: Scheduler[str] = Scheduler()
    assert scheduler.next() is None
    assert scheduler.first_in_line() is None
    scheduler.add("a", Claim(tenant="a"))
    assert scheduler.next() is None


def test_the_scheduler_forgets_tenants_that_have_gone() -> None:
    device = Device()
    device.add(Claim(tenant="steady"), 0.1)
    for index in range(1000):
        device.add(Claim(tenant=f"t{index}", watched=True), 0.1, turns=1)
        device.turn()
        device.turn()
    sizes: dict[str, int] = defaultdict(int)
    for name, value in vars(device.scheduler._shares).items():
        sizes[name] = len(value) if isinstance(value, dict) else 0
    assert max(sizes.values()) < 20
