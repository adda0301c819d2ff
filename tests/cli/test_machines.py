"""`impasto info` for a server with several machines."""

from __future__ import annotations

import dataclasses
import json

import pytest

from impasto import wire
from impasto.cli.tables import server_table
from impasto.job import ServerInfo
from impasto.v1 import style_transfer_pb2 as pb

READY = pb.DEVICE_STATE_READY


def info(*devices: pb.Device) -> ServerInfo:
    return wire.server_info(pb.GetServerInfoResponse(version="9.9", devices=devices))


def shown(found: ServerInfo, capsys: pytest.CaptureFixture[str]) -> str:
    server_table(found)
    return " ".join(capsys.readouterr().out.split())


def test_devices_are_shown_with_their_machine_if_there_are_several(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = info(
        pb.Device(name="a/cuda:0", description="an H100", machine="a", state=READY),
        pb.Device(name="b/cuda:0", description="an H200", machine="b", state=pb.DEVICE_STATE_DRAINING),
    )
    text = shown(found, capsys)
    assert "a/cuda:0 an H100 (on a, ready)" in text
    assert "b/cuda:0 an H200 (on b, draining)" in text
    devices = json.loads(json.dumps(dataclasses.asdict(found)))["devices"]
    assert [(device["machine"], device["state"]) for device in devices] == [("a", "ready"), ("b", "draining")]


def test_the_only_machine_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = info(*(pb.Device(name=f"cuda:{i}", description="x", machine="a", state=READY) for i in (0, 1)))
    assert "cuda:0 x (ready)" in shown(found, capsys)


def test_a_state_that_this_client_does_not_know_is_shown_as_a_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = info(pb.Device(name="cpu", description="x", state=99))  # type: ignore[arg-type]
    assert "cpu x (unknown (99))" in shown(found, capsys)
