from __future__ import annotations

import torch
from PIL import Image

from impasto_server.engine import colors, pixels
from random_networks import picture

LIKE = torch.empty(0)


def sliced_wasserstein(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean distance of the sorted values along random axes; images of the same size."""
    axes = torch.nn.functional.normalize(
        torch.randn(64, 3, generator=torch.Generator().manual_seed(5)), dim=1
    )
    x, y = ((axes @ image.flatten(2)[0]).sort(1).values for image in (a, b))
    return float((x - y).abs().mean())


def test_match_palette_gives_the_image_the_styles_colours():
    image, style = (pixels.to_tensor(picture(90, 70, seed), like=LIKE) for seed in (1, 2))
    matched = colors.match_palette(image, [(style, 1.0)])
    assert matched.shape == image.shape
    assert sliced_wasserstein(matched, style) < 0.15 * sliced_wasserstein(image, style)


def test_match_palette_weighs_styles():
    image = pixels.to_tensor(picture(60, 60, 1), like=LIKE)
    black, white = (pixels.to_tensor(Image.new("RGB", (30, 30), c), like=LIKE) for c in ("black", "white"))
    matched = colors.match_palette(image, [(black, 1.0), (white, 3.0)])
    share = (matched[0, 0] > 0).float().mean()
    assert 0.65 < share < 0.85


def test_match_palette_of_flat_images_is_finite():
    flat = pixels.to_tensor(Image.new("RGB", (20, 20), (9, 9, 9)), like=LIKE)
    style = pixels.to_tensor(picture(20, 20, 2), like=LIKE)
    for image, styles in ((flat, [(style, 1.0)]), (style, [(flat, 1.0)]), (flat, [(flat, 1.0)])):
        assert colors.match_palette(image, styles).isfinite().all()
