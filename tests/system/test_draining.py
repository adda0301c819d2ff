"""A machine of a Ray cluster is drained with `impasto-server fleet` while it paints."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto.python_programs import module_command
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.gateway.admin_client import AdminClient, find
from support.samples import stylize_request
from support.server_process import PATIENCE, ServerProcess, running_server, until

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs Ray")

MOCK = ("--mock", "--port", "0", "--mock-evaluation-time", "5ms", "--checkpoint-interval", "1s")


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def server(data: Path) -> Iterator[ServerProcess]:
    """A mock server on two machines, each with one worker."""
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        cluster.add_node(num_cpus=1)
        ray = ("--ray", cluster.address, "--ray-min-workers", "2", "--ray-worker", "cpu=1")
        with running_server(*MOCK, *ray, "--data-dir", str(data)) as running:
            until(running.info, lambda info: [d.state for d in info.devices] == [pb.DEVICE_STATE_READY] * 2)
            yield running
    finally:
        cluster.shutdown()


@pytest.mark.slow
def test_the_jobs_of_a_drained_machine_go_on_elsewhere(server: ServerProcess, data: Path) -> None:
    request = pb.CreateJobRequest(spec=stylize_request(recipe=pb.Recipe(evaluations=3000)).spec)
    jobs = {server.stub.CreateJob(request, timeout=PATIENCE).name for _ in range(2)}

    def painted_by() -> dict[str, pb.Job]:
        found = [server.stub.GetJob(pb.GetJobRequest(name=name), timeout=PATIENCE) for name in jobs]
        return {job.device: job for job in found if job.progress.evaluation > 100}

    by_device = until(painted_by, lambda found: len(found) == 2)
    drained, other = [device.machine for device in server.info().devices]
    (moved,) = [job for device, job in by_device.items() if device.startswith(f"{drained}/")]

    arguments = [*module_command("impasto_server"), "fleet", "drain", drained, "--wait"]
    done = subprocess.run(
        [*arguments, "--data-dir", str(data)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [f"{drained} gets no more jobs. 1 job will move to {other}.", f"{drained} has no jobs."],
    )
    start = rf"job started job={moved.name} device={other}/mock evaluation=(\d+)"
    found = until(lambda: re.search(start, server.log), bool)
    assert found is not None
    assert int(found[1]) >= moved.progress.evaluation

    with AdminClient(data) as client:
        here = until(lambda: find(client.machines(), drained), lambda machine: machine.state == "drained")
        assert here is not None
        assert not here.devices
        client.undrain(drained)
        until(lambda: find(client.machines(), drained), lambda machine: machine.state == "ready")

    shown = subprocess.run(
        [*module_command("impasto_server"), "fleet", "--json", "--data-dir", str(data)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    machines = json.loads(shown.stdout)["machines"]
    assert {machine["name"]: sum(d["jobs"] for d in machine["devices"]) for machine in machines} == {
        drained: 0,
        other: 2,
    }
