"""A small run of the kill test of the fleet on Ray; the long one is `python tests/soak/ray_kills.py`."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the test cluster needs Linux")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_when_parts_of_a_fleet_on_ray_are_killed() -> None:
    from soak.ray_kills import soak

    done = soak(kills=10, callers=3, seed=3, say=print)
    assert done["succeeded"] > 10
    assert done["followed"] > 2
