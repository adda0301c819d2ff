"""How many floating-point operations an evaluation is, counted from the network's layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from impasto_server.engine.weights import CONVOLUTIONS, Architecture


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A 3 × 3 convolution of a VGG at work on an image.

    Attributes:
        name: "conv1_1", ….
        channels_in, channels_out: of its features.
        height, width: of its features, in and out.
    """

    name: str
    channels_in: int
    channels_out: int
    height: int
    width: int

    @property
    def layer(self) -> str:
        """Its features after the ReLU: "relu1_1", …."""
        return self.name.replace("conv", "relu")

    @property
    def forward_flops(self) -> int:
        """A multiplication and an addition for each weight and position. The gradient for its input takes as
        many."""
        return 2 * 9 * self.channels_in * self.channels_out * self.height * self.width

    @property
    def gram_flops(self) -> int:
        """Of the Gram matrix F Fᵀ of its features. Its gradient takes as many."""
        return 2 * self.channels_out**2 * self.height * self.width


def convolutions(architecture: Architecture, height: int, width: int, last: str) -> list[Convolution]:
    """The convolutions that an image goes through.

    Args:
        architecture: which VGG.
        height, width: of the image in pixels.
        last: the layer after which nothing is computed, "reluB_I".
    """
    result: list[Convolution] = []
    channels = 3
    for block, count in enumerate(CONVOLUTIONS[architecture], 1):
        channels_out = min(32 << block, 512)
        for position in range(1, count + 1):
            result.append(Convolution(f"conv{block}_{position}", channels, channels_out, height, width))
            channels = channels_out
            if result[-1].layer == last:
                return result
        height, width = height // 2, width // 2
    raise ValueError(f"{architecture} has no layer {last}")


def convolution_flops(network: Iterable[Convolution]) -> int:
    """Operations of the convolutions in an evaluation of the loss and its gradient for the image: forward,
    and backward for the features alone, as the weights are frozen."""
    return sum(2 * convolution.forward_flops for convolution in network)


def gram_flops(network: Iterable[Convolution], layers: Iterable[str]) -> int:
    """Operations of the Gram matrices of some layers and their gradients in an evaluation."""
    wanted = set(layers)
    return sum(2 * convolution.gram_flops for convolution in network if convolution.layer in wanted)
