"""An independent, literal transcription of the report's program."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)


def vgg19_features() -> nn.Sequential:
    """torchvision's VGG-19 `features`, with in-place ReLUs and random weights."""
    torch.manual_seed(7)
    features = make_layers(cfgs["E"], batch_norm=False)
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.normal_(module.bias, std=0.1)
    return features


class ReportProgram:
    """The report, line by line, in float64."""

    def __init__(self, features: nn.Sequential, content: Image.Image, style: Image.Image) -> None:
        self.features = features.double()
        scale = min(1, 400 / max(content.size))
        size = round(content.width * scale), round(content.height * scale)
        self.content = self.load(content.resize(size, Image.Resampling.LANCZOS))
        self.style = self.load(style.resize(size, Image.Resampling.LANCZOS))
        self.x = self.content.clone().requires_grad_(True)
        self.adam = torch.optim.Adam([self.x], lr=0.003, betas=(0.5, 0.999))

    def load(self, image: Image.Image) -> torch.Tensor:
        pixels = torch.from_numpy(np.asarray(image).copy()).double() / 255
        return (pixels.permute(2, 0, 1)[None] - MEAN) / STD

    def layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        captured = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in (0, 5, 10, 19, 28):
                captured.append(x)
        return captured

    def loss(self) -> torch.Tensor:
        content_loss = style_loss = torch.zeros((), dtype=torch.float64)
        for f, p, s in zip(
            self.layers(self.x), self.layers(self.content), self.layers(self.style), strict=True
        ):
            content_loss = content_loss + torch.mean((f - p) ** 2)
            _, c, h, w = f.shape
            g = f.view(c, h * w).mm(f.view(c, h * w).t())
            a = s.view(c, h * w).mm(s.view(c, h * w).t())
            style_loss = style_loss + torch.mean((g - a) ** 2) / (c * h * w)
        return content_loss + 100 * style_loss

    def step(self) -> float:
        loss = self.loss()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return loss.item()

    def show(self) -> Image.Image:
        pixels = (self.x.detach() * STD + MEAN).clamp(0, 1)[0].permute(1, 2, 0)
        return Image.fromarray((pixels * 255).round().to(torch.uint8).numpy())
