"""The fleet on a real Ray cluster on this machine: a head without devices, and two nodes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from impasto.python_programs import module_command
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.identity import Identity
from impasto_server.v1 import worker_pb2, worker_pb2_grpc
from support.ray_cluster import Gateway, RayCluster, gateway, ray_cluster, why_no_namespaces
from support.samples import coded, photo
from support.server_process import PATIENCE, job_starts, until

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the test cluster needs Linux"),
    pytest.mark.timeout(300),
]

MOCK = ("--mock", "--mock-evaluation-time", "20ms", "--checkpoint-interval", "100ms")
FAST = ("--mock", "--mock-evaluation-time", "10ms", "--checkpoint-interval", "100ms")
TWO = ("--ray-worker", "cpu=1", "--ray-min-workers", "2", "--ray-max-workers", "2")
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
"""Without it, Ray makes a token in the home folder."""
LONG = 100_000
_ECHO_SECONDS = 0.3
FINAL = (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster("n1", "n2") as running:
        yield running


@pytest.fixture
def serve(cluster: RayCluster) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways of the cluster; at the end of the test, the cluster is as it was before."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Gateway:
            settings = ("--ray", cluster.address, *arguments)
            return stack.enter_context(gateway(*settings, **cluster.environment))

        yield start
    # After a test that failed, perhaps not all nodes are there.
    for node in cluster.all_nodes():
        if node.namespace:
            node.heal()
        if not node.pids("raylet/raylet"):
            node.start()
    cluster.forget_actors()


def create(server: Gateway, evaluations: int, **recipe: int) -> str:
    """Creates a job on a tiny picture, and returns its name."""
    spec = pb.JobSpec(
        content=pb.Image(encoded=coded(photo(32, 24))),
        styles=[pb.Style(image=pb.Image(encoded=coded(photo(20, 28))))],
        recipe=pb.Recipe(evaluations=evaluations, **recipe),
    )
    return server.stub.CreateJob(pb.CreateJobRequest(spec=spec), timeout=PATIENCE, wait_for_ready=True).name


def job_of(server: Gateway, name: str) -> pb.Job:
    return server.stub.GetJob(pb.GetJobRequest(name=name), timeout=PATIENCE, wait_for_ready=True)


def painted(server: Gateway, name: str, evaluation: int = 1) -> pb.Job:
    """Waits until a job has made so many evaluations."""
    return until(
        lambda: job_of(server, name),
        lambda job: job.progress.evaluation >= evaluation and job.state == pb.JOB_STATE_RUNNING,
    )


def final(server: Gateway, name: str) -> pb.Job:
    """Waits until a job is final."""
    return until(lambda: job_of(server, name), lambda job: job.state in FINAL)


def cancel(server: Gateway, *names: str) -> None:
    for name in names:
        server.stub.CancelJob(pb.CancelJobRequest(name=name), timeout=PATIENCE)


def result(server: Gateway, name: str) -> bytes:
    chunks = server.stub.DownloadImage(pb.DownloadImageRequest(result_of=name), timeout=PATIENCE)
    return b"".join(chunk.data for chunk in chunks)


class Watch(threading.Thread):
    """Watches a job in one stream.

    Attributes:
        times: when an evaluation was reported, and its number.
        error: what broke the stream.
        last: the job as the last event had it.
    """

    def __init__(self, server: Gateway, name: str) -> None:
        super().__init__(daemon=True)
        self.times: list[tuple[float, int]] = []
        self.error: grpc.RpcError | None = None
        self.last = pb.Job()
        self._stream = server.stub.WatchJob(pb.WatchJobRequest(name=name))
        self.start()

    def run(self) -> None:
        try:
            for event in self._stream:
                if event.HasField("progress"):
                    self.times.append((time.monotonic(), event.progress.evaluation))
                elif event.HasField("job"):
                    self.last.CopyFrom(event.job)
        except grpc.RpcError as error:
            self.error = error

    def seconds_until_progress(self, since: float) -> float:
        """Waits for an evaluation that is later than any before a moment; returns the time from then."""

        def after() -> list[float]:
            # What was on its way may still arrive.
            echo = since + _ECHO_SECONDS
            best = max((number for moment, number in self.times if moment < since), default=0)
            return [moment - since for moment, number in self.times if moment > echo and number > best]

        return until(after, bool)[0]

    def ended(self) -> pb.Job:
        """Waits for the end of the stream."""
        self.join(PATIENCE)
        assert not self.is_alive()
        assert self.error is None
        return self.last


def node_of(server: Gateway, name: str) -> str:
    """Name of the machine on which a job is painted."""
    return job_of(server, name).device.partition("/")[0]


@pytest.mark.slow
def test_a_job_moves_to_another_machine_when_its_machine_dies(
    cluster: RayCluster, serve: Callable[..., Gateway]
) -> None:
    server = serve(*MOCK, *TWO)
    server.ready(2)
    names = [create(server, LONG) for _ in range(2)]
    for name in names:
        painted(server, name, 20)
    dying = cluster.nodes[node_of(server, names[0])]
    watches = [Watch(server, name) for name in names]
    time.sleep(1)
    dying.kill()
    killed = time.monotonic()
    assert max(watch.seconds_until_progress(killed) for watch in watches) < PATIENCE
    assert {node_of(server, name) for name in names} == set(cluster.nodes) - {dying.name}
    dying.start()
    server.ready(2)
    cancel(server, *names)
    assert [watch.ended().state for watch in watches] == [pb.JOB_STATE_CANCELLED] * 2
    evaluations = [number for watch in watches for _, number in watch.times]
    assert max(evaluations) > 20


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_its_job_goes_on(
    cluster: RayCluster, serve: Callable[..., Gateway]
) -> None:
    server = serve(*MOCK, *TWO)
    server.ready(2)
    name = create(server, LONG)
    painted(server, name, 20)
    watch = Watch(server, name)
    for _ in range(2):
        (worker,) = cluster.nodes[node_of(server, name)].worker_pids()
        killed = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        assert watch.seconds_until_progress(killed) < PATIENCE
    cancel(server, name)
    assert watch.ended().state == pb.JOB_STATE_CANCELLED


@pytest.mark.slow
def test_an_actor_that_is_killed_is_started_again_and_its_job_goes_on(
    cluster: RayCluster, serve: Callable[..., Gateway]
) -> None:
    server = serve(*MOCK, *TWO)
    server.ready(2)
    name = create(server, LONG)
    painted(server, name, 20)
    watch = Watch(server, name)
    # More often than the times that a job may kill its worker.
    for _ in range(4):
        server.ready(2)
        (actor,) = cluster.nodes[node_of(server, name)].actor_pids()
        killed = time.monotonic()
        os.kill(actor, signal.SIGKILL)
        assert watch.seconds_until_progress(killed) < PATIENCE
    cancel(server, name)
    assert watch.ended().state == pb.JOB_STATE_CANCELLED


@pytest.mark.slow
def test_jobs_go_on_when_the_broker_dies(cluster: RayCluster, serve: Callable[..., Gateway]) -> None:
    server = serve(*MOCK, *TWO)
    server.ready(2)
    name = create(server, LONG)
    painted(server, name)
    workers = cluster.worker_pids()
    watch = Watch(server, name)
    for attempt in (2, 3):
        broker = server.broker_pid()
        killed = time.monotonic()
        os.kill(broker, signal.SIGKILL)
        assert watch.seconds_until_progress(killed) < PATIENCE
        until(lambda: server.log.count("connected to a cluster"), lambda count, least=attempt: count == least)
    # The new broker does its work: the machine's worker is started again.
    (worker,) = cluster.nodes[node_of(server, name)].worker_pids()
    assert workers == cluster.worker_pids()
    killed = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    assert watch.seconds_until_progress(killed) < PATIENCE
    server.ready(2)
    cancel(server, name)
    assert watch.ended().state == pb.JOB_STATE_CANCELLED


@pytest.mark.slow
@pytest.mark.parametrize("gracefully", [False, True], ids=["killed", "ended in good order"])
def test_a_new_gateway_takes_up_the_workers_of_the_last(
    cluster: RayCluster, serve: Callable[..., Gateway], gracefully: bool
) -> None:
    server = serve(*MOCK, *TWO)
    server.ready(2)
    name = create(server, LONG)
    painted(server, name, 50)
    workers = cluster.worker_pids()
    if gracefully:
        assert server.end() == 0
    else:
        server.kill()
    time.sleep(1)
    # Workers live on, and none is started: there is no machine for it that the new head knows.
    living = set(cluster.worker_pids())
    assert living
    assert living <= set(workers)
    server.start()
    server.ready(2)
    assert cluster.worker_pids() == workers
    assert server.log.count("worker taken up") == 2
    painted(server, name)
    assert job_starts(server.log, name)[-1] > 0, "it began anew"
    cancel(server, name)


@pytest.mark.slow
def test_a_gateway_with_another_data_folder_does_not_see_the_workers_of_others(
    cluster: RayCluster, serve: Callable[..., Gateway]
) -> None:
    first = serve(*MOCK, "--ray-worker", "cpu=1")
    first.ready(1)
    second = serve(*MOCK, "--ray-worker", "cpu=1")
    second.ready(1)
    machines = [device.machine for server in (first, second) for device in server.info().devices]
    assert sorted(machines) == ["n1", "n2"]
    job = final(second, create(second, 3))
    assert job.state == pb.JOB_STATE_SUCCEEDED


def test_a_fleet_on_ray_paints_the_same_picture_as_a_local_fleet() -> None:
    # Ray's sockets lie in it: the path must be short.
    with tempfile.TemporaryDirectory(prefix="ir-", dir="/tmp") as folder:
        paint = ("--private", "--weights", "builtin")
        with (
            gateway(*paint, "--device", "cpu") as local,
            gateway(*paint, "--ray", "local", "--ray-worker", "cpu=1", RAY_TMPDIR=folder, **TOKEN) as on_ray,
        ):
            pictures = []
            for server in (local, on_ray):
                server.ready()
                name = create(server, 6)
                assert final(server, name).state == pb.JOB_STATE_SUCCEEDED
                pictures.append(result(server, name))
    assert pictures[0] == pictures[1]


@pytest.mark.slow
def test_only_the_gateway_can_call_a_worker(cluster: RayCluster, serve: Callable[..., Gateway]) -> None:
    server = serve(*MOCK, "--ray-worker", "cpu=1")
    server.ready()
    (found,) = cluster.folder.glob("impasto-run-*/worker.contact")
    contact = json.loads(found.read_text())
    own = Identity.kept_in(server.data_folder / "ray")
    stranger = Identity.new()
    theirs = contact["certificate"].encode()

    def call(channel: grpc.Channel) -> grpc.StatusCode:
        with channel:
            try:
                stub = worker_pb2_grpc.WorkerServiceStub(channel)
                stub.GetWorkerInfo(worker_pb2.GetWorkerInfoRequest(), timeout=10)
            except grpc.RpcError as error:
                return error.code()  # type: ignore[attr-defined]
        return grpc.StatusCode.OK

    def secure(key: bytes | None, certificate: bytes | None, trusted: bytes = theirs) -> grpc.StatusCode:
        credentials = grpc.ssl_channel_credentials(trusted, key, certificate)
        options = [("grpc.ssl_target_name_override", "impasto")]
        return call(grpc.secure_channel(contact["address"], credentials, options))

    assert secure(own.key, own.certificate) == grpc.StatusCode.OK
    assert secure(None, None) == grpc.StatusCode.UNAVAILABLE
    assert secure(stranger.key, stranger.certificate) == grpc.StatusCode.UNAVAILABLE
    assert call(grpc.insecure_channel(contact["address"])) == grpc.StatusCode.UNAVAILABLE
    # Nor does the gateway accept another worker in this one's place.
    assert secure(own.key, own.certificate, stranger.certificate) == grpc.StatusCode.UNAVAILABLE


@pytest.mark.slow
def test_a_job_that_kills_its_worker_again_and_again_fails(
    cluster: RayCluster, serve: Callable[..., Gateway]
) -> None:
    server = serve("--mock", "--mock-evaluation-time", "20s", *TWO)
    server.ready(2)
    name = create(server, LONG)
    for _ in range(3):
        job = until(lambda: job_of(server, name), lambda job: job.state == pb.JOB_STATE_RUNNING)
        time.sleep(1)
        (worker,) = cluster.nodes[job.device.partition("/")[0]].worker_pids()
        os.kill(worker, signal.SIGKILL)
        until(lambda: job_of(server, name), lambda job: job.state != pb.JOB_STATE_RUNNING)
    assert final(server, name).state == pb.JOB_STATE_FAILED


@pytest.mark.slow
def test_jobs_go_on_while_the_head_is_started_anew(
    cluster: RayCluster, serve: Callable[..., Gateway]
) -> None:
    server = serve(*MOCK, *TWO)
    server.ready(2)
    name = create(server, LONG)
    painted(server, name, 20)
    watch = Watch(server, name)
    cluster.head.kill()
    assert watch.seconds_until_progress(time.monotonic()) < PATIENCE
    cluster.head.start()
    # The workers live until Ray on their machines notices that the new head does not know them, and ends. On
    # a busy machine that can be before the gateway is connected again.
    connected(server, 2)
    # Without a database of its own, the head has forgotten the nodes. They have to be started again.
    for node in cluster.nodes.values():
        node.kill()
    for node in cluster.nodes.values():
        node.begin()
    for node in cluster.nodes.values():
        node.started()
    assert watch.seconds_until_progress(time.monotonic()) < PATIENCE
    server.ready(2)
    cancel(server, name)
    assert watch.ended().state == pb.JOB_STATE_CANCELLED
    assert server.process.poll() is None


def connected(server: Gateway, times: int) -> None:
    """Waits until the gateway has connected to a cluster so many times. Ray needs up to a minute to give up
    the head that it had.
    """
    until(lambda: server.log, lambda log: log.count("connected to a cluster") >= times, patience=3 * PATIENCE)


@pytest.mark.slow
@pytest.mark.skipif(bool(why_no_namespaces()), reason=why_no_namespaces())
def test_a_job_moves_while_its_machine_is_cut_off_and_the_machine_is_used_again_afterwards(
    cluster: RayCluster, serve: Callable[..., Gateway]
) -> None:
    server = serve(*FAST, *TWO, "--worker-timeout", "8s")
    server.ready(2)
    names = [create(server, 1000) for _ in range(2)]
    for name in names:
        painted(server, name, 20)
    machine = node_of(server, names[0])
    watches = [Watch(server, name) for name in names]
    time.sleep(1)
    cut = time.monotonic()
    cluster.nodes[machine].cut()
    elsewhere = watches[0].seconds_until_progress(cut)
    print(f"elsewhere after {elsewhere:.1f} s")
    time.sleep(max(0.0, cut + 20 - time.monotonic()))
    assert node_of(server, names[0]) != machine
    cluster.nodes[machine].heal()
    assert elsewhere < PATIENCE
    server.ready(2)
    assert [watch.ended().state for watch in watches] == [pb.JOB_STATE_SUCCEEDED] * 2
    assert result(server, names[0]) == result(server, names[1])
    late = [create(server, 300) for _ in range(4)]
    devices = {final(server, name).device for name in late}
    assert len(devices) == 2


@pytest.mark.slow
def test_there_is_a_worker_for_each_job_up_to_the_maximum_and_idle_ones_are_given_back(
    cluster: RayCluster, serve: Callable[..., Gateway]
) -> None:
    limits = ("--ray-min-workers", "0", "--ray-max-workers", "2", "--ray-idle", "3s")
    server = serve(*MOCK, "--ray-worker", "cpu=1", *limits)
    time.sleep(4)
    assert not cluster.worker_pids()
    first = create(server, LONG)
    painted(server, first)
    assert len(cluster.worker_pids()) == 1
    others = [create(server, LONG) for _ in range(2)]
    until(cluster.worker_pids, lambda pids: len(pids) == 2)
    # Jobs move to the new worker.
    until(lambda: {node_of(server, name) for name in (first, *others)}, lambda nodes: nodes == {"n1", "n2"})
    time.sleep(5)
    # Workers with jobs stay, and there are no more than the maximum.
    assert len(cluster.worker_pids()) == 2
    cancel(server, first, *others)
    until(cluster.worker_pids, lambda pids: not pids)
    for node in cluster.nodes.values():
        until(node.actor_pids, lambda pids: not pids)
    again = create(server, 3)
    assert final(server, again).state == pb.JOB_STATE_SUCCEEDED


@pytest.mark.slow
def test_the_jobs_of_a_drained_machine_move_and_no_evaluation_is_lost(
    cluster: RayCluster, serve: Callable[..., Gateway]
) -> None:
    # No checkpoints but those that are made when a job moves.
    server = serve("--mock", "--mock-evaluation-time", "20ms", "--checkpoint-interval", "1h", *TWO)
    server.ready(2)
    names = [create(server, LONG) for _ in range(2)]
    for name in names:
        painted(server, name, 50)
    watches = [Watch(server, name) for name in names]
    machine = node_of(server, names[0])
    fleet("drain", machine, server)
    until(lambda: {node_of(server, name) for name in names}, lambda nodes: machine not in nodes)
    until(cluster.nodes[machine].worker_pids, lambda pids: not pids)
    for name, watch in zip(names, watches, strict=True):
        painted(server, name)
        watch.seconds_until_progress(time.monotonic())
        evaluations = [number for _, number in watch.times]
        assert evaluations == sorted(evaluations)
    fleet("undrain", machine, server)
    server.ready(2)
    assert cluster.nodes[machine].worker_pids()


@pytest.mark.slow
def test_a_machine_that_ray_drains_gets_rid_of_its_jobs(
    cluster: RayCluster, serve: Callable[..., Gateway]
) -> None:
    server = serve("--mock", "--mock-evaluation-time", "20ms", "--checkpoint-interval", "1h", *TWO)
    server.ready(2)
    name = create(server, LONG)
    painted(server, name, 50)
    machine = node_of(server, name)
    watch = Watch(server, name)
    program = (
        "import ray\n"
        f"ray.init({cluster.address!r}, log_to_driver=False, logging_level='ERROR')\n"
        f"print(next(node['NodeID'] for node in ray.nodes() if node['NodeName'] == {machine!r}))\n"
    )
    environment = {**os.environ, **cluster.environment}
    node = subprocess.run(
        [sys.executable, "-c", program], check=True, env=environment, stdout=subprocess.PIPE, text=True
    )
    subprocess.run(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", cluster.address),
            *("--node-id", node.stdout.strip(), "--reason", "DRAIN_NODE_REASON_PREEMPTION"),
            *("--reason-message", "test", "--deadline-remaining-seconds", "30"),
        ],
        check=True,
        env=environment,
    )
    until(lambda: node_of(server, name), lambda device: device not in ("", machine))
    watch.seconds_until_progress(time.monotonic())
    evaluations = [number for _, number in watch.times]
    assert evaluations == sorted(evaluations)
    # The drained node ends; a new one takes its place.
    cluster.nodes[machine].start()
    server.ready(2)
    cancel(server, name)


@pytest.mark.slow
def test_a_gateway_waits_for_a_cluster_and_says_so() -> None:
    with gateway(*MOCK, "--ray", "127.0.0.1:9", "--ray-worker", "cpu=1") as server:
        assert not server.info().devices
        until(lambda: server.log, lambda log: "cluster does not answer yet" in log)
        job = job_of(server, create(server, 3))
        assert job.state == pb.JOB_STATE_QUEUED
        assert server.end() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ray-min-workers", "3", "--ray-max-workers", "2"), "--ray-max-workers 2 is less than"),
        (("--device", "cuda:1"), "give --device auto, cpu or cuda"),
        (("--ray-worker", "memory=1GiB"), "a worker paints on a GPU or on cores"),
    ],
)
def test_settings_that_do_not_fit_together_end_the_server(arguments: tuple[str, ...], message: str) -> None:
    command = [*module_command("impasto_server"), "serve", "--port", "0", "--private", "--ray", "127.0.0.1:9"]
    ended = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
    )
    assert ended.returncode == 2, ended
    assert message in ended.stderr.replace("\n", " ")


@pytest.mark.slow
def test_a_server_without_valid_weights_ends_and_says_why(cluster: RayCluster) -> None:
    command = [
        *module_command("impasto_server"),
        "serve",
        "--port",
        "0",
        "--private",
        "--ray-worker",
        "cpu=1",
    ]
    ended = subprocess.run(
        [*command, "--ray", cluster.address, "--weights", "/nowhere/weights.pth"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **cluster.environment},
    )
    assert ended.returncode != 0
    assert "/nowhere/weights.pth" in ended.stderr
    cluster.forget_actors()


@pytest.mark.slow
def test_a_server_says_that_ray_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('no Ray here')\n")
    command = [*module_command("impasto_server"), "serve", "--port", "0", "--ray", "auto"]
    ended = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert ended.returncode == 2, ended
    assert "pip install 'impasto-server[ray]'" in ended.stderr


@pytest.mark.slow
def test_a_gateway_that_is_no_part_of_the_cluster_connects_as_a_client() -> None:
    with ray_cluster("n1", head_apart=True) as apart:
        settings = ("--ray", apart.client_address, "--ray-worker", "cpu=1")
        with gateway(*MOCK, *settings, **apart.environment) as server:
            server.ready()
            watch = Watch(server, create(server, 100))
            assert watch.ended().state == pb.JOB_STATE_SUCCEEDED
            assert watch.last.device == "n1/mock"


@pytest.mark.slow
def test_an_actor_and_its_worker_end_when_no_gateway_calls(cluster: RayCluster) -> None:
    program = f"""
import pathlib, ray, time
from impasto_server.fleet.on_ray.actor import WorkerActor
from impasto_server.identity import Identity
ray.init({cluster.address!r}, log_to_driver=False, logging_level="ERROR", namespace="tests")
actor = ray.remote(WorkerActor).options(name="unused", lifetime="detached", num_cpus=1, max_restarts=-1)
actor = actor.remote(unused_seconds=3.0)
certificate = Identity.new().certificate.decode()
order = dict(module="impasto_server.mock", arguments=["--max-resident", "8", "--evaluation-time", "1"])
order |= dict(device="auto", cpus=1, certificate=certificate)
name = ray.get(actor.start.remote(order, ""))["name"]
print(bool(ray.get(actor.contact.remote(name))))
"""
    made = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **cluster.environment},
    )
    assert made.stdout == "True\n"
    nodes = cluster.nodes.values()
    until(lambda: [pid for node in nodes for pid in node.worker_pids()], lambda pids: not pids)
    until(lambda: [pid for node in nodes for pid in node.actor_pids()], lambda pids: not pids)
    assert not list(cluster.folder.glob("impasto-run-*"))


def fleet(what: str, machine: str, server: Gateway) -> None:
    """Runs `impasto-server fleet`."""
    command = [*module_command("impasto_server"), "fleet", what, machine]
    subprocess.run([*command, "--data-dir", str(server.data_folder)], check=True, timeout=PATIENCE)
