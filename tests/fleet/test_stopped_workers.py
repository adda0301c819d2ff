"""A stopped worker (SIGSTOP): no call of a real server waits for it, and its jobs go on."""

from __future__ import annotations

import os
import signal
import time

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc_health.v1 import health_pb2, health_pb2_grpc

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import stylize_request
from support.server_process import PATIENCE, ServerProcess, is_alive, running_server, until

CPU = ("--port", "0", "--device", "cpu", "--weights", "builtin")
ENDLESS = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=100_000)
SOON = 20.0
"""Seconds within which a call has to be answered where the worker would be waited for far longer."""


def create(server: ServerProcess, recipe: pb.Recipe = ENDLESS) -> str:
    request = pb.CreateJobRequest(spec=stylize_request(recipe=recipe).spec)
    return server.stub.CreateJob(request, timeout=PATIENCE).name


def running(server: ServerProcess, name: str) -> pb.Job:
    def get() -> pb.Job:
        return server.stub.GetJob(pb.GetJobRequest(name=name), timeout=PATIENCE)

    return until(get, lambda job: job.state == pb.JOB_STATE_RUNNING)


def stop_worker(server: ServerProcess) -> int:
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    return worker


@pytest.mark.slow
def test_no_call_waits_for_a_stopped_worker() -> None:
    with running_server(*CPU, "--worker-timeout", "10min") as server:
        server.ready()
        titled, cancelled, paused, steered = names = [create(server) for _ in range(4)]
        for name in names:
            running(server, name)
        worker = stop_worker(server)
        try:
            request = pb.UpdateJobRequest(update_mask=FieldMask(paths=["recipe.content_weight"]))
            request.job.name, request.job.recipe.content_weight = steered, 3.0
            steering = server.stub.UpdateJob.future(request, timeout=PATIENCE)
            request = pb.UpdateJobRequest(update_mask=FieldMask(paths=["title", "priority"]))
            request.job.title, request.job.priority = "bird", 3
            for name in (titled, steered):
                request.job.name = name
                assert server.stub.UpdateJob(request, timeout=SOON).title == "bird"
            pause = pb.PauseJobRequest(name=paused)
            assert server.stub.PauseJob(pause, timeout=SOON).state == pb.JOB_STATE_PAUSED
            for name in (cancelled, steered):
                cancel = pb.CancelJobRequest(name=name)
                assert server.stub.CancelJob(cancel, timeout=SOON).state == pb.JOB_STATE_CANCELLED
            server.stub.DeleteJob(pb.DeleteJobRequest(name=titled), timeout=SOON)
            # The worker's job is final by now.
            assert steering.exception(SOON).code() == grpc.StatusCode.FAILED_PRECONDITION
        finally:
            os.kill(worker, signal.SIGKILL)


@pytest.mark.slow
def test_a_stopped_worker_is_replaced_and_its_job_goes_on_without_blame() -> None:
    with running_server(*CPU, "--worker-timeout", "4s", "--checkpoint-interval", "50ms") as server:
        server.ready()
        name = create(server, pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=400))
        running(server, name)
        health = health_pb2_grpc.HealthStub(server.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        worker = stop_worker(server)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert is_alive(worker)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        assert not is_alive(worker)
        *_, last = server.stub.WatchJob(pb.WatchJobRequest(name=name), timeout=4 * PATIENCE)
        assert last.job.state == pb.JOB_STATE_SUCCEEDED
        assert f"event=job lost its worker job={name} deaths=0" in server.log
        assert server.info().devices[0].restarts == 1


@pytest.mark.slow
def test_a_server_with_a_stopped_worker_ends_in_time() -> None:
    with running_server(*CPU, "--worker-timeout", "4s") as server:
        server.ready()
        running(server, create(server))
        worker = stop_worker(server)
        begin = time.monotonic()
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 0
        assert time.monotonic() - begin < 25
        assert not is_alive(worker)
        assert "lost its worker" not in server.log or "deaths=0" in server.log
        assert "cannot schedule" not in server.log
