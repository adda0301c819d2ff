"""Conversions between pictures (sRGB) and the tensors that are optimised (RGB, normalised for ImageNet)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from impasto_server.engine.network import IMAGENET_MEAN, IMAGENET_STD

Deep: TypeAlias = npt.NDArray[np.uint16]
"""A picture with 16 bits per channel, (H, W, 3) in R, G, B. Pillow has no such mode."""

Picture: TypeAlias = Image.Image | Deep
"""A picture in sRGB: mode RGB, or with 16 bits per channel."""

NOISE_BLUR = 1.5
"""Standard deviation in pixels of the blur of the noise that a painting starts from. The network hardly sees
differences between single pixels, so unblurred noise would stay in the picture as a checkerboard."""
NOISE_REACH = 5
"""Radius of the blur in pixels."""


def picture_size(picture: Picture) -> tuple[int, int]:
    """Returns (width, height) in pixels."""
    return picture.size if isinstance(picture, Image.Image) else (picture.shape[1], picture.shape[0])


def resampled(
    picture: Picture, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Picture:
    """Resizes a picture, or a box of it, by Lanczos.

    Args:
        picture: of any size.
        size: (width, height) in pixels.
        box: (left, top, right, bottom) in pixels; None for the whole picture.
    """
    if isinstance(picture, Image.Image):
        return picture.resize(size, Image.Resampling.LANCZOS, box=box)
    width, height = size
    samples = np.empty((height, width, 3), np.uint16)
    for channel in range(3):
        values = Image.fromarray(picture[:, :, channel].astype(np.float32))
        values = values.resize(size, Image.Resampling.LANCZOS, box=box)
        samples[:, :, channel] = np.asarray(values).round().clip(0, 65535)
    return samples


def in_8_bits(picture: Picture) -> Image.Image:
    """Returns a picture in mode RGB."""
    if isinstance(picture, Image.Image):
        return picture
    return Image.fromarray((picture / 257).round().astype(np.uint8), "RGB")


def without_edges(image: Image.Image, share: float) -> Image.Image:
    """Cuts off a share of an image's width at the left and right, and of its height at the top and bottom."""
    width, height = image.size
    across, down = round(width * share), round(height * share)
    return image.crop((across, down, width - across, height - down))


def to_tensor(picture: Picture, size: tuple[int, int] | None = None, *, like: torch.Tensor) -> torch.Tensor:
    """Returns a picture as the network sees it.

    Args:
        picture: of any size.
        size: (width, height) in pixels to which it is resized, by Lanczos; None to keep its size.
        like: a tensor of the type and on the device to use.

    Returns:
        (1, 3, H, W), (value / white − mean) / std.
    """
    if size is not None and size != picture_size(picture):
        picture = resampled(picture, size)
    if isinstance(picture, Image.Image):
        white, samples = 255, torch.from_numpy(np.array(picture, dtype=np.uint8)).to(like.device)
    else:
        white, samples = 65535, torch.from_numpy(picture.astype(np.int32)).to(like.device)
    image = samples.permute(2, 0, 1)[None].to(like.dtype) / white
    mean, std = normalisation(image)
    return ((image - mean) / std).contiguous()


def to_picture(image: torch.Tensor, max_side: int | None = None) -> Image.Image:
    """Returns a normalised image as a picture: clamped to [0, 1], rounded to 8 bits.

    Args:
        image: (1, 3, H, W), normalised RGB.
        max_side: maximum longer side in pixels, to which a larger image is averaged down; None for no limit.
    """
    image = image.detach()
    height, width = image.shape[2:]
    if max_side is not None and max(height, width) > max_side:
        scale = max_side / max(height, width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        image = F.interpolate(image, size=size, mode="bilinear", antialias=True)
    return Image.fromarray(to_samples(image, 8), "RGB")


def to_samples(image: torch.Tensor, bits: int) -> npt.NDArray[np.uint8] | Deep:
    """Returns the samples (H, W, 3) of a normalised image (1, 3, H, W).

    They are clamped to [0, 1] and rounded to 8 or 16 bits.
    """
    mean, std = normalisation(image)
    values = (image.detach() * std + mean).clamp(0, 1).mul((1 << bits) - 1).round()
    samples = values[0].permute(1, 2, 0).to(torch.uint8 if bits == 8 else torch.int32).contiguous().cpu()
    return samples.numpy() if bits == 8 else samples.numpy().astype(np.uint16)


def clipped(image: torch.Tensor) -> torch.Tensor:
    """Clamps a normalised image (1, 3, H, W) to the colours that a picture can show."""
    mean, std = normalisation(image)
    return (image * std + mean).clamp(0, 1).sub_(mean).div_(std)


def resized(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resizes a normalised image to (width, height) pixels."""
    width, height = size
    return F.interpolate(image, size=(height, width), mode="bicubic", align_corners=False, antialias=True)


def noise(size: tuple[int, int], seed: int, *, like: torch.Tensor) -> torch.Tensor:
    """Returns blurred Gaussian noise of (width, height) pixels.

    It has mean 0 and standard deviation 1 in the normalised image; the blur is a Gaussian of `NOISE_BLUR`
    pixels.
    """
    # Drawn on the CPU so that a seed means the same on every device.
    generator = torch.Generator().manual_seed(seed)
    width, height = size
    reach = NOISE_REACH
    white = torch.randn((3, 1, height + 2 * reach, width + 2 * reach), generator=generator)
    distances = torch.arange(-reach, reach + 1, dtype=white.dtype)
    kernel = (-0.5 * (distances / NOISE_BLUR) ** 2).exp()
    # So that the blurred noise has the same standard deviation.
    kernel /= kernel.norm()
    smooth = F.conv2d(F.conv2d(white, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return smooth.view(1, 3, height, width).to(like)


def with_margin(image: torch.Tensor, margin: int) -> torch.Tensor:
    """Extends an image (1, 3, H, W) by `margin` mirrored pixels on each side."""
    while margin > 0:
        # One reflection adds less than the image's own size.
        step = min(margin, *(side - 1 for side in image.shape[2:]))
        image = F.pad(image, (step,) * 4, mode="reflect")
        margin -= step
    return image


def normalisation(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns ImageNet's mean and standard deviation, (1, 3, 1, 1) each, in the type and on the device of a
    tensor."""
    mean = torch.tensor(IMAGENET_MEAN, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)
    return mean, std


def mask_tensor(mask: Image.Image, size: tuple[int, int], *, like: torch.Tensor) -> torch.Tensor:
    """Returns a mask (mode L) as (1, 1, H, W) in [0, 1], resized to (width, height) pixels."""
    values = torch.from_numpy(np.array(mask, dtype=np.uint8)).to(like.device)
    image = values[None, None].to(like.dtype) / 255
    width, height = size
    if mask.size == size:
        return image
    return F.interpolate(image, size=(height, width), mode="bilinear", antialias=True).clamp(0, 1)
