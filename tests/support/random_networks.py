"""Tiny pictures, and networks with random weights."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from impasto_server.engine.weights import Architecture, Weights, convolution_names


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth random picture: a few colours in soft blobs."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse, "RGB").resize((width, height), Image.Resampling.BICUBIC)


def random_weights(architecture: Architecture, seed: int = 0) -> Weights:
    """Weights of a VGG's convolutions up to conv5_1, initialised as in torchvision."""
    generator = torch.Generator().manual_seed(seed)
    convolutions, channels = {}, 3
    for name in convolution_names(architecture):
        out = min(64 << (int(name[4]) - 1), 512)
        weight = torch.randn(out, channels, 3, 3, generator=generator) * (2 / (9 * out)) ** 0.5
        convolutions[name] = (weight, torch.zeros(out))
        channels = out
        if name == "conv5_1":
            break
    return Weights(architecture, "random", "random weights", "0" * 64, convolutions)
