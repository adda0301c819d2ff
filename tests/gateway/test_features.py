"""Textures, regions, selection, colour and memory, through the real server."""

from __future__ import annotations

import hashlib
import io
import json
import re
from typing import Any

import grpc
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from google.rpc import error_details_pb2

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import coded, mask, photo, stylize_request, texture_request
from support.server_process import PATIENCE, ServerProcess, running_server, until


def paint(server: ServerProcess, request: pb.StylizeRequest) -> tuple[pb.Job, PIL.Image.Image | None]:
    """The final job, and its result if it has one."""
    responses = list(server.stub.Stylize(request, timeout=PATIENCE))
    job = [response.event.job for response in responses if response.event.HasField("job")][-1]
    data = b"".join(response.result.data for response in responses)
    return job, PIL.Image.open(io.BytesIO(data)) if data else None


def painted(server: ServerProcess, request: pb.StylizeRequest) -> tuple[np.ndarray, dict[str, Any]]:
    """The result's levels (height, width, channels), and its metadata."""
    job, picture = paint(server, request)
    assert job.state == pb.JOB_STATE_SUCCEEDED, job.error
    assert picture is not None
    return np.asarray(picture).astype(int), json.loads(picture.info["impasto"])


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def one_colour(*colour: int) -> bytes:
    return coded(PIL.Image.new("RGB", (24, 24), colour))


def test_a_texture_is_painted(server: ServerProcess) -> None:
    levels, made = painted(server, texture_request(40, 24))
    assert levels.shape == (24, 40, 3)
    assert made["texture"] == {"width": 40, "height": 24}
    assert "content_sha256" not in made
    assert made["recipe"]["start"] == "noise"
    assert made["recipe"]["content_weight"] == 0


def test_another_seed_gives_another_texture(server: ServerProcess) -> None:
    requests = [texture_request(32, 32, recipe=pb.Recipe(evaluations=4, seed=seed)) for seed in (1, 1, 2)]
    first, again, other = (painted(server, request)[0] for request in requests)
    assert (first == again).all()
    assert (first != other).any()


def test_each_region_has_its_own_style(server: ServerProcess) -> None:
    left = coded(mask(48, 32))
    right = coded(mask(48, 32).transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT))
    whole = coded(PIL.Image.new("L", (24, 24), 255))
    request = stylize_request(
        coded(PIL.Image.new("RGB", (48, 32), (128, 128, 128))), style=one_colour(220, 30, 30)
    )
    request.spec.styles.add().image.encoded = one_colour(30, 30, 220)
    request.spec.regions.add(style=0, style_mask=pb.Image(encoded=whole)).content_mask.encoded = left
    request.spec.regions.add(style=1).content_mask.encoded = right
    levels, made = painted(server, request)
    assert levels[:, :16, 0].mean() > levels[:, :16, 2].mean() + 40
    assert levels[:, 32:, 2].mean() > levels[:, 32:, 0].mean() + 40
    assert made["regions"] == [
        {"content_mask_sha256": sha256(left), "style": 0, "style_mask_sha256": sha256(whole)},
        {"content_mask_sha256": sha256(right), "style": 1},
    ]


def test_pixels_outside_the_selection_do_not_change(server: ServerProcess) -> None:
    content = photo(64, 48).convert("RGBA")
    alpha = PIL.Image.linear_gradient("L").resize(content.size).point(lambda level: max(1, level))
    content.putalpha(alpha)
    selection = coded(mask(64, 48))
    request = stylize_request(coded(content), style=one_colour(230, 40, 40))
    request.spec.selection.encoded = selection
    levels, made = painted(server, request)
    change = np.abs(levels - np.asarray(content).astype(int))
    assert change[:, 34:].max() <= 1
    assert change[:, :30, :3].max() > 20
    assert (levels[:, :, 3] == np.asarray(alpha)).all()
    assert made["selection_sha256"] == sha256(selection)


def test_a_black_mask_is_refused_with_its_field(server: ServerProcess) -> None:
    black = coded(PIL.Image.new("L", (8, 8), 0))
    request = stylize_request()
    request.spec.selection.encoded = black
    assert fault_of(server, request).field == "spec.selection"
    request = stylize_request()
    request.spec.regions.add().content_mask.encoded = black
    assert fault_of(server, request).field == "spec.regions[0].content_mask"


@pytest.mark.parametrize("color", [pb.COLOR_LUMINANCE, pb.COLOR_MATCHED])
def test_the_colours_of_the_content_can_be_kept(server: ServerProcess, color: pb.Color) -> None:
    grey = photo(40, 32).convert("L")
    content = PIL.ImageOps.colorize(grey, black=(20, 60, 120), white=(100, 140, 200))

    def blueness(recipe: pb.Recipe) -> float:
        levels, _ = painted(
            server, stylize_request(coded(content), style=one_colour(230, 120, 20), recipe=recipe)
        )
        return float(levels[:, :, 2].mean() - levels[:, :, 0].mean())

    assert blueness(pb.Recipe(evaluations=4)) < 0
    assert blueness(pb.Recipe(evaluations=4, color=color)) > 50


def test_other_objectives_and_layers_can_be_chosen(server: ServerProcess) -> None:
    layers = [pb.LayerWeight(layer="relu1_1", weight=1), pb.LayerWeight(layer="relu2_1", weight=2)]
    recipe = pb.Recipe(
        objective=pb.OBJECTIVE_WASSERSTEIN,
        evaluations=4,
        style_layers=layers,
        style_scale=0.7,
        optimizer=pb.OPTIMIZER_ADAM,
        averaging=0.5,
    )
    job, picture = paint(server, stylize_request(recipe=recipe))
    assert job.state == pb.JOB_STATE_SUCCEEDED
    assert list(job.recipe.style_layers) == layers
    assert job.recipe.objective == pb.OBJECTIVE_WASSERSTEIN
    assert picture is not None
    made = json.loads(picture.info["impasto"])["recipe"]
    assert made["objective"] == "wasserstein"
    assert made["style_layers"] == [["relu1_1", 1.0], ["relu2_1", 2.0]]
    assert made["averaging"] == 0.5


def test_a_plateau_ends_the_painting_and_is_reported(server: ServerProcess) -> None:
    # If the content is the style, there is nothing to improve.
    same = one_colour(100, 100, 100)
    recipe = pb.Recipe(evaluations=300, tv_weight=0, optimizer=pb.OPTIMIZER_ADAM, learning_rate=1e-6)
    job, _ = paint(server, stylize_request(same, style=same, recipe=recipe))
    assert job.stop_reason == pb.STOP_REASON_PLATEAU
    assert job.progress.evaluation < 300
    assert "almost stopped falling" in job.stop_message


def test_equal_requests_give_the_same_bytes(server: ServerProcess) -> None:
    request = stylize_request(coded(photo(48, 32)))
    request.spec.selection.encoded = coded(mask(48, 32))
    request.spec.regions.add().content_mask.encoded = coded(mask(48, 32))

    def data() -> bytes:
        responses = server.stub.Stylize(request, timeout=PATIENCE)
        return b"".join(response.result.data for response in responses)

    assert data() == data()


@pytest.mark.slow
def test_a_style_is_computed_once_for_many_contents() -> None:
    arguments = ("--private", "--device", "cpu", "--weights", "builtin")
    style = coded(photo(30, 30))
    with running_server(*arguments) as server:
        for shade in (0, 90):
            content = coded(photo(32, 32).point(lambda level, shade=shade: level // 2 + shade))
            painted(server, stylize_request(content, style=style, recipe=pb.Recipe(evaluations=2)))
        counts = re.findall(r"style_targets_computed=(\d+) style_targets_reused=(\d+)", server.log)
    (computed, reused), (computed_later, reused_later) = ([int(n) for n in pair] for pair in counts)
    assert computed_later == computed > 0
    assert reused_later > reused


def fault_of(server: ServerProcess, request: pb.StylizeRequest) -> Any:
    """The field violation of a job that fails."""
    job, picture = paint(server, request)
    assert picture is None
    assert job.state == pb.JOB_STATE_FAILED
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in job.error.details)
    (violation,) = bad_request.field_violations
    return violation


def test_the_memory_plan_is_reported(server: ServerProcess) -> None:
    job, picture = paint(server, stylize_request())
    assert job.memory_plan.method == pb.MEMORY_METHOD_PLAIN
    (device,) = server.info().devices
    assert 0 < job.memory_plan.estimated_bytes < device.memory_bytes
    assert picture is not None
    assert json.loads(picture.info["impasto"])["memory_plan"] == {"method": "plain", "tile_side": None}


@pytest.mark.slow
def test_jobs_wait_for_free_memory(server: ServerProcess) -> None:
    needed = paint(server, stylize_request())[0].memory_plan.estimated_bytes >> 20
    arguments = ("--private", "--device", "cpu", "--weights", "builtin", "--memory", f"{needed * 3 // 2}MiB")
    with running_server(*arguments) as small:
        first = small.stub.Stylize(stylize_request(recipe=pb.Recipe(evaluations=100_000)), timeout=PATIENCE)
        assert any(response.event.HasField("progress") for response in first)
        second = small.stub.Stylize(stylize_request(), timeout=PATIENCE)
        assert next(second).event.job.state == pb.JOB_STATE_QUEUED
        until(lambda: small.log, lambda log: "waits for memory" in log)
        assert small.info().devices[0].resident_jobs == 1
        first.cancel()
        states = [response.event.job.state for response in second if response.event.HasField("job")]
        assert states == [pb.JOB_STATE_RUNNING, pb.JOB_STATE_SUCCEEDED]


@pytest.mark.slow
def test_a_job_larger_than_the_memory_is_refused_with_the_memory_that_it_needs() -> None:
    arguments = ("--private", "--device", "cpu", "--weights", "builtin", "--memory", "300MiB")
    with running_server(*arguments) as server:
        (device,) = server.ready().devices
        assert device.memory_bytes == 300 << 20
        request = stylize_request(recipe=pb.Recipe(evaluations=1, longest_side=4096))
        job, _ = paint(server, request)
        assert job.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        info = error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(info) for detail in job.error.details)
        assert info.reason == "DOES_NOT_FIT"
        violation = fault_of(server, request)
        assert violation.field == "spec.recipe.longest_side"
        needed = re.search(r"needs about (\d+) MiB", violation.description)
        assert needed is not None
        assert int(needed[1]) > 300
        # A job that fits is still painted.
        assert paint(server, stylize_request())[0].state == pb.JOB_STATE_SUCCEEDED


@pytest.mark.slow
def test_pictures_beyond_the_devices_memory_are_refused_before_they_are_decoded() -> None:
    with running_server(
        "--port", "0", "--device", "cpu", "--weights", "builtin", "--memory", "300MiB"
    ) as small:
        small.ready()
        request = stylize_request(recipe=pb.Recipe(evaluations=2, longest_side=8192))
        for _ in range(2):
            # Files of one colour have only a few kilobytes.
            image = coded(PIL.Image.new("RGB", (8192, 8192)), compress_level=9)
            request.spec.styles.add().image.encoded = image
        job = paint(small, request)[0]
        assert job.state == pb.JOB_STATE_FAILED
        assert job.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert "longest_side" in str(job.error)
