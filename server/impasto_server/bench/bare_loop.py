"""The shortest loop that is quick: what the engine's own work is weighed against.

A frozen network in one arithmetic and channels last, run no further than needed, with zero padding; image
and losses in float32; targets computed once; five Gram matrices and one content layer; torch's Adam. No
checks, no scales, no margin, no progress.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from impasto_server.engine.weights import Weights

_COMPARED = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
_CONTENT = "conv4_2"


class BareLoop:
    """Style transfer and nothing else.

    Args:
        weights: of the network.
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
        """One evaluation and one move; gives the loss."""
        features = self._features(self.image)
        loss = F.mse_loss(features[_CONTENT], self._content)
        for name, gram in self._grams.items():
            loss = loss + F.mse_loss(_gram(features[name]), gram)
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        return loss.item()

    def _features(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Of the compared layers after their ReLUs, in float32."""
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
    """F Fᵀ / N of (1, C, H, W)."""
    rows = features[0].flatten(1)
    return rows @ rows.T / rows.shape[1]
