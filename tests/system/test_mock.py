"""`impasto-server serve --mock`, as a client sees it, and that it runs where PyTorch is not installed."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import PIL.Image
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import code_pb2, error_details_pb2

from impasto.python_programs import module_command
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import reason_of
from impasto_server.gateway.settings import SettingsError, gather
from support.samples import coded, mask, photo, stylize_request, texture_request
from support.server_process import PATIENCE, ServerProcess, children, running_server, until

MOCK = ("--mock", "--port", "0", "--mock-evaluation-time", "5ms", "--checkpoint-interval", "50ms")
WITHOUT_PYTORCH = """
import os, pathlib, sys
sys.modules.update(dict.fromkeys(["torch", "torchvision", "safetensors"]))
(pathlib.Path(__file__).parent / f"process-{os.getpid()}").touch()
"""
LONG = pb.Recipe(evaluations=100_000)


@pytest.fixture(scope="module")
def without_pytorch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that hides PyTorch from all Python programs that have it in PYTHONPATH, and notes them."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "sitecustomize.py").write_text(WITHOUT_PYTORCH)
    return folder


@pytest.fixture(scope="module")
def server(without_pytorch: Path) -> Iterator[ServerProcess]:
    with running_server(*MOCK, within=["env", f"PYTHONPATH={without_pytorch}"]) as running:
        running.ready()
        yield running


def paint(server: ServerProcess, request: pb.StylizeRequest) -> tuple[list[pb.JobEvent], bytes]:
    """The events of a job, and its result."""
    responses = list(server.stub.Stylize(request, timeout=PATIENCE))
    events = [response.event for response in responses if response.HasField("event")]
    return events, b"".join(response.result.data for response in responses if response.HasField("result"))


def pixels(result: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(result)).convert("RGB")).astype(int)


def create(server: ServerProcess, recipe: pb.Recipe, **fields: object) -> pb.Job:
    spec = stylize_request(recipe=recipe).spec
    return server.stub.CreateJob(pb.CreateJobRequest(spec=spec, **fields), timeout=PATIENCE)


def get(server: ServerProcess, name: str) -> pb.Job:
    return server.stub.GetJob(pb.GetJobRequest(name=name), timeout=PATIENCE)


def until_evaluation(server: ServerProcess, name: str, evaluation: int) -> pb.Job:
    return until(lambda: get(server, name), lambda job: job.progress.evaluation >= evaluation)


def final(server: ServerProcess, name: str) -> pb.Job:
    """The job once it is final."""
    *_, last = server.stub.WatchJob(pb.WatchJobRequest(name=name, omit_previews=True), timeout=PATIENCE)
    return last.job


def test_it_says_that_it_is_a_mock_and_no_process_has_pytorch(
    server: ServerProcess, without_pytorch: Path
) -> None:
    info = server.info()
    (device,) = info.devices
    assert (device.name, device.state) == ("mock", pb.DEVICE_STATE_READY)
    assert (info.network.architecture, info.network.weights, len(info.network.sha256)) == ("mock", "mock", 64)
    processes = [server.process.pid, *children(server.process.pid)]
    assert len(processes) == 3, "not gateway, intake and worker"
    for pid in processes:
        assert (without_pytorch / f"process-{pid}").exists()
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()


def test_the_log_says_that_the_mock_is_ready_and_its_precision(server: ServerProcess) -> None:
    (line,) = [line for line in server.log.splitlines() if "worker ready" in line][:1]
    assert " precision=float32 " in line


@pytest.mark.parametrize(("objective", "searches"), [("neighbours", True), ("balanced", False)])
def test_only_neighbours_searches_before_the_evaluations(
    server: ServerProcess, objective: str, searches: bool
) -> None:
    recipe = pb.Recipe(objective=f"OBJECTIVE_{objective.upper()}", evaluations=6)
    events, _ = paint(server, stylize_request(recipe=recipe))
    numbers = [event.progress for event in events if event.HasField("progress")]
    assert any(progress.HasField("preparing") for progress in numbers) == searches


def test_a_client_sees_progress_through_several_scales_previews_and_the_result(server: ServerProcess) -> None:
    request = stylize_request(coded(photo(160, 120)), recipe=pb.Recipe(effort=pb.EFFORT_DRAFT))
    request.preview.max_side = 64
    request.preview.min_interval.CopyFrom(Duration(nanos=100_000_000))
    events, result = paint(server, request)
    numbers = [event.progress for event in events if event.HasField("progress")]
    assert numbers[-1].evaluation == numbers[-1].evaluations > 1
    assert {progress.scale for progress in numbers} == set(range(1, numbers[-1].scales + 1))
    assert numbers[-1].scales > 1
    assert (numbers[-1].width, numbers[-1].height) == (160, 120)
    for before, after in itertools.pairwise(n for n in numbers if not n.HasField("preparing")):
        assert after.loss > 0
        assert after.scale > before.scale or after.loss < before.loss
    previews = [event.preview for event in events if event.HasField("preview")]
    assert len(previews) >= 2
    for preview in previews:
        picture = PIL.Image.open(io.BytesIO(preview.data))
        assert max(picture.size) <= 64
        assert picture.size == (preview.width, preview.height)
    job = events[-1].job
    assert (job.state, job.stop_reason) == (pb.JOB_STATE_SUCCEEDED, pb.STOP_REASON_COMPLETED)
    picture = PIL.Image.open(io.BytesIO(result))
    assert picture.size == (160, 120)
    made = json.loads(picture.text["impasto"])  # type: ignore[attr-defined]
    assert (made["device"], made["network"]["weights"]) == (server.info().devices[0].description, "mock")


def test_the_result_depends_on_the_request_and_on_nothing_else(server: ServerProcess) -> None:
    _, first = paint(server, stylize_request())
    _, same = paint(server, stylize_request())
    assert first == same
    _, other_style = paint(
        server, stylize_request(style=coded(photo(20, 28).point(lambda level: level // 2)))
    )
    _, other_weight = paint(server, stylize_request(recipe=pb.Recipe(evaluations=6, content_weight=5)))
    assert (pixels(other_style) != pixels(first)).any()
    assert (pixels(other_weight) != pixels(first)).any()
    # The colours come from the style.
    style = coded(PIL.Image.new("RGB", (20, 20), (250, 20, 20)))
    request = stylize_request(style=style, recipe=pb.Recipe(evaluations=6, content_weight=0))
    assert np.abs(pixels(paint(server, request)[1]) - (250, 20, 20)).max() < 5


def test_a_result_has_16_bits_if_asked_for(server: ServerProcess) -> None:
    request = stylize_request()
    request.spec.result_format = pb.IMAGE_FORMAT_PNG_16
    _, result = paint(server, request)
    assert result[24] == 16  # The bit depth in a PNG's header.


def test_a_job_can_be_steered_paused_and_resumed(server: ServerProcess) -> None:
    job = create(server, LONG)
    until_evaluation(server, job.name, 5)
    update = pb.Job(name=job.name, title="Birds", recipe=pb.Recipe(evaluations=120, content_weight=2))
    paths = ["title", "recipe.evaluations", "recipe.content_weight"]
    request = pb.UpdateJobRequest(job=update, update_mask=FieldMask(paths=paths))
    steered = server.stub.UpdateJob(request, timeout=PATIENCE)
    assert (steered.title, steered.recipe.content_weight) == ("Birds", 2)
    paused = server.stub.PauseJob(pb.PauseJobRequest(name=job.name), timeout=PATIENCE)
    assert paused.state == pb.JOB_STATE_PAUSED
    made = get(server, job.name).progress.evaluation
    server.stub.ResumeJob(pb.ResumeJobRequest(name=job.name), timeout=PATIENCE)
    done = final(server, job.name)
    assert done.state == pb.JOB_STATE_SUCCEEDED
    assert done.recipe.evaluations == done.progress.evaluation == max(120, made)
    assert done.progress.device_time.ToMilliseconds() >= 5 * 120


def test_a_paused_job_keeps_the_evaluations_that_are_made_when_it_is_steered_to_fewer(
    server: ServerProcess,
) -> None:
    job = create(server, pb.Recipe(evaluations=100_000, objective=pb.OBJECTIVE_NEIGHBOURS))
    until_evaluation(server, job.name, 20)
    server.stub.PauseJob(pb.PauseJobRequest(name=job.name), timeout=PATIENCE)
    update = pb.Job(name=job.name, recipe=pb.Recipe(evaluations=5))
    request = pb.UpdateJobRequest(job=update, update_mask=FieldMask(paths=["recipe.evaluations"]))
    server.stub.UpdateJob(request, timeout=PATIENCE)
    server.stub.ResumeJob(pb.ResumeJobRequest(name=job.name), timeout=PATIENCE)
    responses = server.stub.WatchJob(pb.WatchJobRequest(name=job.name, omit_previews=True), timeout=PATIENCE)
    events = list(responses)
    for progress in (event.progress for event in events if event.HasField("progress")):
        assert progress.evaluation <= progress.evaluations
        assert progress.time_left.ToNanoseconds() >= 0
    done = events[-1].job
    assert done.state == pb.JOB_STATE_SUCCEEDED
    assert done.recipe.evaluations == done.progress.evaluation == done.progress.evaluations


def test_a_steering_change_that_is_refused_names_its_field(server: ServerProcess) -> None:
    job = create(server, LONG)
    update = pb.Job(name=job.name, recipe=pb.Recipe(content_weight=-1))
    request = pb.UpdateJobRequest(job=update, update_mask=FieldMask(paths=["recipe.content_weight"]))
    with pytest.raises(grpc.RpcError, match="content_weight") as caught:
        server.stub.UpdateJob(request, timeout=PATIENCE)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    server.stub.DeleteJob(pb.DeleteJobRequest(name=job.name), timeout=PATIENCE)


def test_several_jobs_share_the_device_and_can_be_cancelled(server: ServerProcess) -> None:
    jobs = [create(server, LONG) for _ in range(3)]
    # Jobs that nobody watches are painted one after the other.
    watches = [server.stub.WatchJob(pb.WatchJobRequest(name=job.name), timeout=PATIENCE) for job in jobs]
    for job in jobs:
        until_evaluation(server, job.name, 5)
    for watch in watches:
        watch.cancel()
    for job in jobs:
        server.stub.CancelJob(pb.CancelJobRequest(name=job.name), timeout=PATIENCE)
        assert final(server, job.name).state == pb.JOB_STATE_CANCELLED


def test_a_texture_has_the_size_that_was_asked_for(server: ServerProcess) -> None:
    events, result = paint(server, texture_request(40, 30))
    assert events[-1].job.state == pb.JOB_STATE_SUCCEEDED
    assert pixels(result).shape == (30, 40, 3)


def test_what_is_not_selected_stays_as_it_is(server: ServerProcess) -> None:
    request = stylize_request(style=coded(PIL.Image.new("RGB", (20, 20), (250, 20, 20))))
    request.spec.selection.encoded = coded(mask())
    changed = np.abs(pixels(paint(server, request)[1]) - np.asarray(photo()).astype(int)).max(axis=2)
    assert changed[:, :14].min() > 0
    assert changed[:, 18:].max() == 0


def test_each_region_has_the_colours_of_its_style(server: ServerProcess) -> None:
    recipe = pb.Recipe(evaluations=6, content_weight=0)
    request = stylize_request(style=coded(PIL.Image.new("RGB", (20, 20), (250, 20, 20))), recipe=recipe)
    request.spec.styles.add().image.encoded = coded(PIL.Image.new("RGB", (20, 20), (20, 20, 250)))
    left, right = mask(), PIL.Image.eval(mask(), lambda level: 255 - level)
    request.spec.regions.add(content_mask=pb.Image(encoded=coded(left)), style=0)
    request.spec.regions.add(content_mask=pb.Image(encoded=coded(right)), style=1)
    painted = pixels(paint(server, request)[1])
    assert np.abs(painted[:, :14] - (250, 20, 20)).max() < 5
    assert np.abs(painted[:, 18:] - (20, 20, 250)).max() < 5


def seeded(seed: int, evaluations: int = 40) -> pb.Recipe:
    return pb.Recipe(seed=seed, evaluations=evaluations)


def test_seed_9001_makes_a_job_fail_halfway(server: ServerProcess) -> None:
    done = final(server, create(server, seeded(9001)).name)
    assert (done.state, done.error.code) == (pb.JOB_STATE_FAILED, code_pb2.INTERNAL)
    assert reason_of(done.error) == "PAINTING_FAILED"
    assert done.progress.evaluation == 20


def test_seed_9002_makes_a_job_too_large_for_the_device(server: ServerProcess) -> None:
    done = final(server, create(server, seeded(9002)).name)
    assert (done.state, done.error.code) == (pb.JOB_STATE_FAILED, code_pb2.RESOURCE_EXHAUSTED)
    assert reason_of(done.error) == "DOES_NOT_FIT"
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in done.error.details)
    assert bad.field_violations[0].field == "spec.recipe.longest_side"


def test_seed_9003_makes_the_worker_crash_once_and_the_job_goes_on(server: ServerProcess) -> None:
    restarts = server.info().devices[0].restarts
    done = final(server, create(server, seeded(9003)).name)
    assert done.state == pb.JOB_STATE_SUCCEEDED
    assert server.info().devices[0].restarts == restarts + 1


def test_seed_9004_makes_the_worker_crash_until_the_job_is_given_up(server: ServerProcess) -> None:
    done = final(server, create(server, seeded(9004)).name)
    assert (done.state, reason_of(done.error)) == (pb.JOB_STATE_FAILED, "JOB_KILLS_WORKER")
    server.ready()


def test_seed_9005_makes_a_job_ten_times_as_slow(server: ServerProcess) -> None:
    done = final(server, create(server, seeded(9005, evaluations=4)).name)
    assert done.state == pb.JOB_STATE_SUCCEEDED
    assert done.progress.device_time.ToMilliseconds() >= 4 * 50


def test_seed_9006_makes_a_job_stop_early(server: ServerProcess) -> None:
    done = final(server, create(server, seeded(9006)).name)
    assert (done.state, done.stop_reason) == (pb.JOB_STATE_SUCCEEDED, pb.STOP_REASON_PLATEAU)
    assert done.progress.evaluation == 20
    assert done.stop_message == "the loss had almost stopped falling after 20 evaluations"


def test_with_a_data_folder_a_job_goes_on_after_a_crash_of_the_server(tmp_path: Path) -> None:
    arguments = (*MOCK, "--data-dir", str(tmp_path))
    with running_server(*arguments) as first:
        job = create(first, LONG)
        until_evaluation(first, job.name, 40)
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait(PATIENCE)
    with running_server(*arguments) as second:
        made = get(second, job.name).progress.evaluation
        # Far fewer than a job has that began anew.
        events = second.stub.WatchJob(pb.WatchJobRequest(name=job.name), timeout=PATIENCE)
        progress = next(event.progress for event in events if event.HasField("progress"))
        assert progress.evaluation > 10
        assert made > 10


def test_a_mock_never_touches_the_data_or_the_tokens_of_a_real_server(tmp_path: Path) -> None:
    environment = {
        "IMPASTO_DATA_DIR": str(tmp_path),
        "IMPASTO_TOKENS_FILE": str(tmp_path / "tokens.json"),
        "IMPASTO_PORT": "1",
    }
    settings = gather({"mock": True}, environment)
    assert (settings.data_dir, settings.tokens_file, settings.port) == (None, None, None)
    assert settings.keeps_nothing
    assert not gather({"mock": True, "data_dir": str(tmp_path)}, environment).keeps_nothing
    # A server that paints cannot become a mock by mistake.
    assert not gather({}, {"IMPASTO_MOCK": "1"}).mock


def test_a_mock_warns_of_each_setting_that_it_ignores(tmp_path: Path) -> None:
    config = tmp_path / "f.toml"
    config.write_text("metrics_port = 1\nmax_jobs = 3\n")
    variables = ["env", "IMPASTO_PORT=1", f"IMPASTO_TOKENS_FILE={tmp_path / 'tokens.json'}"]
    with running_server(*MOCK, "--config", str(config), within=variables) as server:
        server.ready()
        ignored = re.findall(r"level=WARNING .* ignores this setting.* option=(\S+)", server.log)
        assert f"setting='{config}: metrics_port' option=--metrics-port" in server.log
    # The port is given as an option too. The tests' data folder is a variable.
    assert ignored == ["--data-dir", "--tokens-file", "--metrics-port"]


@pytest.mark.parametrize("port", ["99999", "abc"])
def test_a_mock_refuses_an_invalid_value_of_a_setting_that_it_ignores(port: str) -> None:
    with pytest.raises(SettingsError, match=f"IMPASTO_PORT is '{port}'; give a whole number"):
        gather({"mock": True}, {"IMPASTO_PORT": port})


def test_the_command_line_client_paints_with_it(server: ServerProcess, tmp_path: Path) -> None:
    for name, picture in (("content.png", photo(64, 48)), ("style.png", photo(20, 28))):
        picture.save(tmp_path / name)
    command = [
        Path(sys.executable).parent / "impasto",
        "stylize",
        "content.png",
        "style.png",
        "-o",
        "out.png",
    ]
    command += ["--server", server.address, "--size", "48", "--effort", "draft"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=PATIENCE)
    assert PIL.Image.open(tmp_path / "out.png").size == (48, 36)


def test_a_mock_and_a_real_server_refuse_each_others_data_folders(tmp_path: Path) -> None:
    ours, real = tmp_path / "mock", tmp_path / "real"
    with running_server(*MOCK, "--data-dir", str(ours)):
        pass
    (real / "store").mkdir(parents=True)
    for options, words in (
        (("--data-dir", str(ours), "--port", "0"), "belongs to a mock server"),
        ((*MOCK, "--data-dir", str(real)), "give --mock another folder"),
    ):
        command = [*module_command("impasto_server"), "serve", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 2
        assert words in done.stderr
        assert str(tmp_path) in done.stderr
