"""EstimateJob: what a job would take, through real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import PIL.Image
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import reason_of
from support.samples import coded, mask, photo, stylize_request, texture_request
from support.server_process import PATIENCE, ServerProcess, running_server, until

MOCK = ("--mock", "--port", "0", "--mock-evaluation-time", "10ms")


@pytest.fixture(scope="module")
def mock() -> Iterator[ServerProcess]:
    with running_server(*MOCK) as running:
        running.ready()
        yield running


@pytest.fixture(scope="module")
def small() -> Iterator[ServerProcess]:
    """A server whose device has little memory."""
    with running_server(
        "--private", "--device", "cpu", "--weights", "builtin", "--memory", "1500MiB"
    ) as running:
        running.ready()
        yield running


def estimated(server: ServerProcess, spec: pb.JobSpec) -> pb.EstimateJobResponse:
    return server.stub.EstimateJob(pb.EstimateJobRequest(spec=spec), timeout=PATIENCE)


def refused(call: Callable[[], Any]) -> status_pb2.Status:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    told: status_pb2.Status | None = rpc_status.from_call(caught.value)
    assert told is not None, caught.value
    return told


def faults(told: status_pb2.Status) -> dict[str, str]:
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in told.details)
    return {violation.field: violation.description for violation in bad.field_violations}


def painted(server: ServerProcess, request: pb.StylizeRequest) -> pb.Job:
    events = [response.event for response in server.stub.Stylize(request, timeout=PATIENCE)]
    return [event.job for event in events if event.HasField("job")][-1]


def seconds(duration: Any) -> float:
    return duration.ToNanoseconds() / 1e9


def with_regions() -> pb.StylizeRequest:
    request = stylize_request(coded(photo(80, 60)), recipe=pb.Recipe(evaluations=2, longest_side=48))
    request.spec.regions.add(style=0).content_mask.encoded = coded(mask(300, 200))
    style_mask = pb.Image(encoded=coded(mask(10, 10)))
    request.spec.regions.add(style=0, style_mask=style_mask).content_mask.encoded = coded(mask(20, 20))
    return request


def with_selection() -> pb.StylizeRequest:
    content = photo(400, 300)
    selection = PIL.Image.new("L", (200, 150))
    selection.paste(90, (30, 40, 61, 55))
    request = stylize_request(coded(content), recipe=pb.Recipe(evaluations=2, longest_side=320))
    request.spec.selection.encoded = coded(selection)
    return request


def deep_selection() -> pb.StylizeRequest:
    request = with_selection()
    raw = pb.RawPixels(width=64, height=48, rgba=bytes(64 * 48 * 8), bits_per_channel=16)
    request.spec.content.raw.CopyFrom(raw)
    request.spec.recipe.longest_side = 64
    return request


def deep() -> pb.StylizeRequest:
    picture = coded(photo(50, 40))
    recipe = pb.Recipe(evaluations=2, start=pb.START_IMAGE, optimizer=pb.OPTIMIZER_ADAM)
    request = stylize_request(picture, recipe=recipe)
    request.spec.start_image.encoded = picture
    request.spec.result_format = pb.IMAGE_FORMAT_PNG_16
    return request


def same_picture_twice() -> pb.StylizeRequest:
    picture = coded(photo(50, 40))
    request = stylize_request(picture, style=picture, recipe=pb.Recipe(evaluations=2))
    request.spec.styles.add().image.encoded = picture
    return request


def of(objective: int, **fields: Any) -> pb.StylizeRequest:
    return stylize_request(
        coded(photo(90, 70)), recipe=pb.Recipe(objective=objective, evaluations=2, **fields)
    )


@pytest.mark.parametrize(
    "request_",
    [
        of(pb.OBJECTIVE_NEIGHBOURS),
        of(pb.OBJECTIVE_BALANCED, precision=pb.PRECISION_FLOAT32, longest_side=130),
        of(pb.OBJECTIVE_GATYS, precision=pb.PRECISION_BFLOAT16, style_scale=2.0),
        of(pb.OBJECTIVE_REPORT),
        texture_request(70, 40, recipe=pb.Recipe(evaluations=2)),
        with_regions(),
        with_selection(),
        deep_selection(),
        deep(),
        same_picture_twice(),
    ],
    ids=[
        *("neighbours", "balanced", "gatys", "report", "texture", "regions"),
        *("selection", "deep selection", "deep", "twice"),
    ],
)
def test_the_plan_and_the_recipe_are_those_of_the_job(
    server: ServerProcess, request_: pb.StylizeRequest
) -> None:
    told = estimated(server, request_.spec)
    job = painted(server, request_)
    assert job.state == pb.JOB_STATE_SUCCEEDED, job.error
    assert told.memory_plan == job.memory_plan
    assert told.recipe == job.recipe
    assert (told.width, told.height, told.device) == (job.width, job.height, job.device)
    assert seconds(told.device_time) > 0
    assert seconds(told.time_left) >= seconds(told.device_time)


def test_nothing_is_stored(mock: ServerProcess) -> None:
    before = list(mock.stub.ListJobs(pb.ListJobsRequest(), timeout=PATIENCE).jobs)
    data = coded(photo(33, 21))
    estimated(mock, stylize_request(data).spec)
    assert list(mock.stub.ListJobs(pb.ListJobsRequest(), timeout=PATIENCE).jobs) == before
    upload = pb.UploadImageRequest(sha256="0" * 64, size_bytes=len(data))
    assert mock.stub.UploadImage(iter([upload]), timeout=PATIENCE).committed_bytes == 0


def test_images_can_be_named(mock: ServerProcess) -> None:
    spec = stylize_request().spec
    whole = estimated(mock, spec)
    job = mock.stub.CreateJob(pb.CreateJobRequest(spec=spec), timeout=PATIENCE)
    named = mock.stub.GetJob(pb.GetJobRequest(name=job.name), timeout=PATIENCE).spec
    named.recipe.CopyFrom(spec.recipe)
    assert named.content.sha256
    assert estimated(mock, named).recipe == whole.recipe


def test_faults_are_those_of_create_job(mock: ServerProcess) -> None:
    spec = stylize_request(b"no picture", recipe=pb.Recipe(longest_side=3, tv_weight=-1)).spec
    spec.styles[0].weight = -1
    of_job = refused(lambda: mock.stub.CreateJob(pb.CreateJobRequest(spec=spec), timeout=PATIENCE))
    of_estimate = refused(lambda: estimated(mock, spec))
    assert of_estimate == of_job
    assert "spec.recipe.longest_side" in faults(of_estimate)


def test_a_missing_image_and_an_empty_request_are_refused(mock: ServerProcess) -> None:
    spec = stylize_request().spec
    spec.content.sha256 = "0" * 64
    assert reason_of(refused(lambda: estimated(mock, spec))) == "IMAGE_MISSING"
    assert set(faults(refused(lambda: estimated(mock, pb.JobSpec())))) == {"spec.content", "spec.styles"}


def test_a_black_selection_is_refused_in_the_words_of_the_job(server: ServerProcess) -> None:
    request = stylize_request()
    request.spec.selection.encoded = coded(PIL.Image.new("L", (20, 20)))
    assert refused(lambda: estimated(server, request.spec)) == painted(server, request).error


def test_a_job_that_never_fits_is_refused_in_the_words_of_the_job(small: ServerProcess) -> None:
    request = stylize_request(recipe=pb.Recipe(evaluations=1, longest_side=6000))
    told = refused(lambda: estimated(small, request.spec))
    assert told.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert reason_of(told) == "DOES_NOT_FIT"
    assert list(faults(told)) == ["spec.recipe.longest_side"]
    assert told == painted(small, request).error


def test_a_large_job_is_planned_in_tiles(small: ServerProcess) -> None:
    told = estimated(small, stylize_request(recipe=pb.Recipe(evaluations=1, longest_side=1024)).spec)
    assert told.memory_plan.method == pb.MEMORY_METHOD_TILED
    assert told.memory_plan.tile_side


def test_the_mock_takes_its_own_time(mock: ServerProcess) -> None:
    recipe = pb.Recipe(objective=pb.OBJECTIVE_BALANCED, evaluations=30)
    assert seconds(estimated(mock, stylize_request(recipe=recipe).spec).device_time) == pytest.approx(0.3)


def test_other_jobs_make_the_time_longer(mock: ServerProcess) -> None:
    spec = stylize_request(recipe=pb.Recipe(objective=pb.OBJECTIVE_BALANCED, evaluations=30)).spec
    until(lambda: estimated(mock, spec), lambda told: told.other_jobs == 0)
    long = pb.CreateJobRequest(spec=stylize_request(recipe=pb.Recipe(evaluations=100_000)).spec)
    job = mock.stub.CreateJob(long, timeout=PATIENCE)
    told = until(lambda: estimated(mock, spec), lambda told: seconds(told.time_left) > 100)
    assert told.other_jobs == 1
    assert seconds(told.device_time) == pytest.approx(0.3)
    mock.stub.CancelJob(pb.CancelJobRequest(name=job.name), timeout=PATIENCE)
    told = until(lambda: estimated(mock, spec), lambda told: told.other_jobs == 0)
    assert told.time_left == told.device_time


def test_without_a_device_the_caller_is_told_to_wait() -> None:
    with running_server("--private", "--device", "cpu", "--weights", "builtin") as server:
        # PyTorch takes seconds to load, and the server answers before that.
        told = refused(lambda: estimated(server, stylize_request().spec))
    assert told.code == grpc.StatusCode.UNAVAILABLE.value[0]
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in told.details)
