"""The fleet on a real Ray cluster on this machine: a head without devices, and two nodes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from support.ray_cluster import Gateway, RayCluster, gateway, ray_cluster, why_no_namespaces
from support.samples import coded, photo
from support.server_process import PATIENCE, is_alive, until

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


def node_with(cluster: RayCluster, server: Gateway, name: str) -> str:
    """Name of the machine on which a job is painted."""
    return job_of(server, name).device.partition("/")[0]
