"""Between pictures (PIL, 8-bit sRGB) and the tensors that are optimised (RGB, normalised by ImageNet)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from impasto_server.engine.network import IMAGENET_MEAN, IMAGENET_STD


def to_tensor(picture: Image.Image, size: tuple[int, int] | None = None, *, like: torch.Tensor) -> torch.Tensor:
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


def match_colors(image: torch.Tensor, styles: Sequence[tuple[torch.Tensor, float]]) -> torch.Tensor:
    """The image with its colours' mean and covariance made those of the styles (Gatys et al. 2017, eq. 5).

    The linear map is the one that moves colours least (Monge–Kantorovich, Pitié 2007):
    T = Σ⁻¹ᐟ² (Σ¹ᐟ² Σ_s Σ¹ᐟ²)¹ᐟ² Σ⁻¹ᐟ².

    Args:
        image: (1, 3, H, W).
        styles: (1, 3, H', W') each, and weights, by which means and covariances are averaged.
    """
    total_weight = sum(weight for _, weight in styles)
    mean, covariance = _color_statistics(image)
    moments = [(*_color_statistics(style), weight / total_weight) for style, weight in styles]
    style_mean = sum((m * share for m, _, share in moments), start=torch.zeros_like(mean))
    style_covariance = sum((c * share for _, c, share in moments), start=torch.zeros_like(covariance))
    root = _power(covariance, 0.5)
    inverse_root = _power(covariance, -0.5)
    transform = inverse_root @ _power(root @ style_covariance @ root, 0.5) @ inverse_root
    flat = image.double().flatten(2)[0] - mean[:, None]
    matched = transform @ flat + style_mean[:, None]
    return matched.to(image.dtype).view_as(image)


def _color_statistics(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # In float64, and a little of the identity: a picture of one colour has no inverse.
    flat = image.double().flatten(2)[0]
    mean = flat.mean(1)
    centred = flat - mean[:, None]
    eye = torch.eye(3, dtype=flat.dtype, device=flat.device)
    return mean, centred @ centred.T / flat.shape[1] + 1e-5 * eye


def _power(matrix: torch.Tensor, exponent: float) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(1e-10) ** exponent) @ vectors.T


def _normalisation(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = torch.tensor(IMAGENET_MEAN, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)
    return mean, std
