"""Colours of whole images: the styles' palette, matching of means and covariances, and luminance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from impasto_server.engine.pixels import normalisation

Weighted = Sequence[tuple[torch.Tensor, float]]
"""Images (1, 3, H, W) and weights."""

_PALETTE_TURNS = 12
_PALETTE_SAMPLE = 1 << 14
_PALETTE_GRID = 25
_QUANTILES = 257

_SPREAD = 4 / 255 / 0.225
"""Standard deviation of the normal distribution that stands for each colour: 4 levels of 255. Without it, the
noise of an area of one colour would be stretched over the whole palette."""

# Rec. 601, for the YIQ of Gatys et al. 2017.
_LUMA = (0.299, 0.587, 0.114)


def palette_of(styles: Weighted) -> torch.Tensor:
    """Returns a sample of the styles' colours, (n, 3).

    Args:
        styles: images (1, 3, H, W) with weights. Each gives a share of the colours by its weight.
    """
    return torch.cat([_sample_colors(style, weight, styles) for style, weight in styles])


def match_palette(image: torch.Tensor, palette: torch.Tensor) -> torch.Tensor:
    """Returns the image with the colour distribution of a palette, by sliced optimal transport.

    The image's values are moved to the palette's quantiles along random axes. A few rotations of the axes
    move the whole three-dimensional distribution (Pitié, Kokaram, Dahyot 2007: Automated colour grading using
    colour distribution transfer). Each colour stands for a normal distribution with the standard deviation
    `_SPREAD` and goes to the mean of the place that this distribution is moved to. A grey image without
    contrast so gets the mean of the palette.

    Args:
        image: (1, 3, H, W).
        palette: colours, (n, 3).
    """
    generator = torch.Generator().manual_seed(0)
    turns = [torch.linalg.qr(torch.randn(3, 3, generator=generator))[0] for _ in range(_PALETTE_TURNS)]
    colors = image.flatten(2)[0].T
    sample = colors[:: max(1, len(colors) // _PALETTE_SAMPLE)]
    sample = sample + _SPREAD * torch.randn(sample.shape, generator=generator).to(sample)
    # The colour map is computed for a sample of the image and for the points of a grid; each pixel of the
    # image is then looked up in the grid.
    low, high = sample.min(0).values, sample.max(0).values
    ticks = torch.linspace(0, 1, _PALETTE_GRID, dtype=image.dtype, device=image.device)
    corners = torch.cartesian_prod(ticks, ticks, ticks) * (high - low) + low
    points = torch.cat([sample, corners])
    ranks = torch.linspace(0, 1, _QUANTILES, dtype=image.dtype, device=image.device)
    for turn in turns:
        axes = turn.to(image)
        projected = (points @ axes).T.contiguous()
        source = _quantiles(projected[:, : len(sample)], ranks)
        target = _quantiles((palette @ axes).T, ranks)
        points = _interpolate(projected, source, target).T @ axes.T
    grid = points[len(sample) :].view(_PALETTE_GRID, _PALETTE_GRID, _PALETTE_GRID, 3)
    grid = torch.einsum("abcv,ia,jb,kc->vijk", grid, *_blurs((high - low) * ticks[1]))[None]
    # grid_sample counts the last axis of the grid first.
    where = ((colors - low) / (high - low) * 2 - 1).flip(1).view(1, 1, 1, -1, 3)
    matched = F.grid_sample(grid, where, padding_mode="border", align_corners=True)
    return matched.view(image.shape).to(image.dtype)


def _blurs(steps: torch.Tensor) -> torch.Tensor:
    """Return, for each axis of the grid, the matrix (_PALETTE_GRID, _PALETTE_GRID) that blurs by `_SPREAD`.

    Args:
        steps: (3,): distance between two grid points along each axis.
    """
    places = torch.arange(_PALETTE_GRID, device=steps.device)
    distances = (places[:, None] - places) * steps[:, None, None]
    return torch.softmax(-0.5 * (distances / _SPREAD) ** 2, dim=2)


def _sample_colors(style: torch.Tensor, weight: float, styles: Weighted) -> torch.Tensor:
    """Returns colours (n, 3) spread evenly over a style; n is in proportion to its weight."""
    count = max(1, round(_PALETTE_SAMPLE * weight / sum(w for _, w in styles)))
    colors = style.flatten(2)[0].T
    indices = torch.linspace(0, len(colors) - 1, count, device=style.device).round().long()
    return colors[indices]


def _interpolate(values: torch.Tensor, knots: torch.Tensor, heights: torch.Tensor) -> torch.Tensor:
    """Interpolates linearly between knots, each row by itself; constant beyond the first and last knot.

    Args:
        values: (3, n).
        knots: (3, k), rising.
        heights: (3, k), the function at the knots.
    """
    upper = _numbers_below(values, knots).clamp_(1, knots.shape[1] - 1)
    x0, x1 = knots.gather(1, upper - 1), knots.gather(1, upper)
    y0, y1 = heights.gather(1, upper - 1), heights.gather(1, upper)
    share = ((values - x0) / (x1 - x0).clamp_min(1e-6)).clamp_(0, 1)
    return y0 + share * (y1 - y0)


# On a CPU, numpy sorts much faster than PyTorch. Measured: the palette is matched in a fifth of the time.


def _quantiles(values: torch.Tensor, ranks: torch.Tensor) -> torch.Tensor:
    """Returns the quantiles of each row at some ranks from 0 to 1, exactly those of `torch.quantile`.

    Args:
        values: (rows, n).
        ranks: (k,).
    """
    if values.device.type == "cpu":
        ordered = torch.from_numpy(np.sort(values.numpy(), axis=1))
    else:
        ordered = values.sort(1).values
    places = ranks * (ordered.shape[1] - 1)
    below = places.floor()
    return torch.lerp(ordered[:, below.long()], ordered[:, places.ceil().long()], places - below)


def _numbers_below(values: torch.Tensor, knots: torch.Tensor) -> torch.Tensor:
    """Returns for each value the number of knots in its row that are smaller, as `torch.searchsorted` does.

    Args:
        values: (rows, n).
        knots: (rows, k), rising.
    """
    if values.device.type != "cpu":
        return torch.searchsorted(knots, values)
    numbers = np.empty(values.shape, np.int64)
    for row, of_values, of_knots in zip(numbers, values.numpy(), knots.numpy(), strict=True):
        # The knots are looked up among the sorted values, because there are fewer of them.
        order = np.argsort(of_values)
        firsts = np.searchsorted(of_values[order], of_knots, side="right")
        row[order] = np.bincount(firsts, minlength=len(order) + 1)[:-1].cumsum()
    return torch.from_numpy(numbers)


def match_moments(image: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Returns the image with the colours' mean and covariance of another (Gatys et al. 2017, section 5.2).

    The linear map is the one that moves colours least (Monge–Kantorovich; Pitié, Kokaram 2007):
    T = Σ^-½ (Σ^½ Σ̂ Σ^½)^½ Σ^-½.

    Args:
        image: (1, 3, H, W).
        like: (1, 3, H', W').
    """
    colors = image.flatten(2)[0]
    transform, offset = _moments_map(colors, like.flatten(2)[0], 1e-5)
    matched = transform @ colors.double() + offset
    return matched.to(image.dtype).view_as(image)


def toward_moments(image: torch.Tensor, palette: torch.Tensor, share: float) -> torch.Tensor:
    """Returns the image with its colours' mean and covariance moved toward those of a palette.

    It uses the map of `match_moments`.

    Args:
        image: (1, 3, H, W).
        palette: colours, (n, 3).
        share: how far to move: at 0 the image does not change, at 1 it has the palette's moments.
    """
    colors = image.flatten(2)[0]
    sample = colors[:, :: max(1, colors.shape[1] // _PALETTE_SAMPLE)]
    transform, offset = _moments_map(sample, palette.T, _SPREAD**2)
    eye = torch.eye(3, dtype=transform.dtype, device=image.device)
    toward = (eye + share * (transform - eye)).to(image.dtype)
    return (toward @ colors + share * offset.to(image.dtype)).view_as(image)


def _moments_map(colors: torch.Tensor, like: torch.Tensor, ridge: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns T (3, 3) and b (3, 1) of the map x → T x + b that gives `colors` the moments of `like`.

    Args:
        colors, like: (3, n) each.
        ridge: added to the variances of both.
    """
    mean, covariance = _color_moments(colors, ridge)
    target_mean, target_covariance = _color_moments(like, ridge)
    root, inverse_root = _power(covariance, 0.5), _power(covariance, -0.5)
    transform = inverse_root @ _power(root @ target_covariance @ root, 0.5) @ inverse_root
    return transform, target_mean - transform @ mean


def _color_moments(colors: torch.Tensor, ridge: float) -> tuple[torch.Tensor, torch.Tensor]:
    # With a ridge, because the covariance of a picture of one colour has no inverse.
    flat = colors.double()
    mean = flat.mean(1, keepdim=True)
    centred = flat - mean
    eye = torch.eye(3, dtype=flat.dtype, device=flat.device)
    return mean, centred @ centred.T / flat.shape[1] + ridge * eye


def _power(matrix: torch.Tensor, exponent: float) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    power: torch.Tensor = vectors @ torch.diag(values.clamp_min(1e-10) ** exponent) @ vectors.T
    return power


def luminance(image: torch.Tensor) -> torch.Tensor:
    """Returns a normalised image (1, 3, H, W) in grey: the Y of its YIQ, normalised in each channel."""
    mean, std = normalisation(image)
    luma = torch.tensor(_LUMA, dtype=image.dtype, device=image.device).view(1, 3, 1, 1)
    grey = ((image * std + mean) * luma).sum(1, keepdim=True)
    return (grey - mean) / std


def matched_luminance(style: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Returns a style in grey with the content's mean and deviation (Gatys et al. 2017, section 5.1)."""
    mean, std = normalisation(style)
    of_style, of_content = ((luminance(image) * std + mean)[:, :1] for image in (style, content))
    spread = of_content.std() / of_style.std().clamp_min(1e-4)
    grey = (of_style - of_style.mean()) * spread + of_content.mean()
    return (grey - mean) / std


def with_chroma_of(image: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Combines the luminance of `image` with the chroma (I and Q of YIQ) of `content`.

    Both are normalised, (1, 3, H, W), and of the same size.
    """
    mean, std = normalisation(image)
    # The chroma is the difference between an image and its own grey.
    chroma = (content - luminance(content)) * std
    grey = luminance(image) * std + mean
    return (grey + chroma - mean) / std
