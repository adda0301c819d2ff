"""The client with a real server: both understand the contract in the same way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

import impasto
from impasto.recipe import FIELDS
from support.samples import coded, photo
from support.server_process import ServerProcess

pytestmark = pytest.mark.parametrize("way", ["grpcio", "grpclib"], indirect=True)


@pytest.fixture
def client(way: str, server: ServerProcess) -> Iterator[impasto.Client]:
    with impasto.Client(server.address) as client:
        yield client


def test_a_painting_from_start_to_end(client: impasto.Client, tmp_path: Path) -> None:
    with client.stylize(
        photo(40, 30), [(photo(20, 28), 2.0), coded(photo(16, 16))], evaluations=6
    ) as painting:
        assert painting.job.state in ("queued", "running")
        events = list(painting)
    previews = [event for event in events if isinstance(event, impasto.Preview)]
    numbers = [event for event in events if isinstance(event, impasto.Progress)]
    assert previews[0].image.size == (previews[0].width, previews[0].height)
    assert numbers[-1].evaluation == numbers[-1].evaluations == 6
    picture = painting.result()
    assert picture.image.size == (picture.width, picture.height) == (40, 30)
    job = picture.job
    assert (job.state, job.stop_reason) == ("succeeded", "completed")
    assert job.network is not None
    assert (job.network.weights, job.device) == ("builtin", "cpu")
    assert job.recipe.objective == FIELDS["objective"].default_value
    objectives_own = {"effort", "content_layers", "style_layers"}
    assert {name for name, value in vars(job.recipe).items() if value is None} == objectives_own
    assert job.create_time is not None
    assert job.end_time is not None
    assert job.create_time <= job.end_time
    assert picture.metadata["recipe"]["evaluations"] == 6
    picture.save(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes() == picture.data


@pytest.mark.slow
def test_the_caller_sees_the_progress_of_the_search_for_targets(client: impasto.Client) -> None:
    with client.stylize(photo(), photo(64, 48), objective="neighbours", size=320, evaluations=3) as painting:
        numbers = [event for event in painting if isinstance(event, impasto.Progress)]
    shares = [progress.preparing for progress in numbers if progress.preparing is not None]
    assert shares == sorted(shares)
    assert all(0 < share < 1 for share in shares)
    told = [progress for progress in numbers if progress.preparing is not None]
    assert {(progress.evaluation, progress.scale) for progress in told} == {(2, 3)}
    # The estimate comes from the earlier scales.
    assert all(progress.time_left > 0 for progress in told)
    assert (numbers[-1].evaluation, numbers[-1].preparing) == (3, None)
    assert painting.result().image.size == (320, 240)


def test_a_refusal_names_the_fields_of_the_contract(client: impasto.Client) -> None:
    with pytest.raises(impasto.InvalidRequest) as caught:
        client.stylize(b"no image", photo(), size=7)
    assert {field.removesuffix(".encoded") for field, _ in caught.value.fields} == {
        "spec.content",
        "spec.recipe.longest_side",
    }
    assert caught.value.reason


def test_cancelling_frees_the_server(client: impasto.Client) -> None:
    painting = client.stylize(photo(), photo(), evaluations=100_000)
    for event in painting:
        if isinstance(event, impasto.Progress):
            painting.cancel()
            break
    with pytest.raises(impasto.JobCancelled):
        painting.result()
    deadline = time.monotonic() + 20
    while client.info().unfinished_jobs:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_raw_pixels_and_a_start_image(client: impasto.Client) -> None:
    pixels = impasto.RawPixels(24, 16, photo(24, 16).convert("RGBA").tobytes())
    picture = client.stylize(pixels, photo(), start_image=photo(24, 16), evaluations=1).result()
    assert picture.job.recipe.start == "image"
    assert (picture.width, picture.height) == (24, 16)


def test_info_is_read(client: impasto.Client) -> None:
    info = client.info()
    assert info.network is not None
    assert info.network.architecture == "vgg16"
    assert info.devices[0].state == "ready"
    assert {"png", "jpeg", "webp", "tiff"} == set(info.accepted_formats)


def half_mask(width: int, height: int) -> Image.Image:
    """A mask whose left part is white."""
    mask = Image.new("L", (width, height))
    mask.paste(255, (0, 0, width // 2, height))
    return mask


def test_a_texture(client: impasto.Client) -> None:
    blue = Image.effect_noise((32, 32), 80)
    style = Image.merge(
        "RGB", (blue.point(lambda value: value // 4), blue.point(lambda value: value // 4), blue)
    )
    picture = client.stylize(None, style, texture=(40, 24), evaluations=12).result()
    assert (picture.width, picture.height) == (40, 24)
    assert picture.job.recipe.start == "noise"
    red, _, blue_mean = ImageStat.Stat(picture.image.convert("RGB")).mean
    assert blue_mean > red + 20
    assert picture.metadata["texture"] == {"width": 40, "height": 24}


def test_a_selection_leaves_the_rest_unchanged(client: impasto.Client) -> None:
    content = photo(64, 32)
    style = Image.effect_noise((32, 32), 100).convert("RGB")
    picture = client.stylize(content, style, selection=half_mask(64, 32), evaluations=6).result()
    difference = ImageChops.difference(picture.image.convert("RGB"), content)
    assert max(high for _, high in difference.crop((34, 0, 64, 32)).getextrema()) <= 1
    assert max(high for _, high in difference.crop((0, 0, 30, 32)).getextrema()) > 20


@pytest.mark.slow
def test_each_region_takes_its_own_style(client: impasto.Client) -> None:
    noise = Image.effect_noise((48, 48), 60)
    dark = noise.point(lambda value: value // 4)
    red, blue = Image.merge("RGB", (noise, dark, dark)), Image.merge("RGB", (dark, dark, noise))
    left = half_mask(64, 48)
    picture = client.stylize(
        Image.new("RGB", (64, 48), "grey"),
        [red, blue],
        regions=[impasto.Region(left, 0), impasto.Region(left.rotate(180), 1)],
        evaluations=30,
    ).result()
    painted = picture.image.convert("RGB")
    redness = []
    for box in ((4, 4, 28, 44), (36, 4, 60, 44)):
        mean_red, _, mean_blue = ImageStat.Stat(painted.crop(box)).mean
        redness.append(mean_red - mean_blue)
    assert redness[0] > redness[1] + 20
    assert len(picture.metadata["regions"]) == 2


def test_the_job_has_its_memory_plan(client: impasto.Client) -> None:
    job = client.stylize(photo(), photo(), evaluations=1).result().job
    assert job.memory_plan is not None
    assert job.memory_plan.method == "plain"
    assert job.memory_plan.estimated_bytes > 0
    info = client.info()
    assert info.devices[0].memory_bytes
    assert info.limits.max_regions >= 1


def test_a_job_from_start_to_end(client: impasto.Client) -> None:
    content = client.upload(photo(40, 30))
    assert client.upload(photo(40, 30)) == content
    made = client.create_job(content, photo(20, 28), evaluations=6, title="a test's", priority=3)
    assert (made.state, made.title, made.priority) in [
        ("queued", "a test's", 3),
        ("running", "a test's", 3),
    ]
    assert made.name in {job.name for job in client.jobs()}
    with client.watch(made.name) as painting:
        picture = painting.result()
    assert client.job(made.name).state == picture.job.state == "succeeded"
    assert picture.job.name == made.name
    assert client.download(result_of=made.name).data == picture.data
    smaller = client.download(result_of=made.name, format="jpeg")
    assert (smaller.format, smaller.image.size) == ("jpeg", (40, 30))
    assert client.download(sha256=content.sha256).data == coded(photo(40, 30), compress_level=1)
    # Watching a final job gives only its state.
    assert client.watch(made.name).result().data == picture.data
    client.delete(made.name)
    with pytest.raises(impasto.NotFound):
        client.job(made.name)


def test_an_estimate_is_what_the_job_takes(client: impasto.Client) -> None:
    told = client.estimate(photo(40, 30), photo(20, 28), effort="draft", size=24)
    job = client.stylize(photo(40, 30), photo(20, 28), effort="draft", size=24).result().job
    assert (told.width, told.height, told.device) == (job.width, job.height, job.device)
    assert (told.recipe, told.memory_plan) == (job.recipe, job.memory_plan)
    assert told.device_time is not None
    assert told.device_time > 0


def test_the_same_request_twice_is_one_job(client: impasto.Client) -> None:
    request = {"evaluations": 1, "request_id": "a test's own"}
    first = client.create_job(photo(), photo(), **request)  # type: ignore[arg-type]
    assert client.create_job(photo(), photo(), **request).name == first.name  # type: ignore[arg-type]
    with pytest.raises(impasto.InvalidRequest) as caught:
        client.create_job(photo(), photo(), evaluations=2, request_id="a test's own")
    assert caught.value.field == "request_id"
    client.watch(first.name).result()
    client.delete(first.name)


def test_steering_pausing_and_cancelling(client: impasto.Client) -> None:
    name = client.create_job(photo(), photo(), evaluations=100_000).name
    with client.watch(name) as painting:
        next(event for event in painting if isinstance(event, impasto.Progress))
        steered = client.update_job(name, content_weight=0.25, evaluations=20_000, title="steered")
        assert (steered.recipe.content_weight, steered.recipe.evaluations) == (0.25, 20_000)
        changed = next(
            event
            for event in painting
            if isinstance(event, impasto.JobChanged) and event.job.title == "steered"
        )
        assert changed.job.recipe.content_weight == 0.25
        assert client.pause(name).state == client.pause(name).state == "paused"
        assert client.resume(name).state in ("queued", "running")
        newest = client.preview(name, wait=10)
        assert newest.preview is not None
        with pytest.raises(impasto.FailedPrecondition) as unmet:
            client.download(result_of=name)
        assert unmet.value.violations
        assert client.cancel(name).state == client.cancel(name).state == "cancelled"
        with pytest.raises(impasto.JobCancelled):
            painting.result()
    with pytest.raises(impasto.FailedPrecondition):
        client.update_job(name, content_weight=1.0)
    client.delete(name)


def test_a_job_that_keeps_running_is_found_again(client: impasto.Client) -> None:
    with client.stylize(photo(), photo(), evaluations=20, keep_running=True) as painting:
        name = painting.job.name
    assert client.watch(name).result().job.name == name


def test_unknown_jobs_and_images_are_not_found(client: impasto.Client) -> None:
    for call in (client.job, client.pause, client.resume, client.cancel, client.delete, client.watch):
        with pytest.raises(impasto.NotFound):
            call("jobs/none")
    with pytest.raises(impasto.FailedPrecondition):
        client.create_job(impasto.UploadedImage("0" * 64), photo())
    with pytest.raises(impasto.NotFound):
        client.create_job(photo(), impasto.StyleName("styles/no-such-style"))
    with pytest.raises(impasto.InvalidRequest):
        client.upload(b"no image")


def test_named_styles(client: impasto.Client) -> None:
    for style in client.styles():
        assert style.name.startswith("styles/")
        picture = client.stylize(photo(), impasto.StyleName(style.name), evaluations=1).result()
        assert picture.width == 32
        break
