"""The fleet on a real Ray cluster on this machine: a head without devices, and two nodes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from support.ray_cluster import Gateway, RayCluster, gateway, ray_cluster
from support.samples import coded, photo
from support.server_process import PATIENCE, until

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the test cluster needs Linux"),
    pytest.mark.timeout(300),
]

MOCK = ("--mock", "--mock-evaluation-time", "20ms", "--checkpoint-interval", "100ms")
TWO = ("--ray-worker", "cpu=1", "--ray-min-workers", "2", "--ray-max-workers", "2")
LONG = 100_000
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
            best = max((number for moment, number in self.times if moment < since), default=0)
            return [moment - since for moment, number in self.times if moment > since and number > best]

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
def test_a_job_moves_to_another_machine_within_15_seconds_when_its_machine_dies(
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
    killed = time.monotonic()
    dying.kill()
    assert max(watch.seconds_until_progress(killed) for watch in watches) < 15
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
        assert watch.seconds_until_progress(killed) < 15
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
        assert watch.seconds_until_progress(killed) < 15
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
        assert watch.seconds_until_progress(killed) < 1
        until(lambda: server.log.count("connected to a cluster"), lambda count, least=attempt: count == least)
    # The new broker does its work: the machine's worker is started again.
    (worker,) = cluster.nodes[node_of(server, name)].worker_pids()
    assert workers == cluster.worker_pids()
    killed = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    assert watch.seconds_until_progress(killed) < 15
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
    assert cluster.worker_pids() == workers
    server.start()
    server.ready(2)
    assert cluster.worker_pids() == workers
    assert server.log.count("worker taken up") == 2
    # Checkpoints are made every 100 ms, and an evaluation takes 20 ms.
    first = painted(server, name).progress.evaluation
    assert first > 30, first
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
