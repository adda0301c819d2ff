"""The calls about jobs, one by one."""

from __future__ import annotations

import itertools
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

import impasto
from impasto.v1 import style_transfer_pb2 as pb
from support.fake_server import FakeServer, jpeg, png, status

pytestmark = pytest.mark.usefixtures("way")


def test_a_job_is_created(client: impasto.Client, fake: FakeServer) -> None:
    job = client.create_job(png(), png(), title="t", priority=-2, seed=4, previews=False)
    assert (job.state, job.title, job.priority, job.queue_position) == ("queued", "t", -2, 1)
    (request,) = fake.called("CreateJob")
    assert (request.spec.recipe.seed, request.preview.disabled) == (4, True)
    assert len(request.request_id) == 36
    client.create_job(png(), png(), request_id="mine")
    assert fake.called("CreateJob")[1].request_id == "mine"
    assert client.job(job.name) == job


def test_a_job_is_estimated(client: impasto.Client, fake: FakeServer) -> None:
    told = client.estimate(png(), [(png(), 2.0)], recipe="gatys", size=300, format="png16")
    assert (told.width, told.height, told.device, told.other_jobs) == (300, 200, "cuda:0", 2)
    assert (told.device_time, told.time_left) == (2.5, 185.0)
    assert told.memory_plan == impasto.MemoryPlan("tiled", 3000 << 20, 512)
    assert (told.recipe.objective, told.recipe.evaluations) == ("gatys", 1200)
    (request,) = fake.called("EstimateJob")
    assert request.spec.recipe == pb.Recipe(objective=pb.OBJECTIVE_GATYS, longest_side=300)
    assert (request.spec.styles[0].weight, request.spec.result_format) == (2.0, pb.IMAGE_FORMAT_PNG_16)


def test_an_estimate_can_lack_times(client: impasto.Client, fake: FakeServer) -> None:
    fake.estimate.ClearField("device_time")
    fake.estimate.ClearField("time_left")
    told = client.estimate(png(), png())
    assert (told.device_time, told.time_left) == (None, None)


def test_a_server_that_cannot_estimate_says_so(client: impasto.Client, fake: FakeServer) -> None:
    fake.faults["EstimateJob"] = [status(grpc.StatusCode.UNIMPLEMENTED, "no such method")]
    with pytest.raises(impasto.ServerError, match="older than this client; update the server") as caught:
        client.estimate(png(), png())
    assert caught.value.code == "UNIMPLEMENTED"


def test_a_repeated_create_job_has_the_same_request_id(client: impasto.Client, fake: FakeServer) -> None:
    fake.faults["CreateJob"] = [status(grpc.StatusCode.UNAVAILABLE, "the answer was lost")]
    client.create_job(png(), png())
    first, second = fake.called("CreateJob")
    assert first == second


def test_jobs_are_listed_page_by_page(client: impasto.Client, fake: FakeServer) -> None:
    made = [client.create_job(png(), png()).name for _ in range(5)]
    assert [job.name for job in client.jobs()] == made[::-1]
    assert len(fake.called("ListJobs")) == 3
    next(client.jobs())
    assert len(fake.called("ListJobs")) == 4
    client.pause(made[1])
    assert [job.name for job in client.jobs(["paused", "running"])] == [made[1]]
    with pytest.raises(impasto.InvalidRequest, match="cannot be 'asleep'; give one of queued"):
        next(client.jobs(["asleep"]))


def test_a_job_is_paused_resumed_cancelled_and_deleted(client: impasto.Client) -> None:
    name = client.create_job(png(), png()).name
    assert client.pause(name).state == "paused"
    assert client.resume(name).state == "queued"
    assert client.cancel(name).is_final
    client.delete(name)
    for call in (client.job, client.pause, client.resume, client.cancel, client.delete):
        with pytest.raises(impasto.NotFound, match=name):
            call(name)


@pytest.mark.parametrize(
    ("given", "paths", "job"),
    [
        (
            {"content_weight": 0.5, "color": "matched"},
            ["recipe.content_weight", "recipe.color"],
            pb.Job(recipe=pb.Recipe(content_weight=0.5, color=pb.COLOR_MATCHED)),
        ),
        ({"tv_weight": None}, ["recipe.tv_weight"], pb.Job(recipe=pb.Recipe())),
        ({"title": "", "priority": 0}, ["title", "priority"], pb.Job(recipe=pb.Recipe())),
        (
            {"style_layers": {"relu3_1": 1}, "stop_on_plateau": False},
            ["recipe.style_layers", "recipe.stop_on_plateau"],
            pb.Job(
                recipe=pb.Recipe(
                    style_layers=[pb.LayerWeight(layer="relu3_1", weight=1)], stop_on_plateau=False
                )
            ),
        ),
        (
            {"previews": False},
            ["preview.disabled"],
            pb.Job(recipe=pb.Recipe(), preview=pb.PreviewOptions(disabled=True)),
        ),
        (
            {"previews": impasto.Previews(max_side=64)},
            ["preview.disabled", "preview.max_side"],
            pb.Job(recipe=pb.Recipe(), preview=pb.PreviewOptions(max_side=64)),
        ),
    ],
)
def test_update_job_changes_only_the_given_fields(
    client: impasto.Client, fake: FakeServer, given: dict[str, Any], paths: list[str], job: pb.Job
) -> None:
    name = client.create_job(png(), png(), content_weight=9.0, title="before", priority=5).name
    client.update_job(name, **given)
    (request,) = fake.called("UpdateJob")
    job.name = name
    assert (list(request.update_mask.paths), request.job) == (paths, job)
    assert fake.jobs[name].recipe.content_weight == given.get("content_weight", 9.0)
    assert fake.jobs[name].title == given.get("title", "before")


def test_an_invalid_update_is_refused(client: impasto.Client, fake: FakeServer) -> None:
    with pytest.raises(impasto.InvalidRequest, match="nothing to change"):
        client.update_job("jobs/a")
    with pytest.raises(impasto.InvalidRequest) as caught:
        client.update_job("jobs/a", optimizer="sgd")  # type: ignore[arg-type]
    assert caught.value.field == "job.recipe.optimizer"
    with pytest.raises(TypeError):
        client.update_job("jobs/a", contentweight=1)  # type: ignore[call-arg]
    assert not fake.calls


def test_the_newest_preview_is_fetched(client: impasto.Client, fake: FakeServer) -> None:
    name = client.create_job(png(), png()).name
    newest = client.preview(name)
    assert newest.preview is not None
    assert newest.preview.data == jpeg(48, 32, turn=120)
    again = client.preview(name, after_sequence=newest.sequence, wait=1.5)
    assert (again.preview, again.sequence, again.job.name) == (None, newest.sequence, name)
    assert fake.called("GetPreview")[1].wait.ToMilliseconds() == 1500


def test_styles_are_listed(client: impasto.Client) -> None:
    styles = list(client.styles())
    assert [style.name for style in styles] == [
        "styles/great-wave",
        "styles/starry-night",
        "styles/the-scream",
    ]
    assert styles[1].title == "Starry Night"
    assert styles[1].thumbnail == jpeg(40, 30)


def test_a_call_in_the_wrong_state_is_a_failed_precondition(client: impasto.Client, fake: FakeServer) -> None:
    name = client.create_job(png(), png()).name
    fake.jobs[name].state = pb.JOB_STATE_SUCCEEDED
    with pytest.raises(impasto.FailedPrecondition, match="has ended") as caught:
        client.cancel(name)
    assert caught.value.violations == ((name, "the job has ended"),)


def test_a_full_quota_is_told_with_its_name(client: impasto.Client, fake: FakeServer) -> None:
    full, retry = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
    full.violations.add(subject="jobs", description="3 of 3 jobs are under way; wait for one")
    retry.retry_delay.FromSeconds(9)
    reason = error_details_pb2.ErrorInfo(domain="impasto", reason="QUOTA")
    fake.faults["CreateJob"] = [status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", reason, full, retry)]
    with pytest.raises(impasto.ResourceExhausted, match="full") as caught:
        client.create_job(png(), png())
    assert caught.value.violations == (("jobs", "3 of 3 jobs are under way; wait for one"),)
    assert caught.value.retry_after == 9
    assert len(fake.called("CreateJob")) == 1


def test_a_client_is_safe_to_use_from_several_threads(client: impasto.Client) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: client.create_job(png(), png()).state, range(40)))
    assert made == ["queued"] * 40
    assert len(list(itertools.islice(client.jobs(), 3))) == 3
