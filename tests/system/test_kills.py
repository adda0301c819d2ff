"""A small run of the kill test; the long one is `python tests/soak/kills.py`."""

from __future__ import annotations

import pytest

from soak.kills import soak


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_when_processes_are_killed() -> None:
    done = soak(kills=8, callers=3, seed=2, say=print)
    assert done["succeeded"] > 3
