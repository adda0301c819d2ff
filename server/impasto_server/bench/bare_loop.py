"""A short but fast loop of style transfer, with which the engine's overhead is measured.

It has a frozen channels-last network in one arithmetic, run only as far as needed, with zero padding; image
and losses in float32; targets computed once; five Gram matrices and one content layer; torch's Adam. It has
no checks, scales, margin or progress.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from impasto_server.engine.weights import Weights

_COMPARED = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
_CONTENT = "conv4_2"


class BareLoop:
    """Style transfer without anything around it.

    Args:
        weights: weights of the network.
        content, style: (1, 3, H, W), normalised, float32, on the device to use.
        dtype: the network's arithmetic.
    """

    def __init__(
        self, weights: Weights, content: torch.Tensor, style: torch.Tensor, dtype: torch.dtype
    ) -> None:
        self._convolutions = [
            (
                name,
                weight.to(content.device, dtype).contiguous(memory_format=torch.channels_last),
                bias.to(content.device, dtype),
            )
            for name, (weight, bias) in weights.convolutions.items()
        ]
        self._dtype = dtype
        with torch.no_grad():
            self._content = self._features(content)[_CONTENT]
            self._grams = {name: _gram(f) for name, f in self._features(style).items() if name != _CONTENT}
        self.image = content.clone().requires_grad_(True)
        self._adam = torch.optim.Adam([self.image], lr=0.05)

    def step(self) -> float:
        """Makes one evaluation and one move; returns the loss."""
        features = self._features(self.image)
        loss = F.mse_loss(features[_CONTENT], self._content)
        for name, gram in self._grams.items():
            loss = loss + F.mse_loss(_gram(features[name]), gram)
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        return loss.item()

    def _features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns the features of the compared layers after their ReLUs, in float32."""
        compared = {}
        x = image.to(self._dtype, memory_format=torch.channels_last)
        block = "1"
        for name, weight, bias in self._convolutions:
            if name[4] != block:
                block = name[4]
                x = F.max_pool2d(x, 2)
            x = F.relu_(F.conv2d(x, weight, bias, padding=1))
            if name in _COMPARED or name == _CONTENT:
                compared[name] = x.float()
        return compared


def _gram(features: torch.Tensor) -> torch.Tensor:
    """Returns F Fᵀ / N for features (1, C, H, W), N = H · W."""
    rows = features[0].flatten(1)
    return rows @ rows.T / rows.shape[1]
