"""Calls that are cancelled half-way, on a real server: each is completed, or never started."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import stylize_request
from support.server_process import PATIENCE, ServerProcess, running_server, until

ENDLESS = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=100_000)
ONE = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=1)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server("--private", "--device", "cpu", "--weights", "builtin") as server:
        server.ready()
        yield server


def create(server: ServerProcess, recipe: pb.Recipe = ENDLESS, **fields: str) -> pb.Job:
    request = pb.CreateJobRequest(spec=stylize_request(recipe=recipe).spec, **fields)
    return server.stub.CreateJob(request, timeout=PATIENCE)


def get(server: ServerProcess, name: str) -> pb.Job:
    return server.stub.GetJob(pb.GetJobRequest(name=name), timeout=PATIENCE)


class Watch:
    """A watcher of a job, on a thread of its own."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        request = pb.WatchJobRequest(name=name, omit_previews=True)
        self._events = server.stub.WatchJob(request, timeout=PATIENCE)
        self._states: list[pb.JobState] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        self._states += [event.job.state for event in self._events if event.HasField("job")]

    def last_state(self) -> pb.JobState:
        """The last state that the watcher received, once its stream has ended."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self._states[-1]


@pytest.mark.slow
def test_a_job_whose_caller_left_runs_and_a_retry_returns_it(server: ServerProcess) -> None:
    begin = time.monotonic()
    create(server, ONE)
    usual = time.monotonic() - begin
    chance = random.Random(1)
    names = set()
    for number in range(24):
        request = pb.CreateJobRequest(spec=stylize_request(recipe=ONE).spec, request_id=f"left-{number}")
        call = server.stub.CreateJob.future(request)
        threading.Event().wait(chance.uniform(0.1, 1.3) * usual)
        call.cancel()
        if number % 3:
            names.add(server.stub.CreateJob(request, timeout=PATIENCE).name)
    until(server.info, lambda info: info.unfinished_jobs == 0)
    assert {get(server, name).state for name in names} == {pb.JOB_STATE_SUCCEEDED}
    page = server.stub.ListJobs(pb.ListJobsRequest(page_size=200), timeout=PATIENCE)
    assert {job.state for job in page.jobs} == {pb.JOB_STATE_SUCCEEDED}


def test_a_repeated_cancel_ends_the_job_its_watchers_and_its_painting(server: ServerProcess) -> None:
    chance = random.Random(2)
    for _ in range(8):
        job = create(server)
        until(lambda name=job.name: get(server, name).state, lambda state: state == pb.JOB_STATE_RUNNING)
        watch = Watch(server, job.name)
        call = server.stub.CancelJob.future(pb.CancelJobRequest(name=job.name))
        threading.Event().wait(chance.uniform(0.0, 0.008))
        call.cancel()
        again = server.stub.CancelJob(pb.CancelJobRequest(name=job.name), timeout=PATIENCE)
        assert again.state == pb.JOB_STATE_CANCELLED
        assert watch.last_state() == pb.JOB_STATE_CANCELLED
        until(lambda: server.info().devices[0].resident_jobs, lambda number: number == 0)


def test_simultaneous_updates_of_different_fields_are_all_applied(server: ServerProcess) -> None:
    job = create(server)
    until(lambda: get(server, job.name).state, lambda state: state == pb.JOB_STATE_RUNNING)
    for number in range(1, 6):
        wanted = pb.Job(name=job.name, title=f"title {number}", priority=number)
        wanted.recipe.content_weight = float(number)
        calls = [
            server.stub.UpdateJob.future(
                pb.UpdateJobRequest(job=wanted, update_mask=FieldMask(paths=[path])), timeout=PATIENCE
            )
            for path in ("recipe.content_weight", "title", "priority")
        ]
        for call in calls:
            call.result()
        now = get(server, job.name)
        held = (now.title, now.priority, now.recipe.content_weight)
        assert held == (f"title {number}", number, float(number))
    server.stub.CancelJob(pb.CancelJobRequest(name=job.name), timeout=PATIENCE)


def test_a_pause_is_completed_even_if_its_caller_leaves(server: ServerProcess) -> None:
    job = create(server)
    until(lambda: get(server, job.name).state, lambda state: state == pb.JOB_STATE_RUNNING)
    server.stub.PauseJob.future(pb.PauseJobRequest(name=job.name)).cancel()
    paused = server.stub.PauseJob(pb.PauseJobRequest(name=job.name), timeout=PATIENCE)
    assert paused.state == pb.JOB_STATE_PAUSED
    until(lambda: server.info().devices[0].resident_jobs, lambda number: number == 0)
    server.stub.DeleteJob.future(pb.DeleteJobRequest(name=job.name)).cancel()
    try:
        server.stub.DeleteJob(pb.DeleteJobRequest(name=job.name), timeout=PATIENCE)
    except grpc.RpcError as error:
        # The cancelled call had started, so it was completed.
        assert error.code() == grpc.StatusCode.NOT_FOUND
    assert server.info().unfinished_jobs == 0
