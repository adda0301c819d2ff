"""Colours of whole images: the styles' palette, matched means and covariances, and luminance."""

from __future__ import annotations

from collections.abc import Sequence

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
"""Standard deviation of the spread that each colour is taken to have, four levels of 255. An area of one
colour has no quantile of its own, and its noise is not to be drawn out to the whole palette."""

# Rec. 601, as in the YIQ of Gatys et al. 2017.
_LUMA = (0.299, 0.587, 0.114)


def palette_of(styles: Weighted) -> torch.Tensor:
    """A sample of the styles' colours, (n, 3), of each as many as its share.

    Args:
        styles: (1, 3, H, W) each, and weights: shares of the palette.
    """
    return torch.cat([_sample_colors(style, weight, styles) for style, weight in styles])


def match_palette(image: torch.Tensor, palette: torch.Tensor) -> torch.Tensor:
    """The image with its colours' distribution made that of a palette, by sliced optimal transport.

    Along random axes the image's values are moved to the palette's quantiles, which after some turns moves
    the whole three-dimensional distribution (Pitié, Kokaram, Dahyot 2007: Automated colour grading using
    colour distribution transfer). A colour is taken for a normal distribution of deviation `_SPREAD`, and
    goes to the mean of where that is moved to: flat grey gets the mean of the palette.

    Args:
        image: (1, 3, H, W).
        palette: colours, (n, 3).
    """
    generator = torch.Generator().manual_seed(0)
    turns = [torch.linalg.qr(torch.randn(3, 3, generator=generator))[0] for _ in range(_PALETTE_TURNS)]
    colors = image.flatten(2)[0].T
    sample = colors[:: max(1, len(colors) // _PALETTE_SAMPLE)]
    sample = sample + _SPREAD * torch.randn(sample.shape, generator=generator).to(sample)
    # The map of colours is worked out on a sample, and for the corners of a grid along with it; the image is
    # then looked up in the grid.
    low, high = sample.min(0).values, sample.max(0).values
    ticks = torch.linspace(0, 1, _PALETTE_GRID, dtype=image.dtype, device=image.device)
    corners = torch.cartesian_prod(ticks, ticks, ticks) * (high - low) + low
    points = torch.cat([sample, corners])
    ranks = torch.linspace(0, 1, _QUANTILES, dtype=image.dtype, device=image.device)
    for turn in turns:
        axes = turn.to(image)
        projected = (points @ axes).T.contiguous()
        source = torch.quantile(projected[:, : len(sample)], ranks, dim=1).T.contiguous()
        target = torch.quantile((palette @ axes).T, ranks, dim=1).T.contiguous()
        points = _interpolate(projected, source, target).T @ axes.T
    grid = points[len(sample) :].view(_PALETTE_GRID, _PALETTE_GRID, _PALETTE_GRID, 3)
    grid = torch.einsum("abcv,ia,jb,kc->vijk", grid, *_blurs((high - low) * ticks[1]))[None]
    # grid_sample counts the last axis of the grid first.
    where = ((colors - low) / (high - low) * 2 - 1).flip(1).view(1, 1, 1, -1, 3)
    matched = F.grid_sample(grid, where, padding_mode="border", align_corners=True)
    return matched.view(image.shape).to(image.dtype)


def _blurs(steps: torch.Tensor) -> torch.Tensor:
    """For each axis of the grid, the matrix (_PALETTE_GRID, _PALETTE_GRID) that blurs it by `_SPREAD`.

    Args:
        steps: (3,): between two points of the grid along each axis.
    """
    places = torch.arange(_PALETTE_GRID, device=steps.device)
    distances = (places[:, None] - places) * steps[:, None, None]
    return torch.softmax(-0.5 * (distances / _SPREAD) ** 2, dim=2)


def _sample_colors(style: torch.Tensor, weight: float, styles: Weighted) -> torch.Tensor:
    """(n, 3) colours spread evenly over a style, n in proportion to its weight."""
    count = max(1, round(_PALETTE_SAMPLE * weight / sum(w for _, w in styles)))
    colors = style.flatten(2)[0].T
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


def match_moments(image: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The image with its colours' mean and covariance made those of another (Gatys et al. 2017, section 5.2).

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
    """The image with its colours' mean and covariance brought nearer to those of a palette, by the map of
    `match_moments`.

    Args:
        image: (1, 3, H, W).
        palette: colours, (n, 3).
        share: how far: 0 leaves the image, 1 makes the moments the palette's.
    """
    colors = image.flatten(2)[0]
    sample = colors[:, :: max(1, colors.shape[1] // _PALETTE_SAMPLE)]
    transform, offset = _moments_map(sample, palette.T, _SPREAD**2)
    eye = torch.eye(3, dtype=transform.dtype, device=image.device)
    toward = (eye + share * (transform - eye)).to(image.dtype)
    return (toward @ colors + share * offset.to(image.dtype)).view_as(image)


def _moments_map(colors: torch.Tensor, like: torch.Tensor, ridge: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The map x → T x + b, (3, 3) and (3, 1), that gives colours the moments of others, (3, n) each; `ridge`
    is added to their variances."""
    mean, covariance = _color_moments(colors, ridge)
    target_mean, target_covariance = _color_moments(like, ridge)
    root, inverse_root = _power(covariance, 0.5), _power(covariance, -0.5)
    transform = inverse_root @ _power(root @ target_covariance @ root, 0.5) @ inverse_root
    return transform, target_mean - transform @ mean


def _color_moments(colors: torch.Tensor, ridge: float) -> tuple[torch.Tensor, torch.Tensor]:
    # In float64, and a little of the identity: a picture of one colour has no inverse.
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
    """A normalised image (1, 3, H, W) in grey: its Y of YIQ, normalised in each channel."""
    mean, std = normalisation(image)
    luma = torch.tensor(_LUMA, dtype=image.dtype, device=image.device).view(1, 3, 1, 1)
    grey = ((image * std + mean) * luma).sum(1, keepdim=True)
    return (grey - mean) / std


def matched_luminance(style: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """A style in grey, its mean and deviation made the content's (Gatys et al. 2017, section 5.1)."""
    mean, std = normalisation(style)
    of_style, of_content = ((luminance(image) * std + mean)[:, :1] for image in (style, content))
    spread = of_content.std() / of_style.std().clamp_min(1e-4)
    grey = (of_style - of_style.mean()) * spread + of_content.mean()
    return (grey - mean) / std


def with_chroma_of(image: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """The luminance of one normalised image and the chroma (I and Q of YIQ) of another of the same size."""
    mean, std = normalisation(image)
    # Chroma is what an image differs from its own grey by.
    chroma = (content - luminance(content)) * std
    grey = luminance(image) * std + mean
    return (grey + chroma - mean) / std
