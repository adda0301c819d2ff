"""The feature network: the convolutional part of a VGG, with its layers by name."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import nn

from impasto_server.engine.weights import Weights

Padding = Literal["zeros", "reflect"]

# Mean and standard deviation of ImageNet's RGB in [0, 1]: what torchvision's networks were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Network(nn.Module):
    """A frozen VGG whose layers are named as in the papers: relu1_1, relu1_2, relu2_1, …

    Made in float32; `.double()` and `.to(device)` work as on any module.

    Attributes:
        architecture, weights_name, origin, sha256: of its weights, as in `Weights`.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.architecture = weights.architecture
        self.weights_name = weights.name
        self.origin = weights.origin
        self.sha256 = weights.sha256
        self._names = list(weights.convolutions)
        for name, (weight, bias) in weights.convolutions.items():
            # The layout that oneDNN and cuDNN run these convolutions in: otherwise every call converts.
            self.register_buffer(f"{name}_weight", weight.contiguous(memory_format=torch.channels_last))
            self.register_buffer(f"{name}_bias", bias)
        self._cast: dict[torch.dtype, Network] = {}

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights and the features."""
        return self._weight(self._names[0]).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._weight(self._names[0]).device

    def _weight(self, name: str) -> torch.Tensor:
        return self.get_buffer(f"{name}_weight")

    def in_dtype(self, dtype: torch.dtype) -> Network:
        """This network in another arithmetic; made once and kept."""
        if dtype == self.dtype:
            return self
        if dtype not in self._cast:
            # Other casts are not a part of this one.
            others, self._cast = self._cast, {}
            cast = copy.deepcopy(self).to(dtype)
            self._cast = {**others, dtype: cast}
        return self._cast[dtype]

    def forward(
        self,
        image: torch.Tensor,
        layers: Iterable[str],
        *,
        padding: Padding = "zeros",
        recompute: bool = False,
    ) -> dict[str, torch.Tensor]:
        """Features of an image.

        Args:
            image: (1, 3, H, W), RGB normalised by the ImageNet mean and standard deviation, any float type.
            layers: which to give: "reluB_I" (after a convolution's ReLU), B the block, I the position in it.
            padding: what the convolutions see beyond the edge: zeros, as VGG was trained, or the features
                reflected, which changes the statistics of a whole image less.
            recompute: keep only the wanted features of the first two blocks, where most of the memory goes,
                and compute the others again for the gradient.

        Returns:
            name → (1, C, H / 2**(B-1), W / 2**(B-1)), sizes rounded down, in the network's arithmetic.
            Nothing past the last of them is computed.

        Raises:
            ValueError: a layer that this network does not have.
        """
        wanted = set(layers)
        if unknown := wanted - {name.replace("conv", "relu") for name in self._names}:
            raise ValueError(f"no such layers: {', '.join(sorted(unknown))}")
        features: dict[str, torch.Tensor] = {}
        x = image.to(self.dtype, memory_format=torch.channels_last)
        for block in range(1, int(self._names[-1][4]) + 1):
            names = [name for name in self._names if int(name[4]) == block]
            run = functools.partial(
                self._block, names=names, wanted=wanted - features.keys(), padding=padding
            )
            if recompute and block <= 2:
                x, of_block = torch.utils.checkpoint.checkpoint(run, x, use_reentrant=False)
            else:
                x, of_block = run(x)
            features |= of_block
            if len(features) == len(wanted):
                break
        return features

    def _block(
        self, x: torch.Tensor, *, names: list[str], wanted: set[str], padding: Padding
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """One block: its output, pooled if any layer is wanted beyond it, and its wanted features."""
        features: dict[str, torch.Tensor] = {}
        for name in names:
            weight, bias = self._weight(name), self.get_buffer(f"{name}_bias")
            if padding == "reflect":
                # A side of one pixel has nothing to reflect.
                mode = "reflect" if min(x.shape[2:]) > 1 else "replicate"
                x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode=mode), weight, bias)
            else:
                x = F.conv2d(x, weight, bias, padding=1)
            # In place: the convolution's own output is needed by no one, neither here nor for its gradient.
            x = F.relu_(x)
            relu = name.replace("conv", "relu")
            if relu in wanted:
                features[relu] = x
                if len(features) == len(wanted):
                    return x, features
        return F.max_pool2d(x, 2), features
