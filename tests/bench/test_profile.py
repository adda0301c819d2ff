"""The shares of a step's time by part."""

from __future__ import annotations

import pytest

from impasto_server.bench import profile
from impasto_server.bench.profile import PARTS, time_shares
from impasto_server.engine import Network, Recipe, Scene, Session, Style
from impasto_server.engine.objectives import OBJECTIVES
from support.samples import photo


def opened(network: Network, objective: str, optimizer: str) -> Session:
    """A session after its first evaluation."""
    session = Session(
        Recipe(objective=objective, optimizer=optimizer, longest_side=32, evaluations=8),  # type: ignore[arg-type]
        Scene(content=photo(32, 24), styles=[Style(photo(24, 32))]),
        network,
    )
    while session.step().preparing is not None:
        pass
    return session


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_part_of_a_step_is_timed(network: Network, objective: str, optimizer: str) -> None:
    session = opened(network, objective, optimizer)
    before = session.evaluation
    shares = time_shares(session, "cpu", 2)
    assert session.evaluation == before + 2
    assert set(shares) == set(PARTS)
    # A part of which the functions have other names now would have a share of 0.
    assert min(shares.values()) > 0
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_the_engine_is_as_before_afterwards(network: Network) -> None:
    functions = [getattr(owner, name) for owner, name, _ in profile._PARTS]
    session = opened(network, "balanced", "lbfgs")
    with pytest.raises(RuntimeError, match="done"):
        time_shares(session, "cpu", 100)
    assert [getattr(owner, name) for owner, name, _ in profile._PARTS] == functions
