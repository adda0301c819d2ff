from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from impasto_server.engine import Recipe
from impasto_server.engine.evaluation import evaluate
from impasto_server.engine.evaluation import loss as loss_of
from impasto_server.engine.losses import (
    ContentTerm,
    GramTerm,
    WassersteinTerm,
    add_gram_gradient,
    gram_matrix,
    moments,
    total_variation,
)
from impasto_server.engine.network import Network
from impasto_server.engine.objectives.objective import Part, Setting, prepared
from impasto_server.engine.pixels import to_tensor, with_margin
from impasto_server.engine.targets import StyleImage
from impasto_server.engine.windows import Tile, whole
from support.random_networks import picture, random_weights


def features(channels=6, height=5, width=7, dtype=torch.float64):
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0), dtype=dtype)


class TestThreeFactsAboutGramMatrices:
    def test_it_does_not_depend_on_the_order_of_positions(self):
        f = features()
        order = torch.randperm(35, generator=torch.Generator().manual_seed(1))
        shuffled = f.flatten(2)[:, :, order].view_as(f)
        assert not torch.equal(f, shuffled)
        torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(f))

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (16, 3)])
    def test_its_size_is_the_number_of_channels(self, height, width):
        assert gram_matrix(features(6, height, width)).shape == (6, 6)

    def test_it_needs_one_reshape_and_one_product(self):
        f = features()
        matrix = f.reshape(6, 35)
        torch.testing.assert_close(gram_matrix(f), matrix @ matrix.T)


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


WINDOWS = [
    None,
    (slice(0, 9), slice(0, 11)),
    (slice(1, 6), slice(2, 9)),
    (slice(0, 9), slice(3, 11)),
    (slice(4, 5), slice(0, 1)),
    (slice(9, 9), slice(11, 11)),
    (slice(0, 9), slice(5, 5)),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", WINDOWS)
def test_the_gram_matrix_of_a_window_is_that_of_a_copy(window, dtype):
    f = channels_last(features(6, 9, 11)).to(dtype)
    before = f.clone()
    # What lies beside the window has no influence, whatever it is.
    f[:, :, 8, 10] = before[:, :, 8, 10] = torch.inf if window and window[1].stop < 11 else 1
    rows, columns = window or (slice(None), slice(None))
    expected = gram_matrix(f[:, :, rows, columns].double())
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(gram_matrix(f, window).double(), expected, rtol=tolerance, atol=tolerance)
    assert torch.equal(f, before)


@pytest.mark.parametrize("window", WINDOWS)
def test_the_gradient_of_a_gram_matrix_is_right_and_stays_within_the_window(window):
    f = channels_last(features(6, 9, 11))
    of_gram = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    rows, columns = window or (slice(None), slice(None))
    inner = f.clone().requires_grad_(True)
    seen = inner[:, :, rows, columns].flatten(2)[0]
    (expected,) = torch.autograd.grad(((seen @ seen.T) * of_gram).sum(), inner)
    before = channels_last(torch.randn_like(f))
    gradient = before.clone()
    add_gram_gradient(f, of_gram, gradient, window)
    torch.testing.assert_close(gradient, before + expected)
    outside = torch.ones_like(f, dtype=torch.bool)
    outside[:, :, rows, columns] = False
    assert torch.equal(gradient[outside], before[outside])


@pytest.mark.parametrize("name", ["content", "gram", "guided gram", "wasserstein"])
@pytest.mark.parametrize("cut", [False, True])
def test_the_gradient_of_each_term_equals_that_of_torch(name, cut):
    """Over a whole image and over a tile, whose overlap gets no gradient."""
    height, width = 12, 17
    f = channels_last(features(6, height, width).clamp_min(0))
    guides = torch.rand(2, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    target = features(6, height, width, dtype=torch.float64).flip(2)
    inner = slice(1, 11), slice(1, 15)
    tile = whole(height, width)
    if cut:
        f = f[:, :, :9].contiguous(memory_format=torch.channels_last)
        tile = Tile((slice(0, 9), slice(0, width)), (slice(0, 7), slice(0, width)))
    rows, columns = tile.core
    positions, scales = guides.sum((1, 2)), torch.tensor([0.3, 2.0], dtype=torch.float64)

    def plain(seen):
        core = seen[:, :, rows, columns]
        if name == "content":
            return (core - target[:, :, rows, columns]).square().sum()
        if name == "gram":
            of_window = core[:, :, inner[0], inner[1]].flatten(2)[0]
            return (of_window @ of_window.T)[None]
        shares = guides[:, rows, columns]
        grams = torch.stack([(core * s).flatten(2)[0] @ core.flatten(2)[0].T for s in shares])
        if name == "guided gram":
            return grams
        sums = torch.stack([(core * s).sum((0, 2, 3)) for s in shares])
        return torch.cat([sums[:, None], grams], 1)

    if name == "content":
        term = ContentTerm("relu1_1", target, 0.7)
    elif name == "wasserstein":
        targets = moments(target.clamp_min(0), guides) / positions[:, None, None]
        term = WassersteinTerm("relu1_1", guides, positions, targets, scales)
    else:
        everywhere = name == "gram"
        count = 1 if everywhere else 2
        targets = torch.zeros(count, 6, 6, dtype=torch.float64)
        of_term = None if everywhere else guides
        term = GramTerm("relu1_1", inner, of_term, positions[:count], targets, scales[:count])
    observation = term.observe({"relu1_1": f}, tile)
    pixels = f.clone().requires_grad_(True)
    expected = plain(pixels)
    torch.testing.assert_close(observation.statistic, expected.detach())
    of_statistic = torch.randn(
        expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7)
    )
    (of_pixels,) = torch.autograd.grad((expected * of_statistic).sum(), pixels)
    before = channels_last(torch.randn_like(f))
    gradient = before.clone()
    observation.add_gradient("relu1_1", f, of_statistic, gradient)
    torch.testing.assert_close(gradient, before + of_pixels)
    assert of_pixels[:, :, :, 4].abs().sum() > 0


def test_bfloat16_grams_are_accumulated_in_float32():
    """Trap 6: with many positions and large values, half precision overflows."""
    f = features(16, 130, 120, torch.float32).abs() * 300
    exact = gram_matrix(f.double())
    half = f.to(torch.bfloat16)
    assert exact.max() > 65504
    gram = gram_matrix(half)
    assert gram.dtype == torch.float32
    # Compared with the Gram matrix of the rounded features, so that only the summation differs.
    of_rounded = gram_matrix(half.double())
    assert ((gram - of_rounded).norm() / of_rounded.norm()) < 5e-4


def test_total_variation_is_zero_on_a_flat_image_and_counts_both_directions():
    assert total_variation(torch.ones(1, 3, 4, 5)) == 0
    stripes = torch.tensor([0.0, 1.0]).repeat(3)[None, None, None].expand(1, 3, 4, 6)
    assert total_variation(stripes) == 1
    assert total_variation(stripes.transpose(2, 3)) == 1


def positions(features):
    return features.shape[2] * features.shape[3]


def like():
    return torch.empty(0, dtype=torch.float64)


def objective(network, **settings):
    recipe = Recipe(**{"objective": "balanced", **settings}).resolve(48, 40)
    content = to_tensor(picture(48, 40, 1), like=like())
    style = to_tensor(picture(56, 32, 2), like=like())
    objective = prepared(setting(recipe, network.double(), content, (style, 1.0)))
    return functools.partial(loss_of, objective), content, style


def setting(recipe, network, content, *styles):
    everywhere = Part(None, [(StyleImage(image, None), weight) for image, weight in styles])
    return Setting(recipe=recipe, network=network, content=content, start=content, parts=[everywhere])


@pytest.fixture(scope="module")
def network64():
    return Network(random_weights("vgg16")).double()


def test_gatys_has_the_formula_of_the_paper(network64):
    loss, content, style = objective(network64, objective="gatys", content_weight=3, style_weight=5)
    image = content.flip(3)
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1", "relu4_2"]
    f, p = (network64(x, layers) for x in (image, content))
    s = network64(style, layers)
    expected_content = 0.5 * ((f["relu4_2"] - p["relu4_2"]) ** 2).sum()
    expected_style = torch.zeros((), dtype=torch.float64)
    for layer in layers[:5]:
        n = positions(f[layer])
        c = f[layer].shape[1]
        # The style's Gram matrix, scaled to the image's number of positions.
        target = gram_matrix(s[layer]) * n / positions(s[layer])
        expected_style += 1 / 5 / (4 * c**2 * n**2) * ((gram_matrix(f[layer]) - target) ** 2).sum()
    losses = loss(image)
    torch.testing.assert_close(losses.content, expected_content)
    torch.testing.assert_close(losses.style, expected_style)
    torch.testing.assert_close(losses.total, 3 * expected_content + 5 * expected_style)


def test_balanced_losses_are_relative_errors(network64):
    """A network whose features are twice as large gives the same losses."""
    loss, content, _ = objective(network64)
    losses = loss(torch.zeros_like(content) + content.mean())
    assert 0.01 < losses.content < 2
    assert 0.01 < losses.style < 10

    twice = network64.in_dtype(torch.float32).double()
    with torch.no_grad():
        for name, buffer in twice.named_buffers():
            if name.startswith("conv1_1"):
                buffer.mul_(2)
    scaled, *_ = objective(twice)
    again = scaled(torch.zeros_like(content) + content.mean())
    # Biases are zero, so the features are twice as large at every layer.
    torch.testing.assert_close(again.content, losses.content, rtol=1e-5, atol=0)
    torch.testing.assert_close(again.style, losses.style, rtol=1e-5, atol=0)


def test_the_relative_content_loss_is_computed_in_the_arithmetic_of_the_network(network64):
    loss, content, _ = objective(network64)
    image = content.flip(3)
    f, p = (network64(x, ["relu4_2"])["relu4_2"] for x in (image, content))
    expected = (f - p).square().sum() / p.square().sum()
    torch.testing.assert_close(loss(image).content, expected, rtol=1e-13, atol=0)


def test_the_content_has_no_content_loss_and_the_style_no_style_loss(network64):
    loss, content, _ = objective(network64)
    assert loss(content).content == 0
    # With report, the style has the content's size and the same padding.
    recipe = Recipe(objective="report").resolve(48, 40)
    style = to_tensor(picture(48, 40, 2), like=like())
    loss = functools.partial(loss_of, prepared(setting(recipe, network64, content, (style, 1.0))))
    assert loss(style).style < 1e-20
    assert loss(content).style > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["balanced", "gatys", "wasserstein"])
@pytest.mark.parametrize(("masked", "tile_side"), [(False, None), (True, None), (False, 32)])
def test_a_painting_has_no_style_loss_with_itself_as_style(network, name, masked, tile_side):
    """Picture and style have the same margin, which is in neither's statistics."""
    recipe = Recipe(objective=name, style_weight=1, longest_side=77).resolve(77, 50)
    # Some tiles are completely in the margin.
    image = with_margin(to_tensor(picture(77, 50, 1), like=torch.empty(0)), 32)
    across = torch.linspace(0, 1, image.shape[3], dtype=image.dtype).expand(1, 1, *image.shape[2:])
    mask = across if masked else None
    part = Part(mask, [(StyleImage(image, mask, 32), 1.0)])
    objective = prepared(
        Setting(
            recipe=recipe,
            network=network,
            content=image,
            start=image,
            parts=[part],
            margin=32,
            tile_side=tile_side,
        )
    )
    method = "plain" if tile_side is None else "tiled"
    same = evaluate(objective, image, method, tile_side).losses
    other = evaluate(objective, image.flip(1), method, tile_side).losses
    assert 0 <= same[2] < 1e-6 * other[2]


activations = st.floats(-100, 100, width=32).map(lambda value: max(value, 0.0))


@settings(max_examples=150, deadline=None)
@given(
    feature_maps=st.lists(
        arrays(np.float32, st.tuples(st.just(6), st.integers(1, 5)), elements=activations),
        min_size=2,
        max_size=2,
    ),
    offset=st.sampled_from([0.0, 3.0, 1000.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_the_wasserstein_term_is_never_negative_and_is_zero_for_equal_features(feature_maps, offset, dtype):
    """With few positions or constant features, the covariance has directions without variance."""

    def mean_moments(features):
        return moments(features, torch.ones(1, 1, features.shape[3], dtype=dtype)) / features.shape[3]

    image, style = (torch.tensor(map + offset, dtype=dtype)[None, :, None] for map in feature_maps)
    target = mean_moments(style)
    positions = torch.tensor([float(image.shape[3])], dtype=dtype)
    guides = torch.ones(1, 1, image.shape[3], dtype=dtype)
    term = WassersteinTerm("relu1_1", guides, positions, target, torch.ones(1, dtype=dtype))
    observation = term.observe({term.layer: image}, whole(*image.shape[2:]))
    statistic = observation.statistic.requires_grad_(True)
    value = term.value(statistic)
    (of_statistic,) = torch.autograd.grad(value, statistic)
    gradient = torch.zeros_like(image)
    observation.add_gradient(term.layer, image, of_statistic, gradient)
    assert 0 <= value < float("inf")
    assert gradient.isfinite().all()
    size = target[0, 1:].trace() + 1e-6
    assert 0 <= term.value(target * positions) < 1e-6 * size


def test_the_wasserstein_term_is_zero_for_equal_features_with_many_channels_and_few_positions():
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(1, 512, 4, 4, generator=generator).clamp_min(0)
    guides, positions = torch.ones(1, 4, 4), torch.tensor([16.0])
    target = moments(f, guides) / 16
    term = WassersteinTerm("relu5_1", guides, positions, target, torch.ones(1))
    # The formula with a difference of traces gives −1.42 times this size.
    assert 0 <= term.value(target * 16) < 1e-6 * target[0, 1:].trace()


def test_the_network_sees_the_margin_but_the_statistics_do_not_include_it(network64):
    recipe = Recipe(objective="balanced", content_weight=0, style_layers=(("relu1_1", 1.0),)).resolve(48, 40)
    content, style = (with_margin(to_tensor(picture(48, 40, seed), like=like()), 16) for seed in (1, 2))
    part = Part(None, [(StyleImage(style, None, 16), 1.0)])
    objective = prepared(
        Setting(recipe=recipe, network=network64, content=content, start=content, parts=[part], margin=16)
    )
    changed = content.clone()
    # This layer sees only one pixel far.
    changed[:, :, :15] = changed[:, :, -15:] = changed[..., :15] = changed[..., -15:] = 3
    expected, got = (loss_of(objective, image).style for image in (content, changed))
    assert torch.equal(expected, got)
    changed[:, :, 15] = 3
    assert loss_of(objective, changed).style != expected


def test_the_margin_of_a_style_is_not_part_of_the_targets(network64):
    recipe = Recipe(objective="balanced", content_weight=0, style_layers=(("relu1_1", 1.0),)).resolve(48, 40)
    style = with_margin(to_tensor(picture(48, 40, 2), like=like()), 16)

    def target(image, mask=None):
        part = Part(None, [(StyleImage(image, mask, 16), 1.0)])
        setting = Setting(
            recipe=recipe, network=network64, content=style, start=style, parts=[part], margin=16
        )
        return prepared(setting).terms[0].targets

    changed = style.clone()
    changed[:, :, :15] = changed[:, :, -15:] = changed[..., :15] = changed[..., -15:] = 3
    everywhere = torch.ones_like(style[:, :1])
    torch.testing.assert_close(target(changed), target(style), rtol=0, atol=0)
    torch.testing.assert_close(target(changed, everywhere), target(style))
    f = network64(style, ["relu1_1"])["relu1_1"][:, :, 16:-16, 16:-16]
    torch.testing.assert_close(target(style)[0], gram_matrix(f) / (48 * 40))


def test_targets_of_several_styles_are_mixed_by_weight(network64):
    recipe = Recipe(objective="balanced", content_weight=0).resolve(48, 40)
    content, a, b = (to_tensor(picture(48, 40, seed), like=like()) for seed in (1, 2, 3))

    def target(styles):
        return prepared(setting(recipe, network64, content, *styles)).terms[2].targets[0]

    mixed = target([(a, 1.0), (b, 3.0)])
    torch.testing.assert_close(mixed, 0.25 * target([(a, 1.0)]) + 0.75 * target([(b, 1.0)]))


def test_a_term_with_weight_0_is_not_computed(network64):
    loss, content, _ = objective(network64, content_weight=0)
    assert loss.args[0].layers == {"relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"}
    assert loss(content).content == 0
    loss, *_ = objective(network64, style_weight=0)
    assert loss.args[0].layers == {"relu4_2"}
