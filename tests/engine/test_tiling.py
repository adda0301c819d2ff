"""Large images: tiles give the same gradient, and memory plans keep a painting within its memory."""

from __future__ import annotations

import pytest
import torch

from impasto_server.engine import Recipe, RecipeError, Scene, Session, Style, graphs, memory
from impasto_server.engine.evaluation import evaluate
from impasto_server.engine.memory import DoesNotFit, memory_plans
from impasto_server.engine.network import Network
from impasto_server.engine.objectives import OBJECTIVES
from impasto_server.engine.objectives.objective import Objective, Part, Setting, prepared
from impasto_server.engine.pixels import to_tensor
from impasto_server.engine.targets import StyleImage
from impasto_server.engine.windows import tiles
from support.random_networks import picture, random_weights

WIDTH, HEIGHT = 149, 227


def objective(
    dtype: torch.dtype, name: str, tile_side: int | None, margin: int = 0
) -> tuple[Objective, torch.Tensor]:
    network = Network(random_weights("vgg16")).to(dtype)
    like = torch.empty(0, dtype=dtype)
    content, style = (to_tensor(picture(WIDTH, HEIGHT, seed), like=like) for seed in (1, 2))
    left = torch.linspace(1, 0, WIDTH, dtype=dtype).expand(1, 1, HEIGHT, WIDTH)
    parts = [
        Part(left, [(StyleImage(style, None, margin), 1.0)]),
        Part(1 - left, [(StyleImage(style, left, margin), 1.0)]),
    ]
    if margin:
        parts = [Part(None, parts[0].styles)]
    recipe = Recipe(objective=name, tv_weight=0.1, longest_side=HEIGHT).resolve(WIDTH, HEIGHT)
    setting = Setting(
        recipe=recipe,
        network=network,
        content=content,
        start=content,
        parts=parts,
        margin=margin,
        tile_side=tile_side,
    )
    return prepared(setting), content.flip(3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_tiles_give_the_same_gradient_as_the_whole_image(name, dtype, tolerance):
    # Once with a margin, and with tiles of another size.
    side, margin = (112, 16) if name == "gatys" else (64, 0)
    whole, image = objective(dtype, name, None, margin)
    tiled, _ = objective(dtype, name, side, margin)
    expected, got = evaluate(whole, image), evaluate(tiled, image, "tiled", side)
    if name == "wasserstein":
        # Roots of covariances that have directions without variance are not more accurate than this.
        tolerance = 0.01 if dtype == torch.float32 else 1e-9
    assert (got.gradient - expected.gradient).norm() <= tolerance * expected.gradient.norm()
    assert (got.losses - expected.losses).abs().max() <= tolerance * expected.losses[0]


def test_a_tile_that_is_all_margin_adds_nothing():
    whole, image = objective(torch.float32, "neighbours", None, 64)
    tiled, _ = objective(torch.float32, "neighbours", 64, 64)
    expected, got = evaluate(whole, image), evaluate(tiled, image, "tiled", 64)
    assert (got.gradient - expected.gradient).norm() <= 1e-5 * expected.gradient.norm()


@pytest.mark.parametrize(
    ("height", "width", "side"), [(17, 300, 64), (227, 149, 64), (64, 64, 64), (16, 16, 256)]
)
def test_the_cores_of_the_tiles_cover_each_pixel_once(height, width, side):
    seen = torch.zeros(height, width)
    for tile in tiles(height, width, side, 32):
        seen[tile.core[0], tile.core[1]] += 1
        assert all(part.start % 16 == 0 for part in (*tile.core, *tile.seen))
    assert (seen == 1).all()


def test_the_fastest_plan_that_fits_comes_first():
    def plan(available):
        plans = memory_plans(4096, 4096, bfloat16=True, history=12, overlap=96, available_bytes=available)
        assert all(p.estimated_bytes <= (available or 1 << 60) for p in plans)
        return plans[0]

    assert plan(None).method == "plain"
    tiled = plan(7 << 30)
    assert tiled.method == "tiled"
    assert tiled.estimated_bytes <= 7 << 30
    with pytest.raises(DoesNotFit) as refused:
        plan(100 << 20)
    assert refused.value.needed_bytes > 100 << 20


def test_a_painting_that_cannot_fit_is_refused_with_the_memory_it_needs(network):
    with pytest.raises(RecipeError, match=r"longest_side of 4000 px needs about \d+ MiB"):
        Session(
            Recipe(longest_side=4000),
            Scene(content=picture(64, 64), styles=[Style(picture(64, 64))]),
            network,
            memory_bytes=200 << 20,
        )


def test_a_painting_that_runs_out_of_memory_continues_with_a_smaller_plan(network, monkeypatch):
    monkeypatch.setattr(memory, "TILE_SIDES", (64, 32))
    layers = (("relu2_1", 1.0),)
    made = Session(
        Recipe(
            objective="balanced", evaluations=3, longest_side=96, content_layers=layers, style_layers=layers
        ),
        Scene(content=picture(96, 80, 1), styles=[Style(picture(64, 64, 2))]),
        network,
    )
    optimizer = made._stage.optimizer
    tried = []

    def scarce(objective, image, method, tile_side):
        history = made._stage.optimizer._history
        tried.append((method, tile_side, history))
        if (method, history) != ("tiled", 4):
            raise torch.OutOfMemoryError("no room")
        return evaluate(objective, image, method, tile_side)

    monkeypatch.setattr(graphs, "evaluate", scarce)
    progress = list(made)
    assert (made.stop_reason, len(progress)) == ("completed", 3)
    assert tried == [("plain", None, 12), ("tiled", 32, 12), *3 * [("tiled", 32, 4)]]
    assert made.plan.method == "tiled"
    assert made._stage.optimizer is not optimizer
