"""The feature network: the convolutional part of a VGG, with its layers by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from impasto_server.engine import kernels
from impasto_server.engine.devices import use_exact_arithmetic
from impasto_server.engine.weights import Weights

Padding = Literal["zeros", "reflect"]

AddGradient: TypeAlias = Callable[[str, torch.Tensor, torch.Tensor], object]
"""Adds the gradient of a loss for a layer's features to a gradient, in place: takes the layer's name, its
features (1, C, h, w), and the gradient to add to, which is shaped like them. Both are channels_last."""

# Mean and standard deviation of ImageNet's RGB in [0, 1], with which torchvision's networks were trained.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class Network(nn.Module):
    """A frozen VGG whose layers have the names of the papers: relu1_1, relu1_2, relu2_1, …

    It starts in float32; `.double()` and `.to(device)` work as on any module.

    Attributes:
        architecture, weights_name, origin, sha256: the fields of its `Weights`.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        use_exact_arithmetic()
        self.architecture = weights.architecture
        self.weights_name = weights.name
        self.origin = weights.origin
        self.sha256 = weights.sha256
        self._names = list(weights.convolutions)
        for name, (weight, bias) in weights.convolutions.items():
            # The layout in which oneDNN and cuDNN run these convolutions; with another, each call converts.
            self.register_buffer(f"{name}_weight", weight.contiguous(memory_format=torch.channels_last))
            self.register_buffer(f"{name}_bias", bias)
            # The gradient for a convolution's input is a convolution with the kernel rotated by 180°.
            turned = weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
            self.register_buffer(f"{name}_turned", turned)
        self._cast: dict[torch.dtype, Network] = {}
        # Weights in oneDNN's own layout, by the buffer's name. Otherwise each call would convert them.
        self._packed = _Packed()

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights and of the features."""
        return self._weight(self._names[0]).dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self._weight(self._names[0]).device

    def channels(self, layer: str) -> int:
        """Returns the number of channels of a layer."""
        return self._weight(layer.replace("relu", "conv")).shape[0]

    def _weight(self, name: str) -> torch.Tensor:
        return self.get_buffer(f"{name}_weight")

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Network:
        # Everything that moves or casts a module's tensors calls this, after which these are out of date.
        self._cast.clear()
        self._packed.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def in_dtype(self, dtype: torch.dtype) -> Network:
        """Returns this network in another arithmetic; it is kept until this one is moved or cast."""
        if dtype == self.dtype:
            return self
        cast = self._cast.get(dtype)
        # The cast itself may have been moved or cast since.
        if cast is None or (cast.dtype, cast.device) != (dtype, self.device):
            # Without the other casts, which the copy must not contain.
            others, self._cast = self._cast, {}
            cast = copy.deepcopy(self).to(dtype)
            self._cast = {**others, dtype: cast}
        return cast

    def forward(
        self, image: torch.Tensor, layers: Iterable[str], *, padding: Padding = "zeros"
    ) -> dict[str, torch.Tensor]:
        """Computes features of an image, without a gradient; see `trunk` for one.

        Args:
            image: (1, 3, H, W), RGB normalised by the ImageNet mean and standard deviation, any float type.
            layers: layers to return: "reluB_I" is after a convolution's ReLU, B the block, I the position in
                it.
            padding: what the convolutions see beyond the edge: zeros, as in the training of VGG, or the
                features reflected, which makes places at the edge look like any others.

        Returns:
            name → (1, C, H / 2**(B-1), W / 2**(B-1)), sizes rounded down, in the network's arithmetic and
            channels_last. No layer after the last of these is computed.

        Raises:
            ValueError: the network has no such layer.
        """
        wanted = set(layers)
        features = {}
        with torch.no_grad():
            x = self._normalised(image)
            for name in self._needed(wanted):
                if _begins_block(name):
                    x = kernels.pooled(x)
                x = self._convolved(x, name, padding)
                if _relu(name) in wanted:
                    features[_relu(name)] = x
        return features

    def trunk(self, image: torch.Tensor, layers: Iterable[str]) -> Trunk:
        """Computes features of an image as `forward` does, and keeps what their gradient needs.

        Args:
            image: (1, 3, H, W), as for `forward`.
            layers: at least one layer.

        Raises:
            ValueError: the network has no such layer.
        """
        wanted = set(layers)
        names = self._needed(wanted)
        relus: list[torch.Tensor] = []
        pooled: list[torch.Tensor] = []
        with torch.no_grad():
            x = self._normalised(image)
            for name in names:
                if _begins_block(name):
                    x = kernels.pooled(x)
                    pooled.append(x)
                x = self._convolved(x, name)
                relus.append(x)
        return Trunk(self, names, wanted, relus, pooled)

    def _needed(self, layers: set[str]) -> list[str]:
        """Returns the convolutions that these layers need, in order."""
        relus = [_relu(name) for name in self._names]
        if unknown := layers - set(relus):
            raise ValueError(f"this network has no layers {', '.join(sorted(unknown))}")
        return self._names[: max((relus.index(layer) + 1 for layer in layers), default=0)]

    def _normalised(self, image: torch.Tensor) -> torch.Tensor:
        """Returns an image in the arithmetic and layout of the convolutions."""
        return image.detach().to(self.dtype, memory_format=torch.channels_last)

    def _convolved(self, x: torch.Tensor, name: str, padding: Padding = "zeros") -> torch.Tensor:
        """Returns a convolution's output after its ReLU."""
        bias = self.get_buffer(f"{name}_bias")
        border = 1
        if padding == "reflect":
            # A side of one pixel has nothing to reflect.
            mode = "reflect" if min(x.shape[2:]) > 1 else "replicate"
            x, border = F.pad(x, (1, 1, 1, 1), mode=mode), 0
        if _onednn_convolves(x):
            # Fused with the ReLU, which saves one pass through memory.
            return self._by_onednn(x, f"{name}_weight", bias, border, "relu")
        return _channels_last(F.conv2d(x, self._weight(name), bias, padding=border).relu_())

    def _gradient_for_input(self, gradient: torch.Tensor, name: str) -> torch.Tensor:
        """Returns the gradient for a convolution's input from one for its output before the ReLU."""
        if _onednn_convolves(gradient):
            return self._by_onednn(gradient, f"{name}_turned", None, 1, "none")
        return _channels_last(F.conv2d(gradient, self.get_buffer(f"{name}_turned"), padding=1))

    def _by_onednn(
        self, x: torch.Tensor, weight: str, bias: torch.Tensor | None, border: int, then: str
    ) -> torch.Tensor:
        packed = self._packed.get(weight)
        if packed is None:
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.get_buffer(weight), [border] * 2, [1, 1], [1, 1], 1, list(x.shape)
            )
            self._packed[weight] = packed
        convolved: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, packed, bias, [border] * 2, [1, 1], [1, 1], 1, then, [], ""
        )
        return convolved


class Trunk:
    """An image's features, from which the gradient of a loss for the image can be found, once.

    It replaces torch's autograd: only the outputs of the ReLUs are kept, gradients are summed and masked in
    place, and each tensor is freed as soon as it is no longer needed.

    Attributes:
        features: the features by layer, as from `Network.forward`.
    """

    # Measured: this is a tenth faster than autograd for each evaluation.

    def __init__(
        self,
        network: Network,
        names: Sequence[str],
        layers: set[str],
        relus: list[torch.Tensor],
        pooled: list[torch.Tensor],
    ) -> None:
        """
        Args:
            network: the network.
            names: the convolutions that were computed.
            layers: the layers whose features are returned.
            relus: the output of each convolution's ReLU.
            pooled: the output of each pooling.
        """
        self._network, self._names, self._layers = network, names, layers
        self._relus, self._pooled = relus, pooled
        found = {_relu(name): x for name, x in zip(names, relus, strict=True)}
        self.features = {layer: x for layer, x in found.items() if layer in layers}

    @torch.no_grad()
    def gradient(self, add: AddGradient) -> torch.Tensor:
        """Returns the gradient of a loss for the image, (1, 3, H, W), in the network's arithmetic.

        Args:
            add: adds the gradient for the features of one of the layers; called once for each, the deepest
                first.
        """
        gradient: torch.Tensor | None = None
        masked = False
        for name in reversed(self._names):
            x = self._relus.pop()
            if gradient is None:
                gradient = torch.zeros_like(x)
            if _relu(name) in self._layers:
                add(_relu(name), self.features.pop(_relu(name)), gradient)
                masked = False
            if not masked:
                kernels.mask_(gradient, x)
            gradient = self._network._gradient_for_input(gradient, name)
            if masked := _begins_block(name):
                gradient = kernels.unpooled(gradient, self._relus[-1], self._pooled.pop())
        assert gradient is not None
        return gradient


class _Packed(dict[str, torch.Tensor]):
    """Weights in oneDNN's own layout. Such tensors cannot be copied, so a copied network makes its own."""

    def __reduce__(self) -> tuple[type[_Packed], tuple[()]]:
        return _Packed, ()


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    """Returns a tensor in the layout that everything here relies on; a copy if a convolution gave another."""
    return x.contiguous(memory_format=torch.channels_last)


def _relu(convolution: str) -> str:
    return convolution.replace("conv", "relu")


def _begins_block(convolution: str) -> bool:
    """Whether a convolution's input is pooled."""
    return convolution.endswith("_1") and convolution != "conv1_1"


def _onednn_convolves(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype != torch.float64 and _HAS_ONEDNN
