from __future__ import annotations

import functools

import pytest
import torch

from impasto_server.engine import Recipe
from impasto_server.engine.evaluation import loss as loss_of
from impasto_server.engine.losses import gram_matrix, total_variation
from impasto_server.engine.network import Network
from impasto_server.engine.objectives.objective import Part, Setting, prepared
from impasto_server.engine.pixels import to_tensor
from impasto_server.engine.targets import StyleImage
from random_networks import picture, random_weights


def features(channels=6, height=5, width=7, dtype=torch.float64):
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0), dtype=dtype)


class TestThreeFactsAboutGramMatrices:
    def test_shuffled_positions_leave_it_unchanged(self):
        f = features()
        order = torch.randperm(35, generator=torch.Generator().manual_seed(1))
        shuffled = f.flatten(2)[:, :, order].view_as(f)
        assert not torch.equal(f, shuffled)
        torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(f))

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (16, 3)])
    def test_its_shape_is_that_of_the_channels(self, height, width):
        assert gram_matrix(features(6, height, width)).shape == (6, 6)

    def test_it_is_one_reshape_and_one_product(self):
        f = features()
        matrix = f.reshape(6, 35)
        torch.testing.assert_close(gram_matrix(f), matrix @ matrix.T)


def test_the_written_out_gradient_is_the_right_one():
    f = features().requires_grad_(True)
    assert torch.autograd.gradcheck(gram_matrix, f)


def test_bfloat16_grams_are_accumulated_in_float32():
    """Trap 6. Many positions, large values, and a result that half precision could not hold."""
    f = features(16, 130, 120, torch.float32).abs() * 300
    exact = gram_matrix(f.double())
    half = f.to(torch.bfloat16)
    assert exact.max() > 65504
    gram = gram_matrix(half)
    assert gram.dtype == torch.float32
    # Against the Gram of the rounded features: what is lost is the accumulation's.
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
    recipe = Recipe(**settings).resolve(48, 40)
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


def test_gatys_is_the_papers_formula(network64):
    loss, content, style = objective(network64, objective="gatys", content_weight=3, style_weight=5)
    image = content.flip(3)
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1", "relu4_2"]
    f, p = (network64(x, layers) for x in (image, content))
    s = network64(style, layers, padding="reflect")
    expected_content = 0.5 * ((f["relu4_2"] - p["relu4_2"]) ** 2).sum()
    expected_style = torch.zeros((), dtype=torch.float64)
    for layer in layers[:5]:
        n = positions(f[layer])
        c = f[layer].shape[1]
        # The style's Gram matrix as it would be over as many positions as the image has.
        target = gram_matrix(s[layer]) * n / positions(s[layer])
        expected_style += 1 / 5 / (4 * c**2 * n**2) * ((gram_matrix(f[layer]) - target) ** 2).sum()
    losses = loss(image)
    torch.testing.assert_close(losses.content, expected_content)
    torch.testing.assert_close(losses.style, expected_style)
    torch.testing.assert_close(losses.total, 3 * expected_content + 5 * expected_style)


def test_balanced_losses_are_relative_errors(network64):
    """They do not depend on the scale of the features: a network of twice the features gives the same."""
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
    # Biases are zero, so that features are twice as large at every layer.
    torch.testing.assert_close(again.content, losses.content, rtol=1e-5, atol=0)
    torch.testing.assert_close(again.style, losses.style, rtol=1e-5, atol=0)


def test_the_content_has_no_content_loss_and_the_style_no_style_loss(network64):
    loss, content, _ = objective(network64)
    assert loss(content).content == 0
    # The report's style is of the content's size and padded like it.
    recipe = Recipe(objective="report").resolve(48, 40)
    style = to_tensor(picture(48, 40, 2), like=like())
    loss = functools.partial(loss_of, prepared(setting(recipe, network64, content, (style, 1.0))))
    assert loss(style).style < 1e-20
    assert loss(content).style > 1e-3


def test_targets_of_several_styles_are_mixed_by_weight(network64):
    recipe = Recipe(content_weight=0).resolve(48, 40)
    content, a, b = (to_tensor(picture(48, 40, seed), like=like()) for seed in (1, 2, 3))

    def target(styles):
        return prepared(setting(recipe, network64, content, *styles)).terms[2].targets[0]

    mixed = target([(a, 1.0), (b, 3.0)])
    torch.testing.assert_close(mixed, 0.25 * target([(a, 1.0)]) + 0.75 * target([(b, 1.0)]))


def test_a_term_without_weight_is_not_computed(network64):
    loss, content, _ = objective(network64, content_weight=0)
    assert loss.args[0].layers == {"relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"}
    assert loss(content).content == 0
    loss, *_ = objective(network64, style_weight=0)
    assert loss.args[0].layers == {"relu4_2"}
