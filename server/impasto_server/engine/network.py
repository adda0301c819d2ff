"""The feature network: the convolutional part of a VGG, with its layers by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from impasto_server.engine.devices import use_exact_arithmetic
from impasto_server.engine.weights import Weights

Padding = Literal["zeros", "reflect"]

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
        # Everything that moves or casts a module's tensors calls this, after which the casts are out of date.
        self._cast.clear()
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
        """Computes features of an image.

        Args:
            image: (1, 3, H, W), RGB normalised by the ImageNet mean and standard deviation, any float type.
            layers: layers to return: "reluB_I" is after a convolution's ReLU, B the block, I the position in
                it.
            padding: what the convolutions see beyond the edge: zeros, as in the training of VGG, or the
                features reflected, which makes places at the edge look like any others.

        Returns:
            name → (1, C, H / 2**(B-1), W / 2**(B-1)), sizes rounded down, in the network's arithmetic. With
            zeros they are differentiable, once, for the image. No layer after the last of these is computed.

        Raises:
            ValueError: the network has no such layer, or "reflect" is used where a gradient is needed.
        """
        wanted = set(layers)
        relus = [_relu(name) for name in self._names]
        if unknown := wanted - set(relus):
            raise ValueError(f"this network has no layers {', '.join(sorted(unknown))}")
        names = self._names[: max((relus.index(layer) + 1 for layer in wanted), default=0)]
        x = image.to(self.dtype, memory_format=torch.channels_last)
        if torch.is_grad_enabled() and x.requires_grad:
            if padding != "zeros":
                raise ValueError("features with reflected edges have no gradient; use padding='zeros'")
            given = [relu for relu in relus if relu in wanted]
            return dict(zip(given, _Trunk.apply(x, self, names, given), strict=True))
        features = {}
        for name in names:
            if _begins_block(name):
                x = F.max_pool2d(x, 2)
            x = self._convolved(x, name, padding)
            if _relu(name) in wanted:
                features[_relu(name)] = x
        return features

    def _convolved(self, x: torch.Tensor, name: str, padding: Padding = "zeros") -> torch.Tensor:
        """Returns a convolution's output after its ReLU."""
        weight, bias = self._weight(name), self.get_buffer(f"{name}_bias")
        border = 1
        if padding == "reflect":
            # A side of one pixel has nothing to reflect.
            mode = "reflect" if min(x.shape[2:]) > 1 else "replicate"
            x, border = F.pad(x, (1, 1, 1, 1), mode=mode), 0
        if _onednn_convolves(x):
            # Fused with the ReLU, which saves one pass through memory.
            fused: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, weight, bias, [border] * 2, [1, 1], [1, 1], 1, "relu", [], ""
            )
            return fused
        return F.conv2d(x, weight, bias, padding=border).relu_()

    def _gradient_for_input(self, gradient: torch.Tensor, name: str) -> torch.Tensor:
        """Returns the gradient for a convolution's input from one for its output before the ReLU."""
        return F.conv2d(gradient, self.get_buffer(f"{name}_turned"), padding=1)


class _Trunk(torch.autograd.Function):
    """A network's features, with an explicit gradient for the image.

    Only the outputs of the ReLUs are kept, and they are freed on the way back. Gradients are summed and
    masked in place.
    """

    # Measured: this is a tenth faster than autograd for each evaluation.

    @staticmethod
    def forward(
        ctx: Any, image: torch.Tensor, network: Network, names: Sequence[str], given: Sequence[str]
    ) -> tuple[torch.Tensor, ...]:
        x = image
        relus: list[torch.Tensor] = []
        pooled: list[tuple[torch.Tensor, torch.Tensor]] = []
        for name in names:
            if _begins_block(name):
                x, indices = F.max_pool2d(x, 2, return_indices=True)
                pooled.append((x, indices))
            x = network._convolved(x, name)
            relus.append(x)
        ctx.network, ctx.names, ctx.given = network, names, given
        # Not `save_for_backward`, which would keep all of them until the end.
        ctx.relus, ctx.pooled = relus, pooled
        # Detached, so that the kept tensors do not refer back to this node: such a cycle is never freed.
        return tuple(relus[names.index(layer.replace("relu", "conv"))].detach() for layer in given)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *of_given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_layer = dict(zip(ctx.given, of_given, strict=True))
        gradient: torch.Tensor | None = None
        masked = False
        for name in reversed(ctx.names):
            own = of_layer.get(_relu(name))
            x = ctx.relus.pop()
            if gradient is None:
                assert own is not None
                gradient = torch.ops.aten.threshold_backward(own, x, 0)
            elif own is not None or not masked:
                if own is not None:
                    gradient.add_(own)
                _mask(gradient, x)
            gradient = ctx.network._gradient_for_input(gradient, name)
            if masked := _begins_block(name):
                # A pooled value is 0 only where its inputs are. Masking here takes a quarter of the work.
                values, indices = ctx.pooled.pop()
                _mask(gradient, values)
                gradient = torch.ops.aten.max_pool2d_with_indices_backward(
                    gradient, ctx.relus[-1], [2, 2], [2, 2], [0, 0], [1, 1], False, indices
                )
        return gradient, None, None, None


def _mask(gradient: torch.Tensor, x: torch.Tensor) -> None:
    """Sets a gradient to 0 where the ReLU's output is 0."""
    torch.ops.aten.threshold_backward.grad_input(gradient, x, 0, grad_input=gradient)


def _relu(convolution: str) -> str:
    return convolution.replace("conv", "relu")


def _begins_block(convolution: str) -> bool:
    """Whether a convolution's input is pooled."""
    return convolution.endswith("_1") and convolution != "conv1_1"


def _onednn_convolves(x: torch.Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype != torch.float64 and _HAS_ONEDNN
