from __future__ import annotations

import hashlib
import io
import json
import zlib
from concurrent.futures import ThreadPoolExecutor

import grpc
import PIL.Image
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from impasto.v1 import style_transfer_pb2 as pb
from support.bad_requests import BAD_REQUESTS
from support.samples import coded, photo, stylize_request
from support.server_process import PATIENCE, ServerProcess, running_server, until


def paint(server: ServerProcess, request: pb.StylizeRequest) -> tuple[list[pb.JobEvent], list[pb.ImageChunk]]:
    events, chunks = [], []
    for response in server.stub.Stylize(request, timeout=PATIENCE):
        if response.HasField("event"):
            assert not chunks, "an event behind the result"
            events.append(response.event)
        else:
            chunks.append(response.result)
    return events, chunks


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return info


def violations(error: grpc.RpcError) -> set[str]:
    status = rpc_status.from_call(error)
    assert status is not None
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in status.details)
    return {violation.field for violation in bad_request.field_violations}


def test_a_picture_is_painted(server: ServerProcess) -> None:
    content, style = coded(photo(48, 36)), coded(photo(30, 40))
    events, chunks = paint(server, stylize_request(content, style=style))

    kinds = [event.WhichOneof("event") for event in events]
    jobs = [event.job for event in events if event.HasField("job")]
    assert kinds[0] == kinds[-1] == "job"
    assert [job.state for job in jobs] == [pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING, pb.JOB_STATE_SUCCEEDED]
    assert "progress" in kinds
    assert "preview" in kinds
    sequences = [event.sequence for event in events]
    assert sequences == sorted(set(sequences))

    final = jobs[-1]
    assert final.stop_reason == pb.STOP_REASON_COMPLETED
    assert final.stop_message
    assert final.recipe.evaluations == final.progress.evaluation == final.progress.evaluations == 6
    assert final.recipe.precision in (pb.PRECISION_FLOAT32, pb.PRECISION_BFLOAT16)
    assert final.bfloat16 == (final.recipe.precision == pb.PRECISION_BFLOAT16)
    assert final.device == "cpu"
    assert final.network.weights == "builtin"
    assert final.network.architecture == "vgg16"
    assert final.HasField("end_time")
    assert (final.width, final.height) == (48, 36)

    data = b"".join(chunk.data for chunk in chunks)
    info = chunks[0].info
    assert info.format == pb.IMAGE_FORMAT_PNG
    assert info.size_bytes == len(data)
    assert info.sha256 == hashlib.sha256(data).hexdigest()
    picture = PIL.Image.open(io.BytesIO(data))
    assert picture.mode == "RGB"
    assert picture.size == (info.width, info.height) == (48, 36)
    assert "icc_profile" not in picture.info

    made = json.loads(picture.info["impasto"])
    assert made["content_sha256"] == hashlib.sha256(content).hexdigest()
    assert made["styles"] == [{"sha256": hashlib.sha256(style).hexdigest(), "weight": 1.0}]
    assert made["recipe"]["evaluations"] == made["evaluations"] == 6
    assert made["network"]["weights"] == "builtin"
    assert made["network"]["sha256"] == final.network.sha256
    assert made["stop_reason"] == "completed"
    assert set(made) >= {"impasto", "torch", "device"}


def test_the_recipe_shown_has_every_field(server: ServerProcess) -> None:
    layers = {
        name: [pb.LayerWeight(layer="relu2_1", weight=1)] for name in ("content_layers", "style_layers")
    }
    recipe = pb.Recipe(objective=pb.OBJECTIVE_BALANCED, evaluations=2, **layers)
    events, _ = paint(server, stylize_request(recipe=recipe))
    for event in (events[0], events[-1]):
        assert {field.name for field, _ in event.job.recipe.ListFields()} == {
            field.name for field in pb.Recipe.DESCRIPTOR.fields if field.name != "effort"
        }


def test_large_results_come_in_chunks_without_gaps(server: ServerProcess) -> None:
    noise = PIL.Image.merge("RGB", [PIL.Image.effect_noise((400, 400), 200) for _ in range(3)])
    recipe = pb.Recipe(objective=pb.OBJECTIVE_REPORT, evaluations=1, precision=pb.PRECISION_AUTO)
    events, chunks = paint(server, stylize_request(coded(noise), recipe=recipe))
    assert len(chunks) > 1
    assert max(chunk.ByteSize() for chunk in chunks) <= 257 * 1024
    offset = 0
    for chunk in chunks:
        assert chunk.offset == offset
        offset += len(chunk.data)
    assert [chunk.HasField("info") for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    previews = [event.preview for event in events if event.HasField("preview")]
    assert previews
    assert all(len(preview.data) <= 96 * 1024 for preview in previews)


@pytest.mark.parametrize("format", [pb.IMAGE_FORMAT_PNG, pb.IMAGE_FORMAT_JPEG, pb.IMAGE_FORMAT_WEBP])
def test_previews_follow_the_options(server: ServerProcess, format: pb.ImageFormat) -> None:
    options = pb.PreviewOptions(
        format=format, max_side=40, max_bytes=4096, min_interval=Duration(nanos=100_000_000)
    )
    events, _ = paint(server, stylize_request(coded(photo(96, 64)), preview=options))
    previews = [event.preview for event in events if event.HasField("preview")]
    assert previews[0].evaluation == 1
    for preview in previews:
        picture = PIL.Image.open(io.BytesIO(preview.data))
        assert preview.format == format
        assert picture.format == pb.ImageFormat.Name(format).removeprefix("IMAGE_FORMAT_")
        assert picture.size == (preview.width, preview.height)
        assert max(picture.size) <= 40
        assert len(preview.data) <= 4096


def test_previews_can_be_disabled(server: ServerProcess) -> None:
    events, chunks = paint(server, stylize_request(preview=pb.PreviewOptions(disabled=True)))
    assert not any(event.HasField("preview") for event in events)
    assert chunks


def test_raw_pixels_give_a_result_with_their_alpha(server: ServerProcess) -> None:
    rgba = photo(40, 30).convert("RGBA")
    rgba.putalpha(128)
    request = stylize_request()
    request.spec.content.raw.CopyFrom(pb.RawPixels(width=40, height=30, rgba=rgba.tobytes()))
    _, chunks = paint(server, request)
    picture = PIL.Image.open(io.BytesIO(b"".join(chunk.data for chunk in chunks)))
    assert picture.mode == "RGBA"
    assert picture.getchannel("A").getextrema() == (128, 128)


def test_an_image_to_start_from_is_used(server: ServerProcess) -> None:
    request = stylize_request(recipe=pb.Recipe(evaluations=2, start=pb.START_IMAGE))
    request.spec.start_image.encoded = coded(photo(16, 16))
    events, _ = paint(server, request)
    assert events[-1].job.state == pb.JOB_STATE_SUCCEEDED


def test_the_same_request_gives_the_same_picture(server: ServerProcess) -> None:
    request = stylize_request(recipe=pb.Recipe(evaluations=3, start=pb.START_NOISE, seed=5))
    first, second = (paint(server, request)[1] for _ in range(2))
    assert first[0].info.sha256 == second[0].info.sha256


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_an_invalid_request_is_refused_with_its_field(server: ServerProcess, name: str) -> None:
    request, field = BAD_REQUESTS[name]
    with pytest.raises(grpc.RpcError) as caught:
        paint(server, request)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field in violations(caught.value)
    info = error_info(caught.value)
    assert info.domain == "impasto"
    assert info.reason == "INVALID_FIELD"


def test_the_server_still_paints_after_invalid_requests(server: ServerProcess) -> None:
    for request, _ in BAD_REQUESTS.values():
        with pytest.raises(grpc.RpcError):
            paint(server, request)
    events, _ = paint(server, stylize_request())
    assert events[-1].job.state == pb.JOB_STATE_SUCCEEDED
    assert server.info().devices[0].restarts == 0


def test_an_image_with_damaged_pixels_fails_the_job_with_its_field(server: ServerProcess) -> None:
    png = bytearray(coded(PIL.Image.effect_noise((64, 64), 90), compress_level=0))
    # The zlib stream of the pixels is invalid, but its PNG chunk is complete and has a valid checksum.
    start = png.index(b"IDAT")
    end = start + 4 + int.from_bytes(png[start - 4 : start], "big")
    png[start + 7 : start + 200] = b"\xee" * 193
    png[end : end + 4] = zlib.crc32(png[start:end]).to_bytes(4, "big")
    events, chunks = paint(server, stylize_request(style=bytes(png)))
    final = events[-1].job
    assert final.state == pb.JOB_STATE_FAILED
    assert final.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in final.error.details)
    assert bad_request.field_violations[0].field == "spec.styles[0].image"
    assert not chunks


@pytest.mark.slow
def test_the_jobs_of_two_callers_both_progress(server: ServerProcess) -> None:
    request = stylize_request(coded(photo(64, 64)), recipe=pb.Recipe(evaluations=40))
    calls = [server.stub.Stylize(request, timeout=PATIENCE) for _ in range(2)]

    def span(call: grpc.Call) -> tuple[int, int]:
        jobs = [response.event.job for response in call if response.event.HasField("job")]
        assert jobs[-1].state == pb.JOB_STATE_SUCCEEDED
        return jobs[-1].start_time.ToNanoseconds(), jobs[-1].end_time.ToNanoseconds()

    with ThreadPoolExecutor(2) as pool:
        (start_a, end_a), (start_b, end_b) = pool.map(span, calls)
    overlap = min(end_a, end_b) - max(start_a, start_b)
    assert overlap > 0.5 * max(end_a - start_a, end_b - start_b)


def test_leaving_the_stream_frees_the_device(server: ServerProcess) -> None:
    call = server.stub.Stylize(stylize_request(recipe=pb.Recipe(evaluations=100_000)), timeout=PATIENCE)
    for response in call:
        if response.event.HasField("progress"):
            break
    assert server.info().unfinished_jobs == 1
    assert server.info().devices[0].resident_jobs == 1
    call.cancel()
    info = until(server.info, lambda info: info.unfinished_jobs == 0)
    until(server.info, lambda info: info.devices[0].resident_jobs == 0)
    assert info.devices[0].restarts == 0


def test_a_deadline_frees_the_device(server: ServerProcess) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(server.stub.Stylize(stylize_request(recipe=pb.Recipe(evaluations=100_000)), timeout=1))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until(server.info, lambda info: info.unfinished_jobs == 0 and info.devices[0].resident_jobs == 0)


def test_the_server_describes_itself(server: ServerProcess) -> None:
    info = server.info()
    assert info.version
    assert info.network.origin
    assert len(info.network.sha256) == 64
    (device,) = info.devices
    assert device.name == "cpu"
    assert device.description
    assert device.state == pb.DEVICE_STATE_READY
    assert device.auto_precision in (pb.PRECISION_FLOAT32, pb.PRECISION_BFLOAT16)
    assert set(info.accepted_formats) == {1, 2, 3, 4}
    # By default there is no limit for stored bytes.
    said = {field.name for field, _ in info.limits.ListFields()} | {"max_stored_bytes_of_tenant"}
    assert said == {field.name for field in pb.Limits.DESCRIPTOR.fields}


@pytest.mark.parametrize("service", ["", "impasto.v1.StyleTransfer"])
def test_health_is_serving(server: ServerProcess, service: str) -> None:
    health = health_pb2_grpc.HealthStub(server.channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_shows_the_contract(server: ServerProcess) -> None:
    database = ProtoReflectionDescriptorDatabase(server.channel)
    assert set(database.get_services()) >= {"impasto.v1.StyleTransfer", "grpc.health.v1.Health"}
    file = database.FindFileContainingSymbol("impasto.v1.StyleTransfer")
    assert {method.name for method in file.service[0].method} >= {"Stylize", "CreateJob", "GetServerInfo"}


def test_a_request_above_the_size_limit_is_refused(server: ServerProcess) -> None:
    limit = server.info().limits.max_request_bytes
    with pytest.raises(grpc.RpcError) as caught:
        paint(server, stylize_request(bytes(limit + 1)))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.info().version


@pytest.mark.slow
def test_a_full_queue_refuses_jobs_and_says_when_to_retry() -> None:
    arguments = ("--private", "--device", "cpu", "--weights", "builtin", "--max-jobs", "1")
    with running_server(*arguments) as server:
        # The worker is still starting; the call waits for it.
        first = server.stub.Stylize(stylize_request(), timeout=PATIENCE)
        assert next(first).event.job.state == pb.JOB_STATE_QUEUED
        with pytest.raises(grpc.RpcError) as caught:
            paint(server, stylize_request())
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error_info(caught.value).reason == "QUEUE_FULL"
        retry = error_details_pb2.RetryInfo()
        status = rpc_status.from_call(caught.value)
        assert status is not None
        assert any(detail.Unpack(retry) for detail in status.details)
        assert retry.retry_delay.seconds > 0
        assert [r.event.job.state for r in first if r.event.HasField("job")][-1] == pb.JOB_STATE_SUCCEEDED
        until(lambda: server.info().unfinished_jobs, lambda count: count == 0)
        assert paint(server, stylize_request())[1]


@pytest.mark.slow
def test_jobs_beyond_max_resident_wait_for_their_turn() -> None:
    arguments = ("--private", "--device", "cpu", "--weights", "builtin", "--max-resident", "1")
    with running_server(*arguments) as server:
        server.ready()
        first = server.stub.Stylize(stylize_request(recipe=pb.Recipe(evaluations=100_000)), timeout=PATIENCE)
        assert any(response.event.HasField("progress") for response in first)
        second = server.stub.Stylize(stylize_request(), timeout=PATIENCE)
        assert next(second).event.job.state == pb.JOB_STATE_QUEUED
        info = server.info()
        assert (info.unfinished_jobs, info.devices[0].resident_jobs) == (2, 1)
        first.cancel()
        states = [r.event.job.state for r in second if r.event.HasField("job")]
        assert states[-2:] == [pb.JOB_STATE_RUNNING, pb.JOB_STATE_SUCCEEDED]
