"""The calls that concern jobs, on a real server."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
import uuid
from collections.abc import Iterator

import grpc
import PIL.Image
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import coded, photo, stylize_request
from support.server_process import PATIENCE, ServerProcess, until

# Without a margin, so that evaluations are fast.
ENDLESS = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=100_000)


def create_request(**fields: object) -> pb.CreateJobRequest:
    """A request for a small job; fields of `CreateJobRequest` and "recipe"."""
    recipe = fields.pop("recipe", None)
    spec = stylize_request(recipe=recipe).spec  # type: ignore[arg-type]
    return pb.CreateJobRequest(spec=spec, **fields)  # type: ignore[arg-type]


def create(server: ServerProcess, **fields: object) -> pb.Job:
    return server.stub.CreateJob(create_request(**fields), timeout=PATIENCE)


def get(server: ServerProcess, name: str) -> pb.Job:
    return server.stub.GetJob(pb.GetJobRequest(name=name), timeout=PATIENCE)


def watch(server: ServerProcess, name: str, **fields: object) -> Iterator[pb.JobEvent]:
    return server.stub.WatchJob(pb.WatchJobRequest(name=name, **fields), timeout=PATIENCE)  # type: ignore


def ended(server: ServerProcess, name: str) -> pb.Job:
    """The job once it is final."""
    *_, last = watch(server, name, omit_previews=True)
    return last.job


def download(server: ServerProcess, **fields: object) -> tuple[pb.ImageInfo, bytes]:
    chunks = list(server.stub.DownloadImage(pb.DownloadImageRequest(**fields), timeout=PATIENCE))
    assert [chunk.HasField("info") for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    return chunks[0].info, b"".join(chunk.data for chunk in chunks)


def refusal(call: object) -> tuple[grpc.StatusCode, str, set[str]]:
    """Code, reason and fields (or subjects) of the error with which a call ends."""
    with pytest.raises(grpc.RpcError) as caught:
        call() if callable(call) else list(call)  # type: ignore[call-overload]
    status = rpc_status.from_call(caught.value)
    assert status is not None
    reason, where = "", set()
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        failed, quota = error_details_pb2.PreconditionFailure(), error_details_pb2.QuotaFailure()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            where |= {violation.field for violation in bad.field_violations}
        elif detail.Unpack(failed):
            where |= {violation.subject for violation in failed.violations}
        elif detail.Unpack(quota):
            where |= {violation.subject for violation in quota.violations}
    return caught.value.code(), reason, where


@pytest.fixture
def endless(server: ServerProcess) -> Iterator[pb.Job]:
    """A job that never ends by itself, on its device."""
    job = create(server, recipe=ENDLESS)
    assert any(event.HasField("progress") for event in watch(server, job.name))
    yield job
    server.stub.DeleteJob(pb.DeleteJobRequest(name=job.name), timeout=PATIENCE)


def test_a_job_is_painted_without_watchers(server: ServerProcess) -> None:
    job = create(server, title="A bird", priority=3)
    assert job.state == pb.JOB_STATE_QUEUED
    assert (job.title, job.priority) == ("A bird", 3)
    until(lambda: get(server, job.name).state, lambda state: state == pb.JOB_STATE_SUCCEEDED)
    done = get(server, job.name)
    assert done.HasField("expire_time")
    info, data = download(server, result_of=job.name)
    assert info == done.result
    assert info.sha256 == hashlib.sha256(data).hexdigest()
    assert PIL.Image.open(io.BytesIO(data)).size == (done.width, done.height)

    request = stylize_request()
    content = hashlib.sha256(request.spec.content.encoded).hexdigest()
    assert done.spec.content.sha256 == content
    assert download(server, sha256=content)[1] == request.spec.content.encoded


def test_the_same_request_id_gives_the_same_job(server: ServerProcess) -> None:
    request = create_request(request_id=str(uuid.uuid4()))
    first = server.stub.CreateJob(request, timeout=PATIENCE)
    assert server.stub.CreateJob(request, timeout=PATIENCE).name == first.name
    ended(server, first.name)
    assert server.stub.CreateJob(request, timeout=PATIENCE).name == first.name
    request.title = "Another"
    code, _, fields = refusal(lambda: server.stub.CreateJob(request, timeout=PATIENCE))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert fields == {"request_id"}


def test_jobs_are_listed_in_pages_with_the_newest_first(server: ServerProcess) -> None:
    names = [create(server).name for _ in range(5)]
    listed, token = [], ""
    while len(listed) < 5:
        page = server.stub.ListJobs(pb.ListJobsRequest(page_size=2, page_token=token), timeout=PATIENCE)
        assert len(page.jobs) <= 2
        assert not any(job.HasField("spec") for job in page.jobs)
        listed += [job.name for job in page.jobs]
        token = page.next_page_token
    assert listed[:5] == names[::-1]
    for name in names:
        ended(server, name)
    states = [pb.JOB_STATE_RUNNING, pb.JOB_STATE_QUEUED]
    running = server.stub.ListJobs(pb.ListJobsRequest(states=states), timeout=PATIENCE)
    assert not {job.name for job in running.jobs} & set(names)

    for request, field in (
        (pb.ListJobsRequest(page_size=-1), "page_size"),
        (pb.ListJobsRequest(page_size=201), "page_size"),
        (pb.ListJobsRequest(page_token="nonsense"), "page_token"),
        (pb.ListJobsRequest(page_token=token or "AAAA", states=[pb.JOB_STATE_FAILED]), "page_token"),
        (pb.ListJobsRequest(states=[99]), "states"),  # type: ignore[list-item]
    ):
        code, _, fields = refusal(lambda request=request: server.stub.ListJobs(request, timeout=PATIENCE))
        assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, {field})


def test_several_can_watch_and_a_lost_stream_can_be_continued(server: ServerProcess, endless: pb.Job) -> None:
    first = watch(server, endless.name)
    seen = []
    for event in first:
        seen.append(event)
        if event.HasField("preview"):
            break
    assert seen[0].HasField("job")
    first.cancel()  # type: ignore[attr-defined]
    again = watch(server, endless.name, after_sequence=seen[-1].sequence)
    snapshot = next(again)
    assert snapshot.job.state == pb.JOB_STATE_RUNNING
    assert snapshot.sequence > seen[-1].sequence
    quiet = watch(server, endless.name, omit_previews=True)
    assert not any(event.HasField("preview") for event, _ in zip(quiet, range(30), strict=False))
    server.stub.CancelJob(pb.CancelJobRequest(name=endless.name), timeout=PATIENCE)
    for stream in (again, quiet):
        *_, last = stream
        assert last.job.state == pb.JOB_STATE_CANCELLED


def test_a_job_goes_on_when_a_watcher_leaves(server: ServerProcess, endless: pb.Job) -> None:
    stream = watch(server, endless.name)
    next(stream)
    stream.cancel()  # type: ignore[attr-defined]
    goal = get(server, endless.name).progress.evaluation + 20
    job = until(lambda: get(server, endless.name), lambda job: job.progress.evaluation >= goal)
    assert job.state == pb.JOB_STATE_RUNNING


@pytest.mark.slow
def test_a_paused_job_leaves_the_device_and_continues_unchanged(server: ServerProcess) -> None:
    recipe = pb.Recipe(objective=pb.OBJECTIVE_REPORT, optimizer=pb.OPTIMIZER_LBFGS, evaluations=400)
    undisturbed = create(server, recipe=recipe)
    assert ended(server, undisturbed.name).state == pb.JOB_STATE_SUCCEEDED
    _, expected = download(server, result_of=undisturbed.name)

    job = create(server, recipe=recipe)
    for event in watch(server, job.name):
        if event.HasField("progress") and event.progress.evaluation >= 20:
            break
    for _ in range(2):
        paused = server.stub.PauseJob(pb.PauseJobRequest(name=job.name), timeout=PATIENCE)
        assert paused.state == pb.JOB_STATE_PAUSED
    assert 20 <= paused.progress.evaluation < 400
    until(lambda: server.info().devices[0].resident_jobs, lambda jobs: jobs == 0)
    # The server has placed another job in the meantime.
    assert ended(server, create(server).name).state == pb.JOB_STATE_SUCCEEDED
    assert get(server, job.name).state == pb.JOB_STATE_PAUSED
    for _ in range(2):
        resumed = server.stub.ResumeJob(pb.ResumeJobRequest(name=job.name), timeout=PATIENCE)
        assert resumed.state in (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING)
    events = list(watch(server, job.name))
    evaluations = [event.progress.evaluation for event in events if event.HasField("progress")]
    assert min(evaluations) >= paused.progress.evaluation
    assert events[-1].job.state == pb.JOB_STATE_SUCCEEDED
    assert download(server, result_of=job.name)[1] == expected


@pytest.mark.slow
def test_a_running_job_can_be_steered(server: ServerProcess, endless: pb.Job) -> None:
    stream = watch(server, endless.name)
    next(stream)
    change = pb.UpdateJobRequest(
        job=pb.Job(
            name=endless.name,
            title="New",
            priority=7,
            recipe=pb.Recipe(content_weight=0.7, optimizer=pb.OPTIMIZER_LBFGS, evaluations=50),
            preview=pb.PreviewOptions(max_side=20),
        ),
        update_mask=FieldMask(
            paths=[
                "title",
                "priority",
                "recipe.content_weight",
                "recipe.optimizer",
                "recipe.evaluations",
                "preview.max_side",
            ]
        ),
    )
    changed = server.stub.UpdateJob(change, timeout=PATIENCE)
    assert (changed.title, changed.priority) == ("New", 7)
    assert changed.recipe.content_weight == pytest.approx(0.7)
    assert changed.recipe.optimizer == pb.OPTIMIZER_LBFGS
    assert changed.recipe.learning_rate == 1, "follows the optimiser"
    assert changed.preview.max_side == 20
    events = list(stream)
    assert events[-1].job.state == pb.JOB_STATE_SUCCEEDED, "so few evaluations end"
    assert any(event.HasField("job") and event.job.title == "New" for event in events)
    previews = [event.preview for event in events if event.HasField("preview")]
    assert not previews or max(previews[-1].width, previews[-1].height) <= 20
    made = json.loads(PIL.Image.open(io.BytesIO(download(server, result_of=endless.name)[1])).info["impasto"])
    assert made["recipe"]["content_weight"] == pytest.approx(0.7)
    assert made["recipe"]["optimizer"] == "lbfgs"


def test_a_paused_job_can_be_steered(server: ServerProcess, endless: pb.Job) -> None:
    server.stub.PauseJob(pb.PauseJobRequest(name=endless.name), timeout=PATIENCE)
    change = pb.UpdateJobRequest(
        job=pb.Job(name=endless.name, recipe=pb.Recipe(content_weight=0.9, evaluations=50)),
        update_mask=FieldMask(paths=["recipe.content_weight", "recipe.evaluations"]),
    )
    assert server.stub.UpdateJob(change, timeout=PATIENCE).state == pb.JOB_STATE_PAUSED
    server.stub.ResumeJob(pb.ResumeJobRequest(name=endless.name), timeout=PATIENCE)
    assert ended(server, endless.name).state == pb.JOB_STATE_SUCCEEDED
    made = json.loads(PIL.Image.open(io.BytesIO(download(server, result_of=endless.name)[1])).info["impasto"])
    assert made["recipe"]["content_weight"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("recipe", "paths", "field"),
    [
        ({}, [], "update_mask"),
        ({}, ["state"], "update_mask"),
        ({"longest_side": 99}, ["recipe.longest_side"], "update_mask"),
        ({"content_weight": -1}, ["recipe.content_weight"], "job.recipe.content_weight"),
        ({"evaluations": 0}, ["recipe.evaluations"], "job.recipe.evaluations"),
        ({"optimizer": 77}, ["recipe.optimizer"], "job.recipe.optimizer"),
    ],
)
def test_an_update_of_an_unchangeable_field_is_refused_with_its_name(
    server: ServerProcess, endless: pb.Job, recipe: dict[str, object], paths: list[str], field: str
) -> None:
    request = pb.UpdateJobRequest(
        job=pb.Job(name=endless.name, recipe=pb.Recipe(**recipe)),  # type: ignore[arg-type]
        update_mask=FieldMask(paths=paths),
    )
    code, _, fields = refusal(lambda: server.stub.UpdateJob(request, timeout=PATIENCE))
    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, {field})
    assert get(server, endless.name).state == pb.JOB_STATE_RUNNING


def test_an_update_of_a_field_without_a_value_sets_its_default(
    server: ServerProcess, endless: pb.Job
) -> None:
    def update(recipe: pb.Recipe) -> pb.Job:
        request = pb.UpdateJobRequest(
            job=pb.Job(name=endless.name, recipe=recipe),
            update_mask=FieldMask(paths=["recipe.content_weight"]),
        )
        return server.stub.UpdateJob(request, timeout=PATIENCE)

    default = endless.recipe.content_weight
    assert update(pb.Recipe(content_weight=0.123)).recipe.content_weight == pytest.approx(0.123)
    assert update(pb.Recipe()).recipe.content_weight == pytest.approx(default)


def test_a_final_job_cannot_be_changed(server: ServerProcess) -> None:
    name = create(server).name
    ended(server, name)
    update = pb.UpdateJobRequest(job=pb.Job(name=name), update_mask=FieldMask(paths=["title"]))
    for call in (
        lambda: server.stub.PauseJob(pb.PauseJobRequest(name=name), timeout=PATIENCE),
        lambda: server.stub.ResumeJob(pb.ResumeJobRequest(name=name), timeout=PATIENCE),
        lambda: server.stub.CancelJob(pb.CancelJobRequest(name=name), timeout=PATIENCE),
        lambda: server.stub.UpdateJob(update, timeout=PATIENCE),
    ):
        code, reason, subjects = refusal(call)
        assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_IS_OVER")
        assert subjects == {name}
    server.stub.DeleteJob(pb.DeleteJobRequest(name=name), timeout=PATIENCE)
    for call in (
        lambda: get(server, name),
        lambda: server.stub.DeleteJob(pb.DeleteJobRequest(name=name), timeout=PATIENCE),
        lambda: download(server, result_of=name),
        lambda: list(watch(server, name)),
    ):
        assert refusal(call)[0] == grpc.StatusCode.NOT_FOUND


def test_cancelling_twice_is_harmless(server: ServerProcess, endless: pb.Job) -> None:
    for _ in range(2):
        job = server.stub.CancelJob(pb.CancelJobRequest(name=endless.name), timeout=PATIENCE)
        assert job.state == pb.JOB_STATE_CANCELLED
    until(lambda: server.info().devices[0].resident_jobs, lambda jobs: jobs == 0)
    code, reason, _ = refusal(lambda: download(server, result_of=endless.name))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_RESULT")


def test_deleting_a_running_job_ends_its_watchers(server: ServerProcess) -> None:
    job = create(server, recipe=ENDLESS)
    stream = watch(server, job.name)
    assert any(event.HasField("progress") for event in stream)
    server.stub.DeleteJob(pb.DeleteJobRequest(name=job.name), timeout=PATIENCE)
    # The stream ends with a cancelled job or with NOT_FOUND, whichever reaches the watcher first.
    try:
        *_, last = stream
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
    else:
        assert last.job.state == pb.JOB_STATE_CANCELLED


def test_previews_can_be_fetched_without_a_stream(server: ServerProcess, endless: pb.Job) -> None:
    first = server.stub.GetPreview(
        pb.GetPreviewRequest(name=endless.name, wait=Duration(seconds=30)), timeout=PATIENCE
    )
    assert first.HasField("preview")
    assert first.job.name == endless.name
    assert PIL.Image.open(io.BytesIO(first.preview.data)).size == (first.preview.width, first.preview.height)
    newer = server.stub.GetPreview(
        pb.GetPreviewRequest(name=endless.name, after_sequence=first.sequence, wait=Duration(seconds=30)),
        timeout=PATIENCE,
    )
    assert newer.sequence > first.sequence
    assert newer.preview.evaluation > first.preview.evaluation
    begin = time.monotonic()
    far = pb.GetPreviewRequest(name=endless.name, after_sequence=1 << 52, wait=Duration(nanos=200_000_000))
    nothing = server.stub.GetPreview(far, timeout=PATIENCE)
    assert time.monotonic() - begin >= 0.2
    assert not nothing.HasField("preview")
    assert nothing.sequence == 1 << 52
    info, data = download(server, preview_of=endless.name)
    assert info.format == pb.IMAGE_FORMAT_JPEG
    assert PIL.Image.open(io.BytesIO(data)).size == (info.width, info.height)
    code, _, fields = refusal(
        lambda: server.stub.GetPreview(
            pb.GetPreviewRequest(name=endless.name, wait=Duration(seconds=61)), timeout=PATIENCE
        )
    )
    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, {"wait"})


def test_a_call_that_waits_for_a_preview_ends_when_the_job_is_final(
    server: ServerProcess, endless: pb.Job
) -> None:
    def cancel() -> None:
        server.stub.CancelJob(pb.CancelJobRequest(name=endless.name), timeout=PATIENCE)

    timer = threading.Timer(0.3, cancel)
    timer.start()
    request = pb.GetPreviewRequest(name=endless.name, after_sequence=1 << 52, wait=Duration(seconds=50))
    answer = server.stub.GetPreview(request, timeout=PATIENCE)
    timer.join()
    assert answer.job.state == pb.JOB_STATE_CANCELLED


@pytest.mark.parametrize("format", [pb.IMAGE_FORMAT_JPEG, pb.IMAGE_FORMAT_WEBP, pb.IMAGE_FORMAT_RGBA8])
def test_a_result_can_be_downloaded_in_other_formats_and_from_any_offset(
    server: ServerProcess, format: pb.ImageFormat
) -> None:
    rgba = photo(40, 30).convert("RGBA")
    rgba.putalpha(100)
    request = create_request()
    request.spec.content.encoded = coded(rgba)
    job = server.stub.CreateJob(request, timeout=PATIENCE)
    ended(server, job.name)
    _, png = download(server, result_of=job.name)
    info, data = download(server, result_of=job.name, format=format)
    assert info.format == format
    assert info.sha256 == hashlib.sha256(data).hexdigest()
    assert (info.width, info.height) == (40, 30)
    painted = PIL.Image.open(io.BytesIO(png))
    if format == pb.IMAGE_FORMAT_RGBA8:
        assert data == painted.convert("RGBA").tobytes()
    else:
        assert PIL.Image.open(io.BytesIO(data)).size == (40, 30)
    middle = len(data) // 2
    assert download(server, result_of=job.name, format=format, offset=middle)[1] == data[middle:]
    assert download(server, result_of=job.name, format=format, offset=len(data))[1] == b""
    code, _, fields = refusal(lambda: download(server, result_of=job.name, offset=len(data) + 10**9))
    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, {"offset"})


def test_an_impossible_download_is_refused_with_its_reason(server: ServerProcess, endless: pb.Job) -> None:
    for request, expected in (
        ({}, (grpc.StatusCode.INVALID_ARGUMENT, {"result_of"})),
        ({"result_of": endless.name}, (grpc.StatusCode.FAILED_PRECONDITION, {endless.name})),
        ({"result_of": "jobs/none"}, (grpc.StatusCode.NOT_FOUND, set())),
        ({"sha256": "ab"}, (grpc.StatusCode.NOT_FOUND, set())),
        ({"sha256": "a" * 64}, (grpc.StatusCode.NOT_FOUND, set())),
        ({"sha256": "a" * 64, "format": pb.IMAGE_FORMAT_PNG}, (grpc.StatusCode.INVALID_ARGUMENT, {"format"})),
    ):
        code, _, where = refusal(lambda request=request: download(server, **request))  # type: ignore[arg-type]
        assert (code, where) == expected


def pieces(data: bytes, *, start: int = 0, stop: int | None = None, size: int = 500) -> Iterator[object]:
    sha256 = hashlib.sha256(data).hexdigest()
    yield pb.UploadImageRequest(sha256=sha256, size_bytes=len(data))
    for offset in range(start, len(data) if stop is None else stop, size):
        piece = data[offset : offset + size][: (stop or len(data)) - offset]
        yield pb.UploadImageRequest(offset=offset, data=piece)


def test_an_image_can_be_uploaded_in_pieces_and_used(server: ServerProcess) -> None:
    data = coded(photo(50, 34 + int(time.time()) % 100))
    sha256 = hashlib.sha256(data).hexdigest()
    request = create_request()
    request.spec.content.sha256 = sha256
    code, reason, subjects = refusal(lambda: server.stub.CreateJob(request, timeout=PATIENCE))
    assert (code, reason, subjects) == (grpc.StatusCode.FAILED_PRECONDITION, "IMAGE_MISSING", {sha256})

    part = server.stub.UploadImage(pieces(data, stop=700), timeout=PATIENCE)
    assert (part.committed_bytes, part.complete) == (700, False)
    asked = server.stub.UploadImage(pieces(data, stop=0), timeout=PATIENCE)
    assert (asked.committed_bytes, asked.complete) == (700, False)
    code, reason, _ = refusal(lambda: server.stub.UploadImage(pieces(data, start=500), timeout=PATIENCE))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_OFFSET")
    whole = server.stub.UploadImage(pieces(data, start=700), timeout=PATIENCE)
    assert (whole.committed_bytes, whole.complete) == (len(data), True)
    again = server.stub.UploadImage(pieces(data), timeout=PATIENCE)
    assert again.complete

    job = server.stub.CreateJob(request, timeout=PATIENCE)
    assert ended(server, job.name).state == pb.JOB_STATE_SUCCEEDED
    made = json.loads(PIL.Image.open(io.BytesIO(download(server, result_of=job.name)[1])).info["impasto"])
    assert made["content_sha256"] == sha256


def test_invalid_uploads_are_refused(server: ServerProcess) -> None:
    def upload(*messages: pb.UploadImageRequest) -> tuple[grpc.StatusCode, str, set[str]]:
        return refusal(lambda: server.stub.UploadImage(iter(messages), timeout=PATIENCE))

    header = pb.UploadImageRequest
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    digest = hashlib.sha256(b"no image").hexdigest()
    assert upload()[0::2] == (invalid, {"sha256"})
    assert upload(header(sha256="xyz", size_bytes=3))[0::2] == (invalid, {"sha256"})
    assert upload(header(sha256="a" * 64))[0::2] == (invalid, {"size_bytes"})
    assert upload(header(sha256="a" * 64, size_bytes=1 << 60))[0::2] == (invalid, {"size_bytes"})
    assert upload(header(sha256="b" * 64, size_bytes=3, data=b"abc"))[0::2] == (invalid, {"sha256"})
    assert upload(header(sha256=digest, size_bytes=8, data=b"no image"))[0::2] == (invalid, {"data"})
    # More bytes than announced.
    assert upload(header(sha256="c" * 64, size_bytes=3, data=b"abcd"))[0::2] == (invalid, {"data"})


def test_a_job_can_use_a_named_style(server: ServerProcess) -> None:
    styles = server.stub.ListStyles(pb.ListStylesRequest(), timeout=PATIENCE).styles
    names = [style.name for style in styles]
    assert "styles/starry-night" in names
    for style in styles:
        thumbnail = PIL.Image.open(io.BytesIO(style.thumbnail))
        assert max(thumbnail.size) <= 128
        assert len(style.thumbnail) <= 16 * 1024
    request = create_request(recipe=pb.Recipe(evaluations=2))
    request.spec.styles[0].image.style = "styles/starry-night"
    job = server.stub.CreateJob(request, timeout=PATIENCE)
    assert ended(server, job.name).state == pb.JOB_STATE_SUCCEEDED
    request.spec.styles[0].image.style = "styles/none"
    assert refusal(lambda: server.stub.CreateJob(request, timeout=PATIENCE))[0] == grpc.StatusCode.NOT_FOUND


def test_stylize_can_leave_its_job_running(server: ServerProcess) -> None:
    keeping = stylize_request(recipe=ENDLESS, keep_running=True)
    lingering = stylize_request(recipe=ENDLESS, linger=Duration(seconds=1))
    names = []
    for request in (keeping, lingering):
        call = server.stub.Stylize(request, timeout=PATIENCE)
        names.append(next(call).event.job.name)
        assert any(response.event.HasField("progress") for response in call)
        call.cancel()
    assert get(server, names[1]).state == pb.JOB_STATE_RUNNING
    until(lambda: get(server, names[1]).state, lambda state: state == pb.JOB_STATE_CANCELLED)
    assert get(server, names[0]).state == pb.JOB_STATE_RUNNING
    server.stub.DeleteJob(pb.DeleteJobRequest(name=names[0]), timeout=PATIENCE)


def test_a_watcher_keeps_a_lingering_job_alive(server: ServerProcess) -> None:
    call = server.stub.Stylize(
        stylize_request(recipe=ENDLESS, linger=Duration(nanos=500_000_000)), timeout=PATIENCE
    )
    name = next(call).event.job.name
    stream = watch(server, name)
    next(stream)
    # A job that nobody watches any more ends as soon as its time is over; this one's time began earlier.
    unwatched = server.stub.Stylize(
        stylize_request(recipe=ENDLESS, linger=Duration(nanos=500_000_000)), timeout=PATIENCE
    )
    other = next(unwatched).event.job.name
    until(lambda: get(server, name).state, lambda state: state == pb.JOB_STATE_RUNNING)
    call.cancel()
    unwatched.cancel()
    until(lambda: get(server, other).state, lambda state: state == pb.JOB_STATE_CANCELLED)
    assert get(server, name).state == pb.JOB_STATE_RUNNING
    stream.cancel()  # type: ignore[attr-defined]
    until(lambda: get(server, name).state, lambda state: state == pb.JOB_STATE_CANCELLED)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"title": "x" * 201}, "title"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"priority": 101}, "priority"),
        ({"linger": Duration(seconds=601)}, "linger"),
        ({"linger": Duration(seconds=-1)}, "linger"),
    ],
)
def test_invalid_fields_of_a_request_are_named(
    server: ServerProcess, fields: dict[str, object], field: str
) -> None:
    request = stylize_request(**fields)
    code, _, where = refusal(server.stub.Stylize(request, timeout=PATIENCE))
    assert (code, where) == (grpc.StatusCode.INVALID_ARGUMENT, {field})
