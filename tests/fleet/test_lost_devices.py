"""A device that is gone does not end the server: the others go on, and it is tried again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from impasto_server.fleet import local
from impasto_server.fleet.local import LocalFleet
from impasto_server.fleet.local_process import worker_environment
from impasto_server.fleet.worker_process import ConfigurationError
from support.server_process import PATIENCE

TESTS = Path(__file__).parents[1]


def fleet_of(*devices: str) -> LocalFleet:
    arguments = ["--evaluation-time", "1"]
    return LocalFleet(
        devices,
        arguments,
        max_resident=1,
        worker_timeout=20,
        turn_timeout=60,
        worker_module="support.lost_device",
    )


async def until(fleet: LocalFleet, is_so: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not is_so():
            await fleet.change.wait()

    await asyncio.wait_for(wait(), PATIENCE)


@pytest.fixture
def lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that takes a device away."""
    monkeypatch.setenv("LOST_DEVICE", str(tmp_path / "lost"))
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return tmp_path / "lost"


def take_away(lost: Path) -> None:
    lost.write_text("worker-1.sock")


def give_back(lost: Path) -> None:
    lost.unlink()


def test_a_device_that_is_gone_is_lost_until_it_can_be_used_again(
    lost: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(local, "_LOST_SECONDS", 0.05)

    async def check() -> None:
        async with fleet_of("cpu", "cpu") as fleet:
            await until(fleet, lambda: len(fleet.ready_workers) == 2)
            second = fleet.ready_workers[1]
            assert second.info is not None
            take_away(lost)
            os.kill(second.info.process_id, signal.SIGKILL)
            await until(fleet, lambda: second.state == "lost")
            assert [worker.device for worker in fleet.ready_workers] == ["cpu:0"]
            assert fleet.takes_jobs
            assert not fleet.failed.done()
            assert fleet.trouble == "the device cpu:1 is lost: there is no device 'cuda:1' here"
            (machine,) = await fleet.machines()
            assert [device.state for device in machine.devices] == ["ready", "lost"]
            assert fleet.deaths[-1].how == "lost: there is no device 'cuda:1' here"
            give_back(lost)
            await until(fleet, lambda: second.ready)
            assert fleet.trouble == ""

    asyncio.run(check())
    assert "device is lost device=cpu:1" in caplog.text


def test_a_device_that_has_never_worked_ends_the_server(lost: Path) -> None:
    take_away(lost)

    async def check() -> None:
        async with fleet_of("cpu", "cpu") as fleet:
            with pytest.raises(ConfigurationError, match="there is no device 'cuda:1' here"):
                await asyncio.wait_for(asyncio.shield(fleet.failed), PATIENCE)

    asyncio.run(check())


def test_a_device_that_nobody_has_named_and_that_does_not_work_is_lost(lost: Path) -> None:
    take_away(lost)

    async def check() -> None:
        async with fleet_of("auto") as fleet:
            await until(fleet, lambda: fleet.takes_jobs)
            fleet._add_worker("cpu", "the second")
            await until(fleet, lambda: "the device the second is lost" in fleet.trouble)
            assert len(fleet.ready_workers) == 1
            assert not fleet.failed.done()

    asyncio.run(check())


def test_cuda_alone_is_the_first_gpu_by_its_name() -> None:
    async def check() -> None:
        fleet = fleet_of("cuda", "cuda:1")
        assert fleet._wanted == ["cuda:0", "cuda:1"]
        fleet.failed.cancel()

    asyncio.run(check())


def test_a_worker_gets_defaults_for_variables_that_the_server_does_not_have() -> None:
    found = worker_environment({"GOMP_SPINCOUNT": "7", "HOME": "/home/me"})
    assert found["GOMP_SPINCOUNT"] == "7"
    assert found["HOME"] == "/home/me"
    assert found["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert found["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"


@pytest.mark.parametrize("name", ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"])
def test_the_administrators_settings_of_the_allocator_stand_alone(name: str) -> None:
    own = {name: "backend:cudaMallocAsync"}
    assert {key: value for key, value in worker_environment(own).items() if "ALLOC" in key} == own
