"""The original program of the course report, with which the engine's speed is compared.

Everything that makes it slow is kept: the network also computes gradients for its weights and runs to its
last layer, and the targets are computed again at each step.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from impasto_server.engine.network import IMAGENET_MEAN, IMAGENET_STD
from impasto_server.engine.weights import Architecture, Weights, torchvision_indices

_COMPARED = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
_CONFIGURATION = {"vgg16": "D", "vgg19": "E"}


def torchvision_features(architecture: Architecture, weights: Weights | None = None) -> nn.Sequential:
    """Returns torchvision's `features` of a VGG, to the last pooling and with in-place ReLUs.

    Args:
        architecture: the VGG.
        weights: weights of its first convolutions; the others are random, as torchvision initialises them.
    """
    torch.manual_seed(0)
    features: nn.Sequential = make_layers(cfgs[_CONFIGURATION[architecture]], batch_norm=False)
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if weights is not None:
        indices = torchvision_indices(architecture)
        with torch.no_grad():
            for name, (weight, bias) in weights.convolutions.items():
                features.get_parameter(f"{indices[name]}.weight").copy_(weight)
                features.get_parameter(f"{indices[name]}.bias").copy_(bias)
    return features


class ReportProgram:
    """The report's program, in float32.

    Args:
        features: network from `torchvision_features`.
        architecture: the network's architecture.
        content, style: mode RGB; both are resized to the content's size, or smaller.
        longest_side: maximum longer side of the painted image, in pixels.
        device: device to compute on.
    """

    def __init__(
        self,
        features: nn.Sequential,
        architecture: Architecture,
        content: Image.Image,
        style: Image.Image,
        *,
        longest_side: int = 400,
        device: str = "cpu",
    ) -> None:
        self._features = features.to(device)
        indices = torchvision_indices(architecture)
        self._compared = {indices[name] for name in _COMPARED}
        scale = min(1, longest_side / max(content.size))
        size = round(content.width * scale), round(content.height * scale)
        self._content = _normalised(content.resize(size, Image.Resampling.LANCZOS)).to(device)
        self._style = _normalised(style.resize(size, Image.Resampling.LANCZOS)).to(device)
        self.image = self._content.clone().requires_grad_(True)
        self._adam = torch.optim.Adam([self.image], lr=0.003, betas=(0.5, 0.999))

    def step(self) -> float:
        """Makes one step; returns the loss before it."""
        loss = self.loss(self.image)
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        return loss.item()

    def loss(self, image: torch.Tensor) -> torch.Tensor:
        """Returns the loss of an image (1, 3, H, W), normalised; differentiable."""
        content_loss = style_loss = torch.zeros((), device=self.image.device)
        for f, p, s in zip(
            self._layers(image), self._layers(self._content), self._layers(self._style), strict=True
        ):
            _, channels, height, width = f.shape
            content_loss = content_loss + torch.mean((f - p) ** 2)
            gram = f.view(channels, height * width).mm(f.view(channels, height * width).t())
            target = s.view(channels, height * width).mm(s.view(channels, height * width).t())
            style_loss = style_loss + torch.mean((gram - target) ** 2) / (channels * height * width)
        return content_loss + 100 * style_loss

    def _layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        captured = []
        for index, module in enumerate(self._features):
            x = module(x)
            if index in self._compared:
                captured.append(x)
        return captured


def _normalised(picture: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32)) / 255
    image = (pixels - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    return image.permute(2, 0, 1)[None].contiguous()
