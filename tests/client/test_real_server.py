"""The client and a real server: that both mean the same by the contract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import impasto
from samples import coded, photo
from server_process import ServerProcess


@pytest.fixture
def client(server: ServerProcess) -> Iterator[impasto.Client]:
    with impasto.Client(server.address) as client:
        yield client


def test_a_painting_from_beginning_to_end(client: impasto.Client, tmp_path: Path) -> None:
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
    assert job.recipe.objective == "balanced"
    objectives_own = {"effort", "content_layers", "style_layers"}
    assert {name for name, value in vars(job.recipe).items() if value is None} == objectives_own
    assert job.create_time is not None
    assert job.end_time is not None
    assert job.create_time <= job.end_time
    assert picture.metadata["recipe"]["evaluations"] == 6
    picture.save(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes() == picture.data


def test_what_is_refused_says_so_in_the_words_of_the_contract(client: impasto.Client) -> None:
    with pytest.raises(impasto.InvalidRequest) as caught:
        client.stylize(b"no image", photo(), longest_side=7)
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


def test_info(client: impasto.Client) -> None:
    info = client.info()
    assert info.network is not None
    assert info.network.architecture == "vgg16"
    assert info.devices[0].state == "ready"
    assert {"png", "jpeg", "webp", "tiff"} == set(info.accepted_formats)
