"""A feature network's features, computed by torch's modules one by one, for comparison."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from impasto_server.engine.network import Network
from impasto_server.engine.weights import LAST_NEEDED, convolution_names


def plain_features(network: Network, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """Returns the features of an image by layer, differentiable by torch's autograd."""
    features, x = {}, image
    names = convolution_names(network.architecture)
    for name in names[: names.index(LAST_NEEDED) + 1]:
        if name.endswith("_1") and name != "conv1_1":
            x = F.max_pool2d(x, 2)
        weight, bias = network.get_buffer(f"{name}_weight"), network.get_buffer(f"{name}_bias")
        x = F.conv2d(x, weight, bias, padding=1).relu()
        features[name.replace("conv", "relu")] = x
    return {layer: features[layer] for layer in layers}
