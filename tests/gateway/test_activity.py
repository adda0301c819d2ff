"""What the administrator sees of the last minute."""

from __future__ import annotations

import pytest

from impasto_server.gateway.activity import Activity


class Clock:
    def __init__(self) -> None:
        self.now = 1000.25

    def __call__(self) -> float:
        return self.now


def test_shares_and_loads_are_those_of_the_last_minute() -> None:
    clock = Clock()
    activity = Activity(clock)
    assert (activity.load("gpu"), activity.evaluations_per_second("gpu"), activity.shares()) == (0, 0, {})
    for _ in range(10):
        clock.now += 1
        activity.worked("anna", "gpu", 0.6, 3)
        activity.worked("bert", "gpu", 0.2, 1)
    # Since the start, as long as that is less than a minute.
    assert activity.load("gpu") == pytest.approx(0.8)
    assert activity.evaluations_per_second("gpu") == pytest.approx(4)
    assert activity.shares() == pytest.approx({"anna": 0.75, "bert": 0.25})
    clock.now += 55
    activity.worked("bert", "gpu", 0.5, 1)
    # Only the last 5 of the 10 seconds are still within the minute.
    assert activity.load("gpu") == pytest.approx((5 * 0.8 + 0.5) / 59.25)
    clock.now += 1e6
    assert activity.load("gpu") == 0
    assert activity.shares() == {"anna": 0, "bert": 0}
    assert activity.device_seconds("anna") == pytest.approx(6)
    assert activity.device_seconds("nobody") == 0
    assert sorted(activity.tenants()) == ["anna", "bert"]


def test_a_long_evaluation_is_no_load_above_1() -> None:
    clock = Clock()
    activity = Activity(clock)
    clock.now += 200
    activity.worked("", "cpu", 150.0, 1)
    assert activity.load("cpu") == 1
