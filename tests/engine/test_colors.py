from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from impasto_server.engine import colors, pixels
from support.random_networks import picture

LIKE = torch.empty(0)


def sliced_wasserstein(a: torch.Tensor, b: torch.Tensor) -> float:
    """Returns the mean distance of the sorted values along random axes, for images of the same size."""
    axes = torch.nn.functional.normalize(
        torch.randn(64, 3, generator=torch.Generator().manual_seed(5)), dim=1
    )
    x, y = ((axes @ image.flatten(2)[0]).sort(1).values for image in (a, b))
    return float((x - y).abs().mean())


def test_match_palette_gives_the_image_the_colours_of_the_style():
    image, style = (pixels.to_tensor(picture(90, 70, seed), like=LIKE) for seed in (1, 2))
    matched = colors.match_palette(image, colors.palette_of([(style, 1.0)]))
    assert matched.shape == image.shape
    assert sliced_wasserstein(matched, style) < 0.15 * sliced_wasserstein(image, style)


def test_match_palette_weighs_styles():
    image = pixels.to_tensor(picture(60, 60, 1), like=LIKE)
    black, white = (pixels.to_tensor(Image.new("RGB", (30, 30), c), like=LIKE) for c in ("black", "white"))
    matched = colors.match_palette(image, colors.palette_of([(black, 1.0), (white, 3.0)]))
    share = (matched[0, 0] > 0).float().mean()
    assert 0.65 < share < 0.85


@pytest.mark.parametrize("color", [(128, 128, 128), (255, 255, 255), (0, 0, 0), (210, 20, 40)])
@pytest.mark.parametrize("seed", [2, 3])
def test_a_flat_image_gets_the_mean_of_the_palette(color, seed):
    image = pixels.to_tensor(Image.new("RGB", (64, 48), color), like=LIKE)
    style = pixels.to_tensor(picture(50, 70, seed), like=LIKE)
    matched = colors.match_palette(image, colors.palette_of([(style, 1.0)]))
    assert matched.flatten(2).std(2).max() < 1e-3
    # The tolerance is 10 levels of 255.
    assert (matched.mean((2, 3)) - style.mean((2, 3))).abs().max() < 10 / 255 / 0.225


def test_a_flat_part_of_an_image_gets_the_mean_of_its_share_of_the_palette():
    grey = Image.new("RGB", (60, 60), (255, 255, 255))
    grey.paste(0, (0, 0, 60, 30))
    ramp = pixels.to_tensor(Image.linear_gradient("L").convert("RGB"), like=LIKE)
    matched = np.asarray(
        pixels.to_picture(
            colors.match_palette(pixels.to_tensor(grey, like=LIKE), colors.palette_of([(ramp, 1.0)]))
        )
    )
    # Half of the palette is darker than 128, half is lighter.
    assert abs(matched[:30].mean() - 64) < 8
    assert abs(matched[30:].mean() - 192) < 8


def test_the_noise_of_a_flat_image_is_not_stretched_over_the_palette():
    levels = np.random.default_rng(0).normal(128, 1, (48, 64, 3)).round().astype(np.uint8)
    image = pixels.to_tensor(Image.fromarray(levels, "RGB"), like=LIKE)
    style = pixels.to_tensor(picture(50, 70, 2), like=LIKE)
    matched = colors.match_palette(image, colors.palette_of([(style, 1.0)]))
    assert matched.std((2, 3)).max() < 0.4 * style.std((2, 3)).min()


def test_any_image_gets_the_colour_of_a_style_of_one_colour():
    image = pixels.to_tensor(picture(60, 60, 1), like=LIKE)
    style = pixels.to_tensor(Image.new("RGB", (30, 30), (200, 120, 40)), like=LIKE)
    matched = np.asarray(pixels.to_picture(colors.match_palette(image, colors.palette_of([(style, 1.0)]))))
    assert np.abs(matched.astype(int) - (200, 120, 40)).max() <= 1


def test_match_palette_keeps_the_type_of_the_image():
    image, style = (pixels.to_tensor(picture(40, 30, seed), like=LIKE.double()) for seed in (1, 2))
    matched = colors.match_palette(image, colors.palette_of([(style, 1.0)]))
    assert matched.dtype == torch.float64
    assert not torch.equal(matched, matched.float().double())


def test_match_palette_of_flat_images_is_finite():
    flat = pixels.to_tensor(Image.new("RGB", (20, 20), (9, 9, 9)), like=LIKE)
    style = pixels.to_tensor(picture(20, 20, 2), like=LIKE)
    for image, styles in ((flat, [(style, 1.0)]), (style, [(flat, 1.0)]), (flat, [(flat, 1.0)])):
        assert colors.match_palette(image, colors.palette_of(styles)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantiles_are_those_of_pytorch(dtype: torch.dtype) -> None:
    values = torch.randn(3, 1000, generator=torch.Generator().manual_seed(1), dtype=dtype)
    values[1, 200:600] = 0.5
    ranks = torch.linspace(0, 1, 257, dtype=dtype)
    assert torch.equal(colors._quantiles(values, ranks), torch.quantile(values, ranks, dim=1).T)


def test_numbers_below_are_those_of_pytorch() -> None:
    values = torch.randn(3, 1000, generator=torch.Generator().manual_seed(1)).mul(4).round()
    knots = torch.randn(3, 64, generator=torch.Generator().manual_seed(2)).mul(4).round().sort(1).values
    knots[2] = 1.0
    assert torch.equal(colors._numbers_below(values, knots), torch.searchsorted(knots, values))
