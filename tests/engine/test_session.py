from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from impasto_server.engine import Recipe, RecipeError, Scene, Session, Style
from impasto_server.engine.evaluation import Evaluation
from impasto_server.engine.objectives import OBJECTIVES
from impasto_server.engine.recipe import MIN_SIDE, result_size
from impasto_server.engine.scales import LEAST_FINISHING, plan_scales, replanned
from support.random_networks import picture


def session(network, content=None, style=None, start_image=None, **recipe):
    scene = Scene(
        content=content or picture(40, 32, 1),
        styles=[Style(style or picture(30, 50, 2))],
        start_image=start_image,
    )
    return Session(Recipe(**{"objective": "balanced", "evaluations": 4, **recipe}), scene, network)


def painted(network, **arguments):
    made = session(network, **arguments)
    progress = list(made)
    return made, progress


def array(image):
    return np.asarray(image).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["balanced", "gatys", "report"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("start", ["content", "noise"])
def test_every_recipe_lowers_its_loss(network, objective, optimizer, start):
    made, progress = painted(
        network,
        objective=objective,
        optimizer=optimizer,
        start=start,
        learning_rate=0.05 if optimizer == "adam" else None,
        evaluations=8,
    )
    assert [p.evaluation for p in progress] == list(range(1, 9))
    assert {p.evaluations for p in progress} == {8}
    assert progress[-1].loss < 0.9 * progress[0].loss
    assert (made.stop_reason, made.stop_message) == ("completed", "all 8 evaluations were made")
    assert made.picture().size == made.size == (40, 32)
    assert progress[-1].seconds_left == 0
    assert all(p.seconds_left > 0 for p in progress[:-1])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_lowers_its_loss(network, objective):
    made, progress = painted(network, objective=objective, evaluations=8)
    losses = [p.loss for p in progress if p.preparing is None]
    assert len(losses) == 8
    assert min(losses) < losses[0]
    assert made.picture().size == (40, 32)


@pytest.mark.parametrize("size", [(64, 16), (16, 64), (40, 33), (100, 31)])
def test_pictures_that_are_not_square_are_not_distorted(network, size):
    """Trap 2: mixing up (W, H) and (H, W). One evaluation with a tiny step must show the content as it is."""
    content = picture(*size, 3)
    made, _ = painted(network, content=content, objective="report", evaluations=1, learning_rate=1e-9)
    assert made.size == size
    assert np.array_equal(array(made.picture()), array(content))


@pytest.mark.slow
def test_the_painting_grows_through_its_scales(network):
    made, progress = painted(network, content=picture(300, 200, 1), evaluations=6, longest_side=300)
    assert [(p.scale, p.width, p.height) for p in progress[:: len(progress) - 1]] == [
        (1, 150, 100),
        (2, 300, 200),
    ]
    assert made.picture(max_side=64).size == (64, 43)


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    longest_side=st.none() | st.integers(MIN_SIDE, 4000),
    evaluations=st.none() | st.integers(1, 1000),
    objective=st.sampled_from(["balanced", "gatys", "report"]),
)
def test_scales_grow_to_the_result_and_make_all_evaluations(
    width, height, longest_side, evaluations, objective
):
    recipe = Recipe(objective=objective, longest_side=longest_side, evaluations=evaluations)
    try:
        recipe = recipe.resolve(width, height)
    except RecipeError as error:
        assert error.field == "longest_side"
        return
    size = result_size(width, height, recipe.longest_side)
    scales = plan_scales(recipe, size)
    assert scales[-1].size == size
    assert sum(scale.evaluations for scale in scales) == recipe.evaluations
    assert all(scale.evaluations >= 1 for scale in scales)
    assert all(min(scale.size) >= MIN_SIDE for scale in scales)
    assert scales == sorted(scales, key=lambda scale: scale.pixels)
    if longest_side is None:
        assert recipe.longest_side <= max(width, height, MIN_SIDE)


def planned(**recipe):
    recipe = Recipe(objective="neighbours", **recipe).resolve(4000, 3000)
    return plan_scales(recipe, result_size(4000, 3000, recipe.longest_side))


@pytest.mark.parametrize(("effort", "passes"), [("draft", 0), ("standard", 1), ("fine", 1)])
def test_there_is_a_last_pass_if_there_are_enough_evaluations(effort, passes):
    scales = planned(effort=effort, longest_side=512)
    assert [scale.finishing for scale in scales] == [False] * 4 + [True] * passes
    assert [scale.width for scale in scales] == [64, 128, 256, 512, 512][: 4 + passes]


def test_a_last_pass_is_dropped_and_added_as_the_evaluations_change():
    few, many = (Recipe(objective="neighbours", evaluations=n).resolve(4000, 3000) for n in (40, 80))
    standard, draft = planned(effort="standard", longest_side=512), planned(effort="draft", longest_side=512)
    less = replanned(few, standard, 2, 3, 35)
    assert [scale.finishing for scale in less] == [False] * 4
    # Five evaluations are left for the last two scales.
    assert sum(scale.evaluations for scale in less[2:]) == 3 + 5
    more = replanned(many, draft, 2, 3, 30)
    assert more[-1].finishing
    assert more[-1].evaluations >= LEAST_FINISHING
    assert sum(scale.evaluations for scale in more[2:]) == 3 + 50


def test_fewer_evaluations_than_are_made_end_the_painting_without_a_last_pass(network):
    made = session(network, objective="neighbours", evaluations=24)
    assert made._scales[-1].finishing
    for _ in range(3):
        made.step()
    made.update(Recipe(objective="neighbours", evaluations=1))
    steps = list(made)
    assert made.evaluation == made.recipe.evaluations == 4
    assert steps[-1].seconds_left == 0


def test_added_evaluations_also_reach_the_last_pass():
    recipe = Recipe(objective="neighbours", evaluations=400).resolve(4000, 3000)
    scales = planned(longest_side=512)
    more = replanned(recipe, scales, 3, 5, 70)
    assert more[:3] == scales[:3]
    assert sum(scale.evaluations for scale in more[3:]) == 400 - 70 + 5
    assert more[-1].finishing
    assert more[-1].evaluations == 123


def test_the_same_seed_gives_the_same_picture_and_another_seed_does_not(network):
    """Trap 11: a start without a seed cannot be reproduced."""
    pictures = [painted(network, start="noise", seed=seed)[0].picture().tobytes() for seed in (1, 1, 2)]
    assert pictures[0] == pictures[1] != pictures[2]


def test_the_painting_starts_from_the_start_image(network):
    start = picture(80, 64, 9)
    made, _ = painted(
        network, start="image", start_image=start, objective="report", evaluations=1, learning_rate=1e-9
    )
    assert np.array_equal(array(made.picture()), array(start.resize((40, 32), Image.Resampling.LANCZOS)))
    with pytest.raises(RecipeError, match="start_image"):
        session(network, start="image")
    with pytest.raises(RecipeError, match="start_image"):
        session(network, start_image=start)


@pytest.mark.slow
def test_a_total_variation_weight_makes_the_picture_smoother(network):
    def roughness(tv_weight):
        made, _ = painted(network, start="noise", tv_weight=tv_weight, evaluations=12)
        return np.abs(np.diff(array(made.picture()), axis=1)).mean()

    assert roughness(10.0) < 0.5 * roughness(0.0)


def test_bfloat16_paints_nearly_the_same_picture(builtin_network):
    pictures = [
        painted(builtin_network, precision=precision, evaluations=6)[0].picture()
        for precision in ("float32", "bfloat16")
    ]
    difference = np.abs(array(pictures[0]) - array(pictures[1]))
    assert 0 < difference.mean() < 4


def test_precision_auto_means_what_the_session_was_given(network):
    made = Session(
        Recipe(),
        Scene(content=picture(32, 32), styles=[Style(picture(32, 32))]),
        network,
        auto_precision="bfloat16",
    )
    assert made.recipe.precision == "bfloat16"
    assert session(network).recipe.precision == "float32"
    assert session(network, objective="report").recipe.precision == "float32"
    assert all(
        value is not None for name, value in dataclasses.asdict(made.recipe).items() if name != "effort"
    )


class Spoilt:
    """Multiplies a session's losses and gradients by a factor that depends on the evaluation."""

    def __init__(self, made: Session, spoil) -> None:
        self.made, self.spoil, self.evaluation = made, spoil, 0
        made._evaluate, self.evaluate = self, made._evaluate

    def __call__(self, stage):
        evaluation = self.evaluate(stage)
        self.evaluation += 1
        factor = self.spoil(self.evaluation)
        return Evaluation(evaluation.losses * factor, evaluation.gradient * factor)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_loss_that_is_not_a_number_ends_with_the_best_image_and_the_reason(network, optimizer):
    """Trap 7: an optimiser that gives NaN must not lose the picture."""
    made = session(network, optimizer=optimizer, evaluations=40)
    Spoilt(made, lambda evaluation: 1.0 if evaluation <= 6 else math.nan)
    losses, images = [], []
    for progress in made:
        if math.isfinite(progress.loss):
            losses.append(progress.loss)
            images.append(made._stage.best_image.clone())
    assert made.stop_reason == "not_finite"
    assert "not finite" in made.stop_message
    assert "best image" in made.stop_message
    assert torch.equal(made._stage.image, images[int(np.argmin(losses))])
    assert array(made.picture()).std() > 0


def test_lbfgs_takes_back_one_bad_step_and_goes_on(network):
    made = session(network, evaluations=16)
    Spoilt(made, lambda evaluation: math.inf if evaluation == 5 else 1.0)
    losses = [progress.loss for progress in made]
    assert made.stop_reason == "completed"
    assert math.isinf(losses[4])
    assert losses[-1] < losses[3]


def test_a_loss_that_cannot_be_improved_counts_as_converged(network):
    """With only a content loss and the content as the start, the gradient is zero."""
    content = picture(64, 48, 1)
    made, _ = painted(
        network, content=content, objective="gatys", style_weight=0, content_weight=1, evaluations=10
    )
    assert made.stop_reason == "converged"
    assert np.array_equal(array(made.picture()), array(content))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("field", ["content_weight", "style_weight", "tv_weight"])
@pytest.mark.parametrize("weight", [1e30, 1e38])
def test_the_message_names_the_weight_that_overflows(network, optimizer, field, weight):
    content, start = picture(40, 32, 1), picture(40, 32, 3)
    made, progress = painted(
        network, content=content, start="image", start_image=start, optimizer=optimizer, **{field: weight}
    )
    assert made.stop_reason == "not_finite"
    assert f"a lower {field} (now {weight:g})" in made.stop_message
    assert len(progress) <= 12
    assert array(made.picture()).std() > 0


@pytest.mark.parametrize("averaging", [0.0, 0.99])
def test_a_learning_rate_far_too_high_still_ends_with_the_best_picture(network, averaging):
    made = session(network, optimizer="adam", learning_rate=100, evaluations=6, averaging=averaging)
    begin = array(made.picture())
    progress = list(made)
    losses = [p.loss for p in progress]
    assert min(losses) == losses[0] < 0.1 * losses[-1]
    assert made.stop_reason == "completed"
    assert np.array_equal(array(made.picture()), begin)


def test_adam_keeps_its_last_image_while_the_loss_falls(network):
    made = session(network, optimizer="adam", learning_rate=0.01, evaluations=6, averaging=0.0)
    list(made)
    assert not torch.equal(made._stage.image, made._stage.best_image)


def test_values_out_of_range_are_not_clamped_while_painting(network):
    """Trap 10: clamping in the loss makes the gradient 0. Only the picture is clamped."""
    made = session(network)
    made._stage.image.add_(5)
    gradient = made._evaluate(made._stage).gradient
    assert (gradient != 0).float().mean() > 0.99
    assert array(made.picture()).max() == 255


def test_a_finished_session_refuses_to_step(network):
    made, _ = painted(network)
    with pytest.raises(RuntimeError, match="done"):
        made.step()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"content": Image.new("RGBA", (32, 32))}, "content"),
        ({"style": Image.new("L", (32, 32))}, "styles[0].image"),
        ({"content": Image.new("RGB", (400, 10)), "longest_side": 400}, "longest_side"),
    ],
)
def test_an_image_that_cannot_be_painted_is_refused_with_its_field(network, arguments, field):
    with pytest.raises(RecipeError) as raised:
        session(network, **arguments)
    assert raised.value.field == field


def test_missing_styles_and_styles_without_weight_are_refused(network):
    for styles, field in (([], "styles"), ([Style(picture(32, 32), 0.0)], "styles[0].weight")):
        with pytest.raises(RecipeError) as raised:
            Session(Recipe(), Scene(content=picture(32, 32), styles=styles), network)
        assert raised.value.field == field


numbers = st.none() | st.floats() | st.integers(-10, 10**6)
words = st.sampled_from(["balanced", "gatys", "report", "adam", "lbfgs", "draft", "noise", "auto", "", "x"])


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "objective": words,
            "content_weight": numbers,
            "style_weight": numbers,
            "tv_weight": st.floats(),
            "optimizer": words,
            "learning_rate": numbers,
            "effort": words,
            "evaluations": st.integers(-5, 10**6),
            "longest_side": st.integers(-5, 10**5),
            "start": words,
            "seed": st.integers(-5, 2**33),
            "precision": words,
        },
    )
)
def test_a_recipe_is_valid_or_refused_with_its_field(fields):
    try:
        recipe = Recipe(**fields)
        resolved = recipe.resolve(640, 480)
    except RecipeError as refused:
        error = refused
    else:
        assert resolved.resolve(640, 480) == resolved
        return
    assert error.field in {field.name for field in dataclasses.fields(Recipe)}
    assert error.field in str(error)


class TestTheBorder:
    """The edge of the image must not show as a frame in the picture."""

    @pytest.mark.slow
    def test_the_outermost_pixels_are_like_the_rest(self, builtin_network):
        style = Image.effect_noise((128, 128), 90).convert("RGB")
        content = picture(128, 96, 4)
        made, _ = painted(builtin_network, content=content, style=style, evaluations=30, precision="bfloat16")
        pixels = array(made.picture()).astype(float)
        edge = np.ones(pixels.shape[:2], bool)
        edge[8:-8, 8:-8] = False
        inner = np.zeros_like(edge)
        inner[8:-8, 8:-8] = True
        inner[16:-16, 16:-16] = False
        # Compares brightness and contrast of the outermost 8 pixels with those of the next 8.
        assert abs(pixels[edge].mean() - pixels[inner].mean()) < 12
        assert 0.8 < pixels[edge].std() / pixels[inner].std() < 1.25

    def test_margins_are_cut_off(self, network):
        made = session(network, content=picture(48, 40, 1))
        assert made._stage.image.shape == (1, 3, 40 + 32, 48 + 32)
        assert made.picture().size == (48, 40)
        report = session(network, content=picture(48, 40, 1), objective="report")
        assert report._stage.image.shape == (1, 3, 40, 48)

    def test_a_painting_in_its_own_style_has_no_style_loss(self, builtin_network):
        painting = Image.effect_noise((96, 80), 90).convert("RGB")
        made = session(builtin_network, content=painting, style=painting, objective="gatys")
        style_loss = made.step().style_loss
        other = session(builtin_network, content=picture(96, 80, 1), style=painting, objective="gatys")
        assert style_loss < 1e-6 * other.step().style_loss


class TestFlatPictures:
    """A picture or a painting of one colour."""

    @pytest.mark.slow
    @pytest.mark.parametrize("color", [(128, 128, 128), (250, 250, 245)])
    def test_a_flat_content_gets_the_mean_colour_of_the_painting(self, builtin_network, color):
        style = picture(72, 60, 2)
        content = Image.new("RGB", (64, 64), color)
        made, _ = painted(builtin_network, content=content, style=style, evaluations=12)
        means = [array(image).mean((0, 1)) for image in (made.picture(), style)]
        assert np.abs(means[0] - means[1]).max() < 30

    def test_a_picture_gets_the_colour_of_a_flat_painting(self, builtin_network):
        style = Image.new("RGB", (64, 64), (60, 110, 170))
        made, _ = painted(builtin_network, content=picture(64, 48, 1), style=style, evaluations=12)
        assert np.abs(array(made.picture()).mean((0, 1)) - (60, 110, 170)).max() < 15
