"""Damaged files of a real server: it notices them, never sends them, and accepts them again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import coded, photo, stylize_request
from support.server_process import PATIENCE, ServerProcess, running_server

ONE = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    arguments = ("--port", "0", "--device", "cpu", "--weights", "builtin", "--data-dir", str(folder))
    with running_server(*arguments) as server:
        server.ready()
        yield server


def flip(path: Path) -> None:
    """Changes one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def download(server: ServerProcess, **source: object) -> bytes:
    request = pb.DownloadImageRequest(**source)  # type: ignore[arg-type]
    return b"".join(chunk.data for chunk in server.stub.DownloadImage(request, timeout=PATIENCE))


def code_and_reason(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return error.code(), info.reason


def upload(server: ServerProcess, data: bytes, sha256: str) -> pb.UploadImageResponse:
    piece = pb.UploadImageRequest(sha256=sha256, size_bytes=len(data), data=data)
    return server.stub.UploadImage(iter([piece]), timeout=PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("again", ["uploaded", "sent with a job"])
def test_a_damaged_image_counts_as_missing_until_it_is_uploaded_again(
    server: ServerProcess, folder: Path, again: str
) -> None:
    data = coded(photo(40, 30 if again == "uploaded" else 31))
    sha256 = hashlib.sha256(data).hexdigest()
    assert upload(server, data, sha256).complete
    flip(folder / "images" / sha256)
    with pytest.raises(grpc.RpcError) as caught:
        download(server, sha256=sha256)
    assert code_and_reason(caught.value) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    named = pb.CreateJobRequest(spec=stylize_request(recipe=ONE).spec)
    named.spec.content.sha256 = sha256
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.CreateJob(named, timeout=PATIENCE)
    assert code_and_reason(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "IMAGE_MISSING")
    if again == "uploaded":
        assert upload(server, data, sha256).complete
    else:
        server.stub.CreateJob(
            pb.CreateJobRequest(spec=stylize_request(data, recipe=ONE).spec), timeout=PATIENCE
        )
    assert download(server, sha256=sha256) == data
    assert server.stub.CreateJob(named, timeout=PATIENCE).name


@pytest.mark.parametrize("format", [pb.IMAGE_FORMAT_PNG, pb.IMAGE_FORMAT_JPEG])
@pytest.mark.parametrize("how", ["flipped", "cut off", "removed"])
def test_a_damaged_result_is_not_sent(
    server: ServerProcess, folder: Path, format: pb.ImageFormat, how: str
) -> None:
    request = pb.CreateJobRequest(spec=stylize_request(recipe=ONE).spec)
    name = server.stub.CreateJob(request, timeout=PATIENCE).name
    *_, last = server.stub.WatchJob(pb.WatchJobRequest(name=name), timeout=PATIENCE)
    whole = download(server, result_of=name)
    assert hashlib.sha256(whole).hexdigest() == last.job.result.sha256
    path = folder / "results" / f"{name.removeprefix('jobs/')}.png"
    if how == "flipped":
        flip(path)
    elif how == "cut off":
        path.write_bytes(whole[:100])
    else:
        path.unlink()
    with pytest.raises(grpc.RpcError) as caught:
        download(server, result_of=name, format=format)
    assert code_and_reason(caught.value) == (grpc.StatusCode.DATA_LOSS, "DAMAGED")
    path.write_bytes(whole)
    assert download(server, result_of=name) == whole


def test_requests_up_to_the_size_limit_are_answered_and_longer_ones_refused(
    server: ServerProcess,
) -> None:
    states = list(pb.JobState.values())[1:] * 450
    page = server.stub.ListJobs(pb.ListJobsRequest(states=states, page_size=3), timeout=PATIENCE)
    assert len(page.jobs) == 3
    again = pb.ListJobsRequest(states=states[::-1], page_size=3, page_token=page.next_page_token)
    assert server.stub.ListJobs(again, timeout=PATIENCE).jobs
    long = "jobs/" + "ä" * 30_000
    image = pb.Image(sha256="z" * 60_000)
    spec = stylize_request().spec
    spec.content.CopyFrom(image)
    calls = [
        (server.stub.GetJob, pb.GetJobRequest(name=long)),
        (server.stub.DeleteJob, pb.DeleteJobRequest(name=long)),
        (
            server.stub.UpdateJob,
            pb.UpdateJobRequest(job=pb.Job(name=page.jobs[0].name), update_mask={"paths": [long] * 30}),
        ),
        (server.stub.CreateJob, pb.CreateJobRequest(spec=spec)),
        (server.stub.CreateJob, pb.CreateJobRequest(spec=spec, request_id=long, title=long)),
        (server.stub.ListJobs, pb.ListJobsRequest(page_token=long)),
        (server.stub.GetJob, pb.GetJobRequest(name=long * 30)),
        (server.stub.ListJobs, pb.ListJobsRequest(states=states * 50)),
    ]
    for call, request in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=PATIENCE)
        code_and_reason(caught.value)
        assert caught.value.code() != grpc.StatusCode.RESOURCE_EXHAUSTED
