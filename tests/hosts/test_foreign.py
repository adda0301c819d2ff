"""JSON that another person made."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.hosts.foreign import MOST_DEPTH, MOST_VALUES, foreign_json, is_shallow

MOST = 2**24


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_what_is_small_is_read(value: object) -> None:
    assert foreign_json(json.dumps(value).encode(), MOST, None) == value


@pytest.mark.parametrize("depth", [MOST_DEPTH, MOST_DEPTH + 1, 200, 985, 5000, 100_000])
@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('{"a": ', "}")])
def test_what_is_nested_deeply_is_not_read(before: str, after: str, depth: int) -> None:
    value = foreign_json((before * depth + "0" + after * depth).encode(), MOST)
    assert (value is not None) == (depth <= MOST_DEPTH)
    if value is not None:
        assert is_shallow(value)
        assert not is_shallow([value])


@pytest.mark.parametrize("each", [b"[],", b"{},", b"0,"])
def test_what_has_too_many_values_is_not_read(each: bytes) -> None:
    assert foreign_json(b"[" + each * MOST_VALUES + b"0]", 2**30) is None


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"nul", b"1" * 100_000])
def test_what_is_no_json_is_not_read(data: bytes) -> None:
    assert foreign_json(data, MOST) is None


def test_what_is_too_large_is_not_read() -> None:
    assert foreign_json(b"[1]", 3) == [1]
    assert foreign_json(b"[1]", 2) is None
