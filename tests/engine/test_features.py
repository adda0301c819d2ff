"""Features of a painting: regions, selections, textures, colours, steering, checkpoints."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from impasto_server.engine import (
    Recipe,
    RecipeError,
    Region,
    Scene,
    Session,
    Style,
    TargetCache,
    colors,
    pixels,
)
from impasto_server.engine.checkpoint import CheckpointError
from impasto_server.engine.evaluation import Evaluation
from impasto_server.engine.losses import wasserstein_distance
from impasto_server.engine.network import Network
from impasto_server.engine.roots import normal
from support.random_networks import picture, random_weights

LIKE = torch.empty(0)
CONTENT, STYLE = picture(48, 40, 1), picture(40, 48, 2)


def session(network, recipe=None, styles=(STYLE,), cache=None, **arguments):
    scene = Scene(**{"content": CONTENT, "styles": [Style(style) for style in styles], **arguments})
    return Session(
        Recipe(**{"objective": "balanced", "evaluations": 4, **(recipe or {})}), scene, network, cache=cache
    )


def setting_of(made):
    """Returns the setting from which a session makes the terms of its objective."""
    return made._setting(made._stage)


def painted(network, recipe=None, **arguments):
    made = session(network, recipe, **arguments)
    for _ in made:
        pass
    return made.picture()


def array(image):
    return np.asarray(image).astype(int)


def half(width, height, left):
    mask = Image.new("L", (width, height), 0 if left else 255)
    mask.paste(255 if left else 0, (0, 0, width // 2, height))
    return mask


def test_each_region_takes_its_own_style(network):
    red, blue = Image.new("RGB", (40, 40), (220, 30, 30)), Image.new("RGB", (40, 40), (30, 30, 220))
    regions = [Region(half(48, 40, True), 1), Region(half(48, 40, False), 0)]
    result = array(painted(network, styles=(red, blue), regions=regions))
    left, right = result[:, :16].mean((0, 1)), result[:, -16:].mean((0, 1))
    assert left[2] > left[0] + 60
    assert right[0] > right[2] + 60


def test_a_style_mask_chooses_a_part_of_the_painting(network):
    painting = Image.new("RGB", (64, 64), (220, 30, 30))
    painting.paste((30, 30, 220), (0, 0, 32, 64))
    everywhere = Image.new("L", (8, 8), 255)
    made = session(
        network,
        {"content_weight": 0, "start": "noise", "evaluations": 12},
        styles=(painting,),
        regions=[Region(everywhere, 0, half(64, 64, True))],
    )
    whole = session(network, {"content_weight": 0, "start": "noise", "evaluations": 12}, styles=(painting,))
    made.step()
    whole.step()
    targets = [s._stage.objective.terms[0].targets for s in (made, whole)]
    assert not torch.allclose(targets[0], targets[1], rtol=0.05)


@pytest.mark.slow
def test_the_frame_of_a_painting_is_ignored(network):
    painting = picture(200, 160, 2)
    framed = painting.copy()
    for box in ((0, 0, 200, 4), (0, 156, 200, 160), (0, 0, 5, 160), (195, 0, 200, 160)):
        framed.paste((0, 0, 0), box)
    plain, cut = (painted(network, styles=(style,)).tobytes() for style in (painting, framed))
    assert plain == cut
    # report uses the whole painting, and gatys, like its paper, does not crop.
    for objective in ("report", "gatys"):
        recipe = {"objective": objective}
        plain, cut = (painted(network, recipe, styles=(style,)).tobytes() for style in (painting, framed))
        assert plain != cut


def test_the_mask_of_a_painting_is_cropped_like_the_painting(network):
    painting = picture(200, 160, 2)
    everywhere = Image.new("L", (48, 40), 255)
    within = Image.new("L", (100, 80), 255)
    made = session(network, styles=(painting,), regions=[Region(everywhere, 0, within)])
    made.step()
    whole = session(network, styles=(painting,))
    whole.step()
    # A mask that is white everywhere changes nothing.
    targets = [s._stage.objective.terms[1].targets for s in (made, whole)]
    torch.testing.assert_close(*targets)
    edge = Image.new("L", (100, 80), 0)
    edge.paste(255, (0, 0, 1, 80))
    with pytest.raises(RecipeError, match=r"regions\[0\]\.style_mask is white only in"):
        session(network, styles=(painting,), regions=[Region(everywhere, 0, edge)])


def test_a_selection_leaves_the_rest_as_it_is_and_blends(network):
    content = picture(200, 160, 1)
    mask = Image.new("L", (200, 160), 0)
    mask.paste(128, (20, 20, 60, 60))
    mask.paste(255, (24, 24, 56, 56))
    made = session(network, {"longest_side": 200}, content=content, selection=mask)
    assert made._stage.scale.width < 150
    for _ in made:
        pass
    result, before = array(made.picture()), array(content)
    outside = np.asarray(mask) == 0
    assert np.abs(result - before)[outside].max() <= 1
    change = np.abs(result - before).mean(2)
    inside = change[np.asarray(mask) == 255].mean()
    assert inside > 5
    assert 0.2 * inside < change[np.asarray(mask) == 128].mean() < 0.9 * inside
    assert made.picture(max_side=50).size == (50, 40)
    with pytest.raises(RecipeError, match="selection"):
        session(network, selection=Image.new("L", (9, 9), 0))


def test_a_texture_needs_no_content(network):
    made = session(network, content=None, texture=(70, 50))
    assert (made.size, made.recipe.start, made.recipe.content_weight) == ((70, 50), "noise", 0)
    progress = list(made)
    assert progress[-1].content_loss == 0
    assert made.picture().size == (70, 50)
    with pytest.raises(RecipeError, match="content"):
        session(network, texture=(70, 50))
    with pytest.raises(RecipeError, match=r"texture\.height"):
        session(network, content=None, texture=(70, 5))


def test_luminance_keeps_the_hue_of_the_content(network):
    content = Image.new("RGB", (48, 40), (180, 60, 40))
    content.paste((40, 120, 190), (0, 0, 24, 40))
    result = array(painted(network, {"color": "luminance"}, content=content))
    for column, color in ((36, (180, 60, 40)), (10, (40, 120, 190))):
        hue = colorsys.rgb_to_hsv(*(result[20, column] / 255))[0]
        assert abs(hue - colorsys.rgb_to_hsv(*(value / 255 for value in color))[0]) < 0.06


def test_matched_styles_have_the_colours_of_the_content():
    content, style = (pixels.to_tensor(image, like=LIKE) for image in (CONTENT, STYLE))
    matched = colors.match_moments(style, content).flatten(2)[0]
    target = content.flatten(2)[0]
    torch.testing.assert_close(matched.mean(1), target.mean(1), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(matched), torch.cov(target), atol=5e-3, rtol=0.01)


def test_the_chroma_and_the_luminance_of_an_image_combine_to_the_image():
    content = pixels.to_tensor(CONTENT, like=LIKE)
    torch.testing.assert_close(colors.with_chroma_of(content, content), content, atol=1e-4, rtol=0)


def test_style_scale_changes_the_size_of_the_style(network):
    sizes = [
        setting_of(session(network, {"style_scale": scale})).parts[0].styles[0][0].image.shape[3]
        for scale in (0.5, 1.0, 2.0)
    ]
    # The style is 38 pixels wide without its edges, and the margins add 32.
    assert sizes == [51, 70, 108]


def test_layers_and_their_shares_can_be_chosen(network):
    made = session(
        network, {"style_layers": (("relu1_1", 3.0), ("relu3_1", 1.0)), "content_layers": (("relu2_2", 1.0),)}
    )
    made.step()
    assert [term.layer for term in made._stage.objective.terms] == ["relu2_2", "relu1_1", "relu3_1"]
    with pytest.raises(RecipeError, match=r"style_layers\[0\]\.layer"):
        Recipe(style_layers=(("conv1_1", 1.0),))


def test_the_wasserstein_distance_has_the_closed_form_of_normal_distributions():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, 9, generator=generator, dtype=torch.float64) for _ in range(2))
    a, b = a @ a.T, b @ b.T
    mean = torch.arange(5.0, dtype=torch.float64)

    def root(matrix):
        values, vectors = torch.linalg.eigh(matrix)
        return (vectors * values.sqrt()) @ vectors.T

    def distance(m, c):
        return wasserstein_distance(m, c, normal(mean, b))

    assert 0 <= distance(mean, b) < 1e-12 * b.trace()
    diagonal = torch.eye(5, dtype=torch.float64)
    expected = (5 * 4 + (root(b) - 2 * diagonal).square().sum()).item()
    assert abs(distance(mean + 2, 4 * diagonal).item() - expected) < 1e-3 * expected
    symmetric = a.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: distance(mean, (x + x.T) / 2), symmetric)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_restored_run_ends_with_the_same_bytes(network, optimizer, at):
    recipe = {"optimizer": optimizer, "evaluations": 7, "longest_side": 260, "start": "noise"}
    content = picture(52, 40, 1)
    straight = session(network, recipe, content=content)
    stopped = session(network, recipe, content=content)
    for _ in range(at):
        stopped.step()
    state = stopped.state()
    restored = Session.restore(state, Scene(content=content, styles=[Style(STYLE)]), network)
    assert restored.state() == state
    for made in (straight, restored):
        while not made.done:
            made.step()
    assert restored.picture().tobytes() == straight.picture().tobytes()


def test_a_checkpoint_of_another_painting_is_refused(network):
    state = session(network).state()
    scene = Scene(content=CONTENT, styles=[Style(STYLE)])
    for bad in (b"", b"\x80\x04nonsense", state[:-20], state[: len(state) // 2]):
        with pytest.raises(CheckpointError):
            Session.restore(bad, scene, network)
    with pytest.raises(CheckpointError, match="size"):
        Session.restore(state, dataclasses.replace(scene, content=picture(40, 48)), network)
    other = Network(random_weights("vgg16", seed=5))
    other.sha256 = "1" * 64
    with pytest.raises(CheckpointError, match="network"):
        Session.restore(state, scene, other)


def test_steering_continues_from_the_current_image(network):
    made = session(network, {"evaluations": 8})
    for _ in range(3):
        made.step()
    before = made._stage.image.clone()
    made.update(Recipe(objective="balanced", evaluations=12, content_weight=5, tv_weight=1))
    assert torch.equal(made._stage.image, before)
    progress = list(made)
    assert (progress[-1].evaluation, progress[-1].evaluations) == (12, 12)
    assert progress[0].tv_loss > 0
    assert made.recipe.content_weight == 5
    with pytest.raises(RuntimeError, match="done"):
        made.update(Recipe(objective="balanced"))


def test_fields_that_cannot_be_steered_are_refused(network):
    made = session(network)
    made.step()
    for change in ({"objective": "gatys"}, {"longest_side": 32}, {"seed": 3}, {"start": "noise"}):
        with pytest.raises(RecipeError) as refused:
            made.update(Recipe(**{"objective": "balanced", **change}))
        assert refused.value.field == next(iter(change))
    assert made.recipe.objective == "balanced"


def test_steering_to_fewer_evaluations_than_were_made_ends_the_painting_soon(network):
    made = session(network, {"evaluations": 30})
    for _ in range(6):
        made.step()
    made.update(Recipe(objective="balanced", evaluations=2))
    assert made.recipe.evaluations == 7
    assert len(list(made)) == 1


@pytest.mark.slow
def test_style_targets_are_computed_once_for_many_photographs(network):
    cache = TargetCache()

    def painted_with_cache(recipe=None, content=CONTENT):
        made = session(network, recipe, cache=cache, content=content)
        list(made)
        return made.picture()

    pictures = [painted_with_cache().tobytes() for _ in range(2)]
    assert (cache.misses, cache.hits) == (1, 1)
    assert pictures[0] == pictures[1] == painted(network).tobytes()
    painted_with_cache(content=picture(48, 40, 9))
    assert (cache.misses, cache.hits) == (1, 2)
    painted_with_cache({"style_scale": 0.6})
    assert cache.misses == 2


def test_the_cache_never_exceeds_its_maximum_size():
    cache = TargetCache(max_bytes=3000)
    for key in "abc":
        cache.get(key, lambda: {"x": torch.zeros(256)})
    cache.get("c", lambda: pytest.fail("computed again"))
    cache.get("a", lambda: {"x": torch.zeros(256)})
    assert cache.misses == 4


@pytest.mark.slow
def test_the_average_of_the_images_of_adam_has_less_noise(network):
    recipe = {"optimizer": "adam", "learning_rate": 0.3, "evaluations": 30, "stop_on_plateau": False}

    def roughness(averaging):
        result = array(painted(network, {**recipe, "averaging": averaging}))
        return np.abs(np.diff(result, axis=1)).mean()

    assert roughness(0.99) < 0.9 * roughness(0.0)


def test_a_plateau_ends_a_scale_and_is_reported(network):
    made = session(network, {"evaluations": 2000, "content_weight": 0})
    made._evaluate = lambda stage: Evaluation(
        torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.ones_like(stage.image)
    )
    progress = list(made)
    assert made.stop_reason == "plateau"
    assert "almost stopped falling" in made.stop_message
    assert len(progress) < 50
    patient = session(network, {"evaluations": 60, "content_weight": 0, "stop_on_plateau": False})
    patient._evaluate = made._evaluate
    assert len(list(patient)) == 60


@pytest.mark.slow
@pytest.mark.parametrize("color", ["style", "luminance", "matched"])
def test_a_picture_of_16_bits_is_painted_at_every_scale_and_within_a_selection(network, color):
    rng = np.random.default_rng(1)
    deep = np.cumsum(rng.integers(0, 400, (200, 300, 3)), axis=1).clip(0, 65535).astype(np.uint16)
    selection = Image.new("L", (300, 200), 0)
    selection.paste(255, (80, 70, 220, 130))
    recipe = {"evaluations": 3, "color": color, "longest_side": 300}
    made = session(network, recipe, content=deep, selection=selection)
    assert len(list(made)) == 3
    samples = made.samples(16)
    assert (samples.dtype, samples.shape) == (np.uint16, (200, 300, 3))
    assert len(np.unique(samples[70:130, 80:220])) > 3000
    assert np.abs(made.samples(8).astype(int) * 257 - samples).max() <= 129
    around = np.abs(samples[:20].astype(int) - deep[:20].astype(int)).max()
    assert around <= 257


def test_16_bit_pictures_are_resampled_like_8_bit_pictures(network):
    smooth = np.add.outer(np.arange(40) * 3, np.arange(60) * 2).astype(np.uint8)
    plain = Image.fromarray(np.stack([smooth, smooth, smooth], axis=2), "RGB")
    deep = np.asarray(plain).astype(np.uint16) * 257
    of_plain, of_deep = (pixels.to_tensor(each, (31, 19), like=LIKE) for each in (plain, deep))
    assert torch.allclose(of_plain, of_deep, atol=0.02)
