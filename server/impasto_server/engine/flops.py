"""Counts the floating-point operations of an evaluation from the network's layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from impasto_server.engine.weights import CONVOLUTIONS, Architecture


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A 3 × 3 convolution of a VGG for an image of one size.

    Attributes:
        name: "conv1_1", ….
        channels_in, channels_out: channels of its input and of its output.
        height, width: size of its input and of its output.
    """

    name: str
    channels_in: int
    channels_out: int
    height: int
    width: int

    @property
    def layer(self) -> str:
        """Name of its layer after the ReLU: "relu1_1", …."""
        return self.name.replace("conv", "relu")

    @property
    def forward_flops(self) -> int:
        """Operations: a multiplication and an addition for each weight and position. The gradient for its
        input takes as many."""
        return 2 * 9 * self.channels_in * self.channels_out * self.height * self.width

    @property
    def gram_flops(self) -> int:
        """Operations of the Gram matrix F Fᵀ of its features. The matrix's gradient takes as many."""
        return 2 * self.channels_out**2 * self.height * self.width


def convolutions(architecture: Architecture, height: int, width: int, last: str) -> list[Convolution]:
    """Returns the convolutions for an image.

    Args:
        architecture: the VGG.
        height, width: size of the image in pixels.
        last: the last layer that is computed, "reluB_I".

    Raises:
        ValueError: the architecture has no such layer.
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
    """Returns the operations of the convolutions in an evaluation of the loss and its gradient for the image.

    They are computed forward, and backward for the features only, because the weights are frozen.
    """
    return sum(2 * convolution.forward_flops for convolution in network)


def gram_flops(network: Iterable[Convolution], layers: Iterable[str]) -> int:
    """Returns the operations of some layers' Gram matrices and their gradients in an evaluation."""
    wanted = set(layers)
    return sum(2 * convolution.gram_flops for convolution in network if convolution.layer in wanted)
