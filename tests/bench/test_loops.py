"""The two loops with which the engine is compared, the report's program and the bare loop, and the race."""

from __future__ import annotations

import pytest
import torch

from impasto_server.bench.bare_loop import BareLoop
from impasto_server.bench.pictures import Picture, demo_content, demo_style
from impasto_server.bench.race import quickest_recipe, race
from impasto_server.bench.reference import compute_reference
from impasto_server.bench.report_program import ReportProgram, torchvision_features
from impasto_server.engine import Network, Recipe, load_weights, pixels
from support.random_networks import random_weights
from support.samples import coded, photo

SIDE = 48
"""Large enough for five poolings."""


def small(width: int, height: int) -> Picture:
    image = photo(width, height)
    return Picture("small.png", coded(image), image)


def test_the_program_of_the_report_and_the_engine_make_the_same_steps() -> None:
    weights = random_weights("vgg16")
    content, style = small(SIDE, 36), small(20, 28)
    program = ReportProgram(
        torchvision_features("vgg16", weights), "vgg16", content.image, style.image, longest_side=SIDE
    )
    losses = [program.step() for _ in range(3)]
    reference = compute_reference(Network(weights), content, style, steps=2, longest_side=SIDE)
    assert reference.losses["0"] == pytest.approx(losses[0], rel=1e-4)
    assert reference.final_loss == pytest.approx(losses[2], rel=1e-4)
    assert reference.steps == 2


def test_the_program_of_the_report_also_computes_gradients_of_weights() -> None:
    features = torchvision_features("vgg19")
    assert len(features) == 37
    ReportProgram(features, "vgg19", photo(32, 32), photo(32, 32)).step()
    # Nothing is frozen: the weights of every layer of the loss have a gradient.
    assert features[28].weight.grad is not None


def test_the_bare_loop_lowers_its_loss() -> None:
    like = torch.empty(0)
    content, style = (
        pixels.to_tensor(picture.image, (32, 32), like=like) for picture in (demo_content(), demo_style())
    )
    loop = BareLoop(load_weights("builtin"), content, style, torch.bfloat16)
    losses = [loop.step() for _ in range(5)]
    assert losses[-1] < losses[0]


def test_a_race_ends_when_the_program_of_the_report_confirms_the_loss() -> None:
    weights = load_weights("builtin")
    network = Network(weights)
    content, style = demo_content(), demo_style()
    program = ReportProgram(
        torchvision_features("vgg16", weights), "vgg16", content.image, style.image, longest_side=SIDE
    )
    with torch.no_grad():
        start = float(program.loss(program.image))
    result = race(quickest_recipe(SIDE, "bfloat16"), content, style, network, program, start / 10)
    assert result is not None
    assert result.loss <= start / 10
    assert 1 < result.evaluations < 100
    assert result.seconds > 0


def test_a_race_to_an_unreachable_loss_ends() -> None:
    weights = random_weights("vgg16")
    content = small(32, 32)
    program = ReportProgram(torchvision_features("vgg16", weights), "vgg16", content.image, photo(32, 32))
    recipe = Recipe(objective="report", evaluations=2)
    assert race(recipe, content, small(20, 28), Network(weights), program, -1.0) is None
