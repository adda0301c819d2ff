from __future__ import annotations

import pytest

from impasto_server.worker.scheduler import FairTurns


def give_turns(turns: FairTurns[str], seconds: dict[str, float], count: int) -> list[str]:
    given = []
    for _ in range(count):
        key = turns.next()
        turns.charge(key, seconds[key])
        given.append(key)
    return given


def test_device_time_not_turns_is_shared() -> None:
    turns: FairTurns[str] = FairTurns()
    turns.add("large")
    turns.add("small")
    given = give_turns(turns, {"large": 1.0, "small": 0.1}, 220)
    assert given.count("large") * 1.0 == pytest.approx(given.count("small") * 0.1, abs=1.0)


def test_a_newcomer_goes_next_and_then_shares() -> None:
    turns: FairTurns[str] = FairTurns()
    turns.add("old")
    turns.add("older")
    give_turns(turns, {"old": 1.0, "older": 1.0}, 10)
    turns.add("new")
    given = give_turns(turns, {"old": 1.0, "older": 1.0, "new": 1.0}, 9)
    assert given[0] == "new"
    assert {key: given.count(key) for key in given} == {"new": 3, "old": 3, "older": 3}


def test_who_has_left_gets_no_turn() -> None:
    turns: FairTurns[str] = FairTurns()
    turns.add("a")
    turns.add("b")
    turns.remove("b")
    assert give_turns(turns, {"a": 1.0}, 3) == ["a", "a", "a"]
    assert len(turns) == 1
    assert "b" not in turns
