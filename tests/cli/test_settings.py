"""Regions, shares, layers, textures and sidecars on the command line, with a fake server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.command_line import Impasto
from support.fake_server import FakeServer, bad_request, png, refuse


def violations(*faults: tuple[str, str]) -> fake_server.Script:
    told = bad_request()
    for field, sentence in faults:
        told.field_violations.add(field=field, description=sentence)
    return refuse(grpc.StatusCode.INVALID_ARGUMENT, "no", told)


def test_the_finer_settings_reach_the_server(stylize: Impasto, fake: FakeServer) -> None:
    outcome = stylize(
        *("--recipe", "wasserstein", "--style-scale", 1.5, "--color", "matched", "--averaging", 0.9),
        *("--content-layer", "relu4_2", "--style-layer", "relu3_1=0.5", "--style-layer", "relu4_1=2"),
        "--no-stop-on-plateau",
    )
    assert outcome.code == 0
    assert fake.requests[0].spec.recipe == pb.Recipe(
        objective=pb.OBJECTIVE_WASSERSTEIN,
        style_scale=1.5,
        color=pb.COLOR_MATCHED,
        averaging=0.9,
        content_layers=[pb.LayerWeight(layer="relu4_2", weight=1)],
        style_layers=[
            pb.LayerWeight(layer="relu3_1", weight=0.5),
            pb.LayerWeight(layer="relu4_1", weight=2),
        ],
        stop_on_plateau=False,
    )


def test_shares(impasto: Impasto, fake: FakeServer) -> None:
    Path("a=2.png").write_bytes(png())
    arguments = ["stylize", "content.png", "style.png", "a=2.png", "-o", "out.png", "--shares", "2,0.5"]
    assert impasto(*arguments, "--server", fake.address).code == 0
    assert [style.weight for style in fake.requests[0].spec.styles] == [2, 0.5]


def test_without_shares_none_are_sent(stylize: Impasto, fake: FakeServer) -> None:
    stylize()
    assert not fake.requests[0].spec.styles[0].HasField("weight")


# A file's name may have in it what also divides the option.
@pytest.mark.parametrize("name", ["sky.png", "a,b=c:d.png", "sky,style=2.png", "C:sky.png", "style=1"])
def test_regions(impasto: Impasto, fake: FakeServer, name: str) -> None:
    for number, file in enumerate((name, "water.png", "waves.png")):
        Path(file).write_bytes(png(4 + number, 4))
    outcome = impasto(
        *("stylize", "content.png", "style.png", "content.png", "-o", "out.png", "--server", fake.address),
        *("--region", name, "--region", f"water.png,style=2,style-mask={name}"),
        *("--region", f"{name},style=1", "--region", "water.png,style-mask=waves.png"),
    )
    assert outcome.code == 0, outcome.err
    mask, water, waves = (pb.Image(encoded=png(4 + number, 4)) for number in range(3))
    assert list(fake.requests[0].spec.regions) == [
        pb.Region(content_mask=mask),
        pb.Region(content_mask=water, style=1, style_mask=mask),
        pb.Region(content_mask=mask, style=0),
        pb.Region(content_mask=water, style_mask=waves),
    ]


def test_a_selection(stylize: Impasto, fake: FakeServer) -> None:
    Path("mask.png").write_bytes(png(4, 4))
    assert stylize("--selection", "mask.png").code == 0
    assert fake.requests[0].spec.selection.encoded == png(4, 4)


@pytest.mark.parametrize(("size", "sides"), [("64x48", (64, 48)), ("64×48", (64, 48)), ("64", (64, 64))])
def test_a_texture(impasto: Impasto, fake: FakeServer, size: str, sides: tuple[int, int]) -> None:
    outcome = impasto(
        *("texture", "style.png", "content.png", "-o", "out.png", "--size", size, "--server", fake.address),
        *("--shares", "1,2", "--seed", 3, "--style-scale", 2, "--start", "noise"),
    )
    assert outcome.code == 0
    assert Path("out.png").read_bytes() == png()
    spec = fake.requests[0].spec
    assert not spec.HasField("content")
    assert (spec.texture.width, spec.texture.height) == sides
    assert [style.weight for style in spec.styles] == [1, 2]
    assert spec.recipe == pb.Recipe(seed=3, style_scale=2, start=pb.START_NOISE)


def test_a_sidecar(stylize: Impasto) -> None:
    outcome = stylize("--sidecar", "--json")
    assert json.loads(Path("out.json").read_text()) == fake_server.METADATA
    assert outcome.lines[-1]["sidecar"] == "out.json"
    assert {path.name for path in Path().iterdir()} == {"content.png", "style.png", "out.png", "out.json"}


def test_no_sidecar_without_a_record(stylize: Impasto, fake: FakeServer) -> None:
    def script(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Any:
        yield from fake_server.begin()
        yield fake_server.succeeded()
        for chunk in fake_server.chunks(png(metadata={})):
            yield pb.StylizeResponse(result=chunk)

    fake.script = script
    outcome = stylize("--sidecar")
    assert outcome.code == 1
    assert "out.json is not written" in outcome.err
    assert Path("out.png").exists()
    assert not Path("out.json").exists()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (pb.MemoryPlan(method=pb.MEMORY_METHOD_PLAIN, estimated_bytes=5), None),
        (
            pb.MemoryPlan(method=pb.MEMORY_METHOD_TILED, estimated_bytes=5, tile_side=512),
            "in tiles of 512 px",
        ),
        (pb.MemoryPlan(method=pb.MEMORY_METHOD_RECOMPUTED, estimated_bytes=5), "features recomputed"),
    ],
)
def test_the_line_about_a_picture_has_the_memory_plan(
    stylize: Impasto, fake: FakeServer, plan: pb.MemoryPlan, words: str | None
) -> None:
    def script(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Any:
        yield from fake_server.begin()
        yield fake_server.succeeded(memory_plan=plan)
        for chunk in fake_server.chunks(png()):
            yield pb.StylizeResponse(result=chunk)

    fake.script = script
    out = stylize().out
    assert words in out if words else "memory" not in out


IMAGES = ["stylize", "content.png", "style.png", "-o", "out.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*IMAGES, "--region", "none.png"], "--region none.png: there is no such file"),
        (
            [*IMAGES, "--region", "style.png,style=2"],
            "--region style.png,style=2: there is only 1 style; give style=1",
        ),
        (
            [*IMAGES, "--region", "style.png,style=0"],
            "--region style.png,style=0: there is only 1 style; give style=1",
        ),
        (
            [*IMAGES, "--region", "style.png,style-mask=none.png"],
            "--region style.png,style-mask=none.png: there is no such file",
        ),
        ([*IMAGES, "--region", "style.png,stile=1"], "there is no file style.png,stile=1"),
        ([*IMAGES, "--region", ""], "--region is empty"),
        ([*IMAGES, "--selection", "none.png"], "--selection none.png: there is no such file"),
        ([*IMAGES, "--shares", "1,2"], "--shares 1,2 has 2 shares for 1 style; give one for each style: 2"),
        ([*IMAGES, "--shares", "much"], "--shares is 'much'; give a number for each style"),
        (
            [*IMAGES, "--style-layer", "relu3_1=much"],
            "--style-layer relu3_1=much: the share is 'much'; give a number: relu3_1=0.5",
        ),
        ([*IMAGES, "--color", "mine"], "--color is 'mine'; give one of style, luminance, matched"),
        (
            ["texture", "style.png", "-o", "out.png", "--size", "big"],
            "--size is 'big'; give WIDTHxHEIGHT in pixels: 640x480",
        ),
        (
            ["texture", "style.png", "-o", "out.png", "--size", "9" * 5000],
            "; give WIDTHxHEIGHT in pixels: 640x480",
        ),
        (["texture", "style.png", "-o", "out.png"], "--size"),
        (
            ["texture", "style.png", "-o", "out.png", "--size", "99999999999x3"],
            "--size cannot be 99999999999",
        ),
        (["texture", "style.png", "-o", "style.png", "--size", "64"], "one of the files to paint from"),
    ],
)
def test_wrong_usage(impasto: Impasto, fake: FakeServer, arguments: list[str], message: str) -> None:
    outcome = impasto(*arguments, "--server", fake.address)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
    assert not fake.requests


def test_an_existing_sidecar_is_not_one_of_the_files_to_paint_from(stylize: Impasto) -> None:
    Path("out.json").write_bytes(png())
    outcome = stylize("--sidecar", "--selection", "out.json")
    assert outcome.code == 2
    assert "out.json is one of the files to paint from" in outcome.err


def test_an_error_names_the_options_of_refused_fields(impasto: Impasto, fake: FakeServer) -> None:
    for name in ("sky.png", "sea.png"):
        Path(name).write_bytes(png())
    fake.script = violations(
        ("spec.recipe.style_scale", "is 9; give 0.1 to 4"),
        ("spec.recipe.color", "is wrong"),
        ("spec.recipe.averaging", "is 2"),
        ("spec.recipe.stop_on_plateau", "is odd"),
        ("spec.recipe.content_layers", "name a layer twice"),
        ("spec.recipe.style_layers[1].layer", "is 'relu3_4'; give a layer that VGG-16 has"),
        ("spec.styles[0].weight", "is -1; give a number above 0"),
        ("spec.regions[0].content_mask", "is damaged"),
        ("spec.regions[1].style_mask.encoded", "is truncated"),
        ("spec.regions[1]", "is black"),
        ("spec.selection.encoded", "is no image"),
        ("spec.regions", "are 99"),
    )
    outcome = impasto(
        *("stylize", "content.png", "style.png", "-o", "out.png", "--server", fake.address),
        *("--style-layer", "relu1_1", "--style-layer", "relu3_4=2", "--shares", 1, "--selection", "sky.png"),
        *("--region", "sky.png", "--region", "sea.png,style-mask=style.png"),
    )
    assert outcome.code == 2
    assert outcome.err.strip().removeprefix("Error: ").split("; ") == [
        "--style-scale is 9",
        "give 0.1 to 4",
        "--color is wrong",
        "--averaging is 2",
        "--stop-on-plateau is odd",
        "--content-layer name a layer twice",
        "--style-layer is 'relu3_4'",
        "give a layer that VGG-16 has",
        "--shares 1: the share of style.png is -1",
        "give a number above 0",
        "--region sky.png is damaged",
        "--region sea.png,style-mask=style.png is truncated",
        "--region sea.png is black",
        "--selection is no image",
        "--region are 99",
    ]


def test_a_job_too_large_for_the_memory_names_its_option(stylize: Impasto, fake: FakeServer) -> None:
    def script(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Any:
        yield from fake_server.begin()
        told = bad_request(spec__recipe__longest_side="of 9000 px needs about 7 GiB; give at most 4096")
        error = fake_server.status(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", told)
        yield fake_server.job(pb.JOB_STATE_FAILED, error=error)

    fake.script = script
    outcome = stylize()
    assert outcome.code == 1
    assert outcome.err.endswith("Error: --size of 9000 px needs about 7 GiB; give at most 4096\n")


def test_an_error_names_the_option_of_a_refused_texture(impasto: Impasto, fake: FakeServer) -> None:
    fake.script = violations(("spec.texture.width", "is 3; give 16 to 8192"))
    outcome = impasto(
        *("texture", "style.png", "-o", "out.png", "--size", "3x20", "--server", fake.address),
    )
    assert (outcome.code, outcome.err) == (2, "Error: --size is 3; give 16 to 8192\n")
