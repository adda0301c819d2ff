from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.address import is_local, parse


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("localhost", "localhost:50051"),
        ("gpu-machine:7000", "gpu-machine:7000"),
        ("10.0.0.3:1", "10.0.0.3:1"),
        ("::1", "[::1]:50051"),
        ("[::1]", "[::1]:50051"),
        ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
        ("unix:/run/impasto.sock", "unix:/run/impasto.sock"),
        ("host_name.example", "host_name.example:50051"),
    ],
)
def test_an_address_is_completed(given_: str, expected: str) -> None:
    assert parse(given_) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        ":50051",
        "host:",
        "host:0",
        "host:65536",
        "host:port",
        "http://host:1",
        "a b",
        "unix:",
        "[host]:1",
        "h/",
    ],
)
def test_an_invalid_address_is_refused_with_what_to_give(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"give|port|socket|brackets"):
        parse(wrong)


@given(st.text(alphabet=st.sampled_from("abc0159.:[]%/-_ @éunix\n\0")) | st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parsed = parse(text)
    except ValueError:
        return
    assert parsed.startswith("unix:") or re.fullmatch(r"\S+:\d{1,5}", parsed)
    assert parse(parsed) == parsed
    is_local(parsed)


def test_local_addresses_are_recognised() -> None:
    for address in ("localhost", "127.0.0.1:3", "127.9.9.9", "::1", "unix:/a"):
        assert is_local(parse(address))
    for address in ("10.0.0.1", "localhost.example", "[fe80::1%eth0]:80"):
        assert not is_local(parse(address))
