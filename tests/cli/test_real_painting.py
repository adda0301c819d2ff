"""The command line with a real server: `impasto again` paints the same picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from support.command_line import Impasto
from support.samples import photo
from support.server_process import ServerProcess


@pytest.fixture
def run(impasto: Impasto, server: ServerProcess) -> Impasto:
    """The command line on the real server, in a folder with a content, two styles and two masks."""
    photo(40, 30).save("content.png")
    photo(24, 32).save("style.png")
    photo(20, 20).rotate(90).save("other.jpg")
    left = Image.new("L", (40, 30))
    left.paste(255, (0, 0, 20, 30))
    left.save("left.png")
    left.rotate(180).save("right.png")
    return lambda *arguments: impasto(*arguments, "--server", server.address, "--quiet")


def pixels(file: str) -> bytes:
    return Image.open(file).tobytes()


@pytest.mark.slow
def test_again_gives_the_same_picture_twice(run: Impasto) -> None:
    painted = run(
        *("stylize", "content.png", "style.png", "other.jpg", "-o", "first.png", "--shares", "2,1"),
        *("--recipe", "balanced", "--evaluations", 6, "--seed", 3, "--start", "noise"),
        *("--style-layer", "relu1_1"),
        *("--style-layer", "relu2_1=0.5", "--style-scale", 0.5, "--color", "luminance"),
    )
    assert painted.code == 0, painted.err
    images = ["content.png", "style.png", "other.jpg"]
    for before, after in (("first.png", "second.png"), ("second.png", "third.png")):
        outcome = run("again", before, *images, "-o", after, "--strict", "--sidecar")
        assert outcome.code == 0, outcome.err
        assert outcome.err == ""
        assert pixels(after) == pixels(before)
    assert Path("second.json").read_text() == Path("third.json").read_text()
    recipe = json.loads(Path("third.json").read_text())["recipe"]
    assert (recipe["seed"], recipe["color"], recipe["evaluations"]) == (3, "luminance", 6)


def test_another_seed_is_another_picture(run: Impasto) -> None:
    arguments = ["content.png", "style.png", "--evaluations", 2, "--start", "noise"]
    for seed in (1, 2):
        assert run("stylize", *arguments, "-o", f"{seed}.png", "--seed", seed).code == 0
    assert pixels("1.png") != pixels("2.png")


def test_regions_a_selection_and_a_start_again(run: Impasto) -> None:
    parts = [
        *("--region", "left.png", "--region", "right.png,style=2,style-mask=left.png"),
        *("--selection", "left.png", "--start", "other.jpg"),
    ]
    images = ["content.png", "style.png", "other.jpg"]
    painted = run("stylize", *images, *parts, "-o", "first.png", "--evaluations", 4)
    assert painted.code == 0, painted.err
    outcome = run("again", "first.png", *images, *parts, "-o", "second.png", "--strict")
    assert outcome.code == 0, outcome.err
    assert pixels("first.png") == pixels("second.png")

    swapped = [part.replace("left.png", "right.png") for part in parts]
    outcome = run("again", "first.png", *images, *swapped, "-o", "third.png")
    assert outcome.code == 2
    assert "right.png is not the selection's mask from which first.png was painted" in outcome.err


def test_a_texture_again(run: Impasto) -> None:
    painted = run("texture", "style.png", "-o", "first.png", "--size", "48x32", "--evaluations", 4)
    assert painted.code == 0, painted.err
    assert Image.open("first.png").size == (48, 32)
    outcome = run("again", "first.png", "style.png", "-o", "second.png", "--strict")
    assert outcome.code == 0, outcome.err
    assert pixels("first.png") == pixels("second.png")


def test_errors_of_a_real_server_name_the_options(run: Impasto) -> None:
    outcome = run(
        *("stylize", "content.png", "style.png", "-o", "out.png", "--style-scale", 99, "--averaging", 2),
        *("--style-layer", "relu1_1", "--style-layer", "conv9"),
    )
    assert outcome.code == 2
    for name in ("--style-scale is 99", "--averaging is 2", "--style-layer is 'conv9'"):
        assert name in outcome.err
    outcome = run("texture", "style.png", "-o", "out.png", "--size", "4x40", "--recipe", "gatys")
    assert outcome.code == 2
    assert "--size is 4 px; give 16 to 8192" in outcome.err
