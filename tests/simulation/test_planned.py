"""A small run of the planned simulation."""

from __future__ import annotations

from simulation.planned.costs import plan_times
from simulation.planned.fleet import Fleet, Outcome


def run_small() -> Outcome:
    return Fleet(
        devices=16, jobs=2_000, tenants=6, seconds=120.0, kind="gpu", seed=3, deaths_every=40.0
    ).run()


def test_a_small_fleet_is_busy_and_fair() -> None:
    outcome = run_small()
    assert outcome.deaths
    assert outcome.finished
    assert outcome.busy > 0.5, "one of two machines is away most of the time"
    shares = [outcome.device_seconds[tenant] / outcome.weights[tenant] for tenant in outcome.demanding]
    assert len(shares) > 3
    assert sum(shares) ** 2 / len(shares) / sum(share * share for share in shares) > 0.98
    again = run_small()
    assert (again.writes, again.device_seconds) == (outcome.writes, outcome.device_seconds)


def test_a_plan_for_a_long_queue_takes_little_longer_than_for_a_short_one() -> None:
    short, long = (plan_times(20, jobs, rounds=10, tenants=20) for jobs in (500, 20_000))
    assert long.median < 10 * short.median
