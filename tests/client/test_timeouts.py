"""Timeouts: none, very long ones, and invalid ones."""

from __future__ import annotations

import math

import pytest

import impasto
from impasto.recipe import Previews
from impasto.v1 import style_transfer_pb2 as pb
from support.fake_server import FakeServer

LONG = [math.inf, 1e10, 1e300, 30 * 86400.0 + 1]
WRONG = [math.nan, 0.0, -1.0, -math.inf]


@pytest.mark.parametrize("timeout", LONG)
def test_a_painting_may_have_no_time_limit(client: impasto.Client, fake: FakeServer, timeout: float) -> None:
    assert client.stylize(b"content", b"style", timeout=timeout).result().data
    fake.jobs["jobs/fake"] = pb.Job(name="jobs/fake")
    assert client.watch("jobs/fake", timeout=timeout).result().data


@pytest.mark.parametrize("timeout", WRONG)
def test_a_paintings_timeout_must_be_positive(
    client: impasto.Client, fake: FakeServer, timeout: float
) -> None:
    for begin in (
        lambda: client.stylize(b"content", b"style", timeout=timeout),
        lambda: client.watch("jobs/fake", timeout=timeout),
    ):
        with pytest.raises(
            impasto.InvalidRequest, match="give seconds above 0, or None for no limit"
        ) as told:
            begin()
        assert told.value.field == "timeout"
    assert not fake.calls


@pytest.mark.parametrize("seconds", LONG)
def test_calls_may_have_no_time_limit(way: str, fake: FakeServer, seconds: float) -> None:
    with impasto.Client(fake.address, timeout=seconds, patience=seconds) as client:
        assert client.info().version
        assert client.upload(b"an image").sha256
        assert client.stylize(b"content", b"style").result().data


@pytest.mark.parametrize("seconds", WRONG)
def test_timeouts_of_calls_must_be_positive(way: str, fake: FakeServer, seconds: float) -> None:
    for argument in ("timeout", "patience"):
        with pytest.raises(ValueError, match=f"{argument} is .*; give seconds above 0"):
            impasto.Client(fake.address, **{argument: seconds})  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 1e300])
def test_durations_that_do_not_fit_into_a_message_are_refused(
    client: impasto.Client, fake: FakeServer, seconds: float
) -> None:
    with pytest.raises(impasto.InvalidRequest) as told:
        client.preview("jobs/fake", wait=seconds)
    assert told.value.field == "wait"
    with pytest.raises(impasto.InvalidRequest) as told:
        client.stylize(b"content", b"style", previews=Previews(min_interval=seconds))
    assert told.value.field == "preview.min_interval"
    assert not fake.calls
