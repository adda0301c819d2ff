"""Between pictures (PIL, 8-bit sRGB) and the tensors that are optimised (RGB, normalised by ImageNet)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from impasto_server.engine.network import IMAGENET_MEAN, IMAGENET_STD


def to_tensor(
    picture: Image.Image, size: tuple[int, int] | None = None, *, like: torch.Tensor
) -> torch.Tensor:
    """A picture as the network sees it.

    Args:
        picture: mode RGB.
        size: (width, height) in pixels to resize to, by Lanczos.
        like: gives type and device.

    Returns:
        (1, 3, H, W), (value / 255 − mean) / std.
    """
    if size is not None and size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(picture, dtype=np.uint8)).to(like.device)
    image = pixels.permute(2, 0, 1)[None].to(like.dtype) / 255
    mean, std = _normalisation(image)
    return ((image - mean) / std).contiguous()


def to_picture(image: torch.Tensor, max_side: int | None = None) -> Image.Image:
    """The picture that a normalised image (1, 3, H, W) shows: clamped to [0, 1], rounded to 8 bits.

    Args:
        image: normalised RGB.
        max_side: longer side at most, in pixels; a larger image is averaged down.
    """
    image = image.detach()
    height, width = image.shape[2:]
    if max_side is not None and max(height, width) > max_side:
        scale = max_side / max(height, width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        image = F.interpolate(image, size=size, mode="bilinear", antialias=True)
    mean, std = _normalisation(image)
    values = (image * std + mean).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(values[0].permute(1, 2, 0).contiguous().cpu().numpy(), "RGB")


def resized(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A normalised image brought to (width, height) pixels."""
    width, height = size
    return F.interpolate(image, size=(height, width), mode="bicubic", align_corners=False, antialias=True)


def noise(size: tuple[int, int], seed: int, *, like: torch.Tensor) -> torch.Tensor:
    """White Gaussian noise of (width, height) pixels, mean 0 and deviation 1 in the normalised image."""
    # Drawn on the CPU so that a seed means the same on every device.
    generator = torch.Generator().manual_seed(seed)
    width, height = size
    return torch.randn((1, 3, height, width), generator=generator).to(like)


def with_margin(image: torch.Tensor, margin: int) -> torch.Tensor:
    """An image (1, 3, H, W) continued by `margin` mirrored pixels on each side."""
    while margin > 0:
        # Reflection reaches no further than the image itself.
        step = min(margin, *(side - 1 for side in image.shape[2:]))
        image = F.pad(image, (step,) * 4, mode="reflect")
        margin -= step
    return image


def match_palette(image: torch.Tensor, styles: Sequence[tuple[torch.Tensor, float]]) -> torch.Tensor:
    """The image with its colours' distribution made that of the styles, by sliced optimal transport.

    Along random axes the image's values are moved to the styles' quantiles, which after some turns moves
    the whole three-dimensional distribution (Pitié, Kokaram, Dahyot 2007: Automated colour grading using
    colour distribution transfer, algorithm 1).

    Args:
        image: (1, 3, H, W).
        styles: (1, 3, H', W') each, and weights: shares of the palette.
    """
    generator = torch.Generator().manual_seed(0)
    palette = torch.cat([_sample_colors(style, weight, styles) for style, weight in styles])
    colors = image.flatten(2)[0].T.float()
    sample = colors[:: max(1, len(colors) // _PALETTE_SAMPLE)]
    # The map of colours is worked out on a sample, and for the corners of a grid along with it; the image is
    # then looked up in the grid.
    low, high = sample.min(0).values, sample.max(0).values.clamp_min(sample.min(0).values + 1e-3)
    ticks = torch.linspace(0, 1, _PALETTE_GRID, device=image.device)
    corners = torch.cartesian_prod(ticks, ticks, ticks) * (high - low) + low
    points = torch.cat([sample, corners])
    ranks = torch.linspace(0, 1, _QUANTILES, device=image.device)
    for _ in range(_PALETTE_TURNS):
        axes = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0].to(image.device)
        projected = (points @ axes).T.contiguous()
        source = torch.quantile(projected[:, : len(sample)], ranks, dim=1).T.contiguous()
        target = torch.quantile((palette @ axes).T, ranks, dim=1).T.contiguous()
        points = _interpolate(projected, source, target).T @ axes.T
    grid = points[len(sample) :].T.view(1, 3, _PALETTE_GRID, _PALETTE_GRID, _PALETTE_GRID)
    # grid_sample counts the last axis of the grid first.
    where = ((colors - low) / (high - low) * 2 - 1).flip(1).view(1, 1, 1, -1, 3)
    matched = F.grid_sample(grid, where, padding_mode="border", align_corners=True)
    return matched.view(image.shape).to(image.dtype)


_PALETTE_TURNS = 12
_PALETTE_SAMPLE = 1 << 14
_PALETTE_GRID = 25
_QUANTILES = 257


def _sample_colors(
    style: torch.Tensor, weight: float, styles: Sequence[tuple[torch.Tensor, float]]
) -> torch.Tensor:
    """(n, 3) colours spread evenly over a style, n in proportion to its weight."""
    count = max(1, round(_PALETTE_SAMPLE * weight / sum(w for _, w in styles)))
    colors = style.flatten(2)[0].T.float()
    indices = torch.linspace(0, len(colors) - 1, count, device=style.device).round().long()
    return colors[indices]


def _interpolate(values: torch.Tensor, knots: torch.Tensor, heights: torch.Tensor) -> torch.Tensor:
    """Piecewise linear, one function a row: values (3, n), knots and heights (3, k), knots rising;
    constant beyond them."""
    upper = torch.searchsorted(knots, values).clamp_(1, knots.shape[1] - 1)
    x0, x1 = knots.gather(1, upper - 1), knots.gather(1, upper)
    y0, y1 = heights.gather(1, upper - 1), heights.gather(1, upper)
    share = ((values - x0) / (x1 - x0).clamp_min(1e-6)).clamp_(0, 1)
    return y0 + share * (y1 - y0)


def _normalisation(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = torch.tensor(IMAGENET_MEAN, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)
    return mean, std
