"""Faults: processes that die, and settings that cannot work."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.fleet.local import LocalFleet
from impasto_server.fleet.worker_process import ConfigurationError
from support.samples import stylize_request
from support.server_process import PATIENCE, ServerProcess, is_alive, running_server, until

CPU = ("--port", "0", "--device", "cpu", "--weights", "builtin")
ENDLESS = stylize_request(recipe=pb.Recipe(evaluations=100_000))


def begin(server: ServerProcess, request: pb.StylizeRequest = ENDLESS) -> grpc.Call:
    """A call whose job is being painted."""
    call = server.stub.Stylize(request, timeout=PATIENCE)
    assert any(response.event.HasField("progress") for response in call)
    return call


@pytest.mark.slow
def test_a_worker_that_is_killed_is_restarted_and_its_job_goes_on() -> None:
    with running_server(*CPU) as server:
        server.ready()
        recipe = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=300)
        request = stylize_request(recipe=recipe)
        call = begin(server, request)
        (worker,) = server.worker_pids()
        os.kill(worker, signal.SIGKILL)
        states = [response.event.job.state for response in call if response.event.HasField("job")]
        assert states == [pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING, pb.JOB_STATE_SUCCEEDED]
        info = server.ready()
        assert info.devices[0].restarts == 1
        assert info.unfinished_jobs == 0
        assert server.worker_pids() != [worker]


@pytest.mark.slow
def test_no_worker_outlives_a_gateway_that_is_killed() -> None:
    with running_server(*CPU) as server:
        server.ready()
        begin(server)
        (worker,) = server.worker_pids()
        (sockets,) = server.folder.glob("impasto-run-*")
        assert sockets.stat().st_mode & 0o777 == 0o700
        server.process.kill()
        until(lambda: is_alive(worker), lambda alive: not alive)
        assert list(server.folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_good_order(number: signal.Signals) -> None:
    with running_server(*CPU) as server:
        server.ready()
        call = begin(server)
        health = health_pb2_grpc.HealthStub(server.channel)
        watch = health.Watch(
            health_pb2.HealthCheckRequest(service="impasto.v1.StyleTransfer"), timeout=PATIENCE
        )
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        (worker,) = server.worker_pids()

        server.process.send_signal(number)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        *_, last = call
        assert last.event.HasField("resume")
        assert server.process.wait(PATIENCE) == 0
        assert not is_alive(worker)
        assert list(server.folder.iterdir()) == []


@pytest.mark.slow
def test_a_second_signal_ends_everything_at_once() -> None:
    with running_server(*CPU) as server:
        server.ready()
        begin(server)
        (worker,) = server.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        server.process.send_signal(signal.SIGINT)
        until(lambda: "shutting down" in server.log, bool)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 128 + signal.SIGINT
        until(lambda: is_alive(worker), lambda alive: not alive)
        assert list(server.folder.iterdir()) == []


def test_a_signal_while_the_worker_starts_ends_the_server() -> None:
    with running_server(*CPU) as server:
        call = server.stub.Stylize(stylize_request(), timeout=PATIENCE)
        assert next(call).event.job.state == pb.JOB_STATE_QUEUED
        server.process.terminate()
        *_, last = call
        assert last.event.HasField("resume")
        assert server.process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_a_private_server_ends_with_its_stdin() -> None:
    with running_server("--private", "--device", "cpu", "--weights", "builtin") as server:
        server.ready()
        begin(server)
        (worker,) = server.worker_pids()
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert server.process.wait(PATIENCE) == 0
        assert not is_alive(worker)


@pytest.mark.slow
def test_health_is_not_serving_while_no_worker_is_ready() -> None:
    with running_server(*CPU) as server:
        health = health_pb2_grpc.HealthStub(server.channel)
        request = health_pb2.HealthCheckRequest(service="")
        assert health.Check(request, timeout=PATIENCE).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert server.info().devices[0].state == pb.DEVICE_STATE_STARTING
        assert not server.info().HasField("network")
        server.ready()
        until(
            lambda: health.Check(request, timeout=PATIENCE).status,
            lambda status: status == health_pb2.HealthCheckResponse.SERVING,
        )


@pytest.mark.slow
def test_jobs_are_spread_over_the_devices() -> None:
    with running_server("--port", "0", "--device", "cpu,cpu", "--weights", "builtin") as server:
        until(server.info, lambda info: len(info.devices) == 2)
        server.ready()
        calls = [begin(server) for _ in range(2)]
        assert [device.resident_jobs for device in server.info().devices] == [1, 1]
        for call in calls:
            call.cancel()


@pytest.mark.slow
def test_auto_is_a_device_by_name() -> None:
    with running_server("--port", "0", "--device", "auto", "--weights", "builtin") as server:
        names = [device.name for device in server.ready().devices]
        assert names
        assert "auto" not in names


def test_a_file_that_is_not_weights_ends_the_server_with_a_message() -> None:
    with running_server("--private", "--device", "cpu", "--weights", __file__) as server:
        assert server.process.wait(PATIENCE) == 2
        last_line = server.log.splitlines()[-1]
        assert last_line.startswith("impasto-server: ")
        assert "cannot be read as weights" in last_line


def test_a_worker_refuses_a_device_that_torch_does_not_find(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "impasto_server.worker", "--socket", str(tmp_path / "socket")]
    command += ["--device", "cuda:97", "--weights", "builtin", "--max-resident", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        said = worker.stdout.read()
        assert worker.wait(PATIENCE) == os.EX_CONFIG
    assert "there is no device 'cuda:97' here; there is " in said
    there = said.strip().rpartition("there is ")[2].split(", ")
    assert there[-1] == "cpu"
    assert len(set(there)) == len(there)


def test_a_device_that_the_worker_refuses_ends_the_fleet_with_its_message() -> None:
    async def run() -> None:
        fleet = LocalFleet(
            ["cuda:97"], ["--weights", "builtin"], max_resident=1, worker_timeout=20, turn_timeout=60
        )
        async with fleet:
            with pytest.raises(ConfigurationError, match="there is no device 'cuda:97' here; there is "):
                await asyncio.wait_for(asyncio.shield(fleet.failed), PATIENCE)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--device", "cpu,auto"), "give auto, or a comma-separated list of cpu, mps, cuda and cuda:N"),
        (("--device", "cpu,"), "give auto, or a comma-separated list of cpu, mps, cuda and cuda:N"),
        (("--host", "0.0.0.0"), "add --insecure"),
    ],
)
def test_invalid_settings_are_refused_before_the_server_listens(
    arguments: tuple[str, ...], sentence: str
) -> None:
    command = [sys.executable, "-m", "impasto_server", "serve", "--port", "0", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert sentence in ended.stderr.splitlines()[-1]


def test_a_port_in_use_is_refused_with_a_plain_message() -> None:
    with running_server(*CPU) as server:
        port = server.address.rpartition(":")[2]
        command = [sys.executable, "-m", "impasto_server", "serve", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert ended.returncode == 2
        assert ended.stderr.splitlines()[-1] == (
            f"impasto-server: port {port} of 127.0.0.1 is in use; choose another --port, or stop the server "
            "that uses it"
        )


def test_an_address_of_another_machine_is_refused_with_a_plain_message() -> None:
    # 192.0.2.0/24 is reserved for documentation.
    command = [sys.executable, "-m", "impasto_server", "serve", "--port", "0", "--host", "192.0.2.1"]
    ended = subprocess.run(
        [*command, "--insecure"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "impasto-server: --host 192.0.2.1 is not an address of this machine; give one that is"
    )
