from __future__ import annotations

import asyncio
import re
import socket
import urllib.request

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.gateway import metrics
from support.fake_fleet import FakeFleet
from support.samples import stylize_request
from support.server_process import PATIENCE, running_server, until

CPU = ("--private", "--device", "cpu", "--weights", "builtin", "--metrics-port", "0")


@pytest.mark.slow
def test_the_metrics_count_jobs_and_calls() -> None:
    with running_server(*CPU) as server:
        address = until(lambda: re.search(r"event=metrics address=(\S+)", server.log), bool)
        assert address is not None

        def value(sample: str) -> float | None:
            with urllib.request.urlopen(f"http://{address[1]}/metrics", timeout=PATIENCE) as answer:
                text = answer.read().decode()
            found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
            return float(found[1]) if found else None

        list(server.stub.Stylize(stylize_request(), timeout=PATIENCE))
        assert value('impasto_jobs_ended_total{reason="",state="succeeded"}') == 1
        assert value('impasto_jobs{state="running"}') == 0
        assert (value('impasto_device_seconds_total{tenant=""}') or 0) > 0
        assert value("impasto_queue_seconds_count") == 1
        assert value("impasto_first_preview_seconds_count") == 1
        assert (value('impasto_previews_total{what="sent"}') or 0) >= 1
        assert value("impasto_watchers") == 0
        assert value("impasto_worker_restarts") == 0
        assert value('impasto_call_seconds_count{code="OK",method="Stylize"}') == 1
        call = server.stub.Stylize(pb.StylizeRequest(), timeout=PATIENCE)
        assert call.code().name == "INVALID_ARGUMENT"
        assert value('impasto_call_seconds_count{code="INVALID_ARGUMENT",method="Stylize"}') == 1


@pytest.mark.parametrize("said", [b"", b"GET /metrics HT"])
def test_a_silent_connection_for_metrics_is_closed_without_a_log_line(
    said: bytes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics, "_PATIENCE", 0.2)
    port, end = metrics.Metrics().serve("127.0.0.1", 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as silent:
            silent.sendall(said)
            assert silent.recv(1) == b""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            assert b"impasto_watchers" in answer.read()
    finally:
        end()
    assert capfd.readouterr().err == ""


def test_devices_are_counted_by_machine_and_state() -> None:
    async def scrape() -> dict[tuple[str, ...], float]:
        counts, fleet = metrics.Metrics(), FakeFleet()
        fleet.drain("render2")
        counts.fleet(fleet)
        found = await asyncio.to_thread(lambda: list(counts.registry.collect()))
        fleet.broken = True
        # The last answer stays.
        assert await asyncio.to_thread(lambda: list(counts.registry.collect())) == found
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in found
            if family.name in ("impasto_devices", "impasto_device_jobs", "impasto_workers_wanted")
            for sample in family.samples
        }

    found = asyncio.run(scrape())
    assert found["impasto_devices", "render1", "ready"] == 1
    assert found["impasto_devices", "render1", "leaving"] == 0
    assert found["impasto_devices", "render2", "leaving"] == 1
    assert found["impasto_devices", "render3", "ready"] == 0
    assert found["impasto_device_jobs", "render2", "render2/cuda:0"] == 2
    assert found["impasto_workers_wanted",] == 3


def test_metrics_are_served_while_the_fleet_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_FLEET_SECONDS", 0.1)

    async def register() -> metrics.Metrics:
        counts = metrics.Metrics()
        counts.fleet(FakeFleet())
        # In this thread the event loop cannot answer.
        assert counts.registry.get_sample_value("impasto_workers_wanted") == 0
        return counts

    counts = asyncio.run(register())
    # The event loop has ended.
    assert counts.registry.get_sample_value("impasto_workers_wanted") == 0
