"""A convolution with its bias and its ReLU as one kernel of cuDNN, where that proves to be right.

PyTorch has an operator for it, which is little used. It is not there on every GPU or for every shape, and it
gives cuDNN memory that was never written, to be multiplied by 0: not 0 where that memory has a NaN. So each
shape is tried once, beside the plain way.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from impasto_server.engine.devices import is_out_of_memory

_ALLOWED = {torch.bfloat16: 2.0**-7, torch.float32: 1e-5}
"""Largest difference from the plain way, as a share of the largest value: that of other roundings. TF32 would
differ by more."""

_KEPT_SHAPES = 4096

_proved: dict[tuple[object, ...], bool] = {}


def convolved(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, border: int) -> torch.Tensor:
    """Returns the ReLU of a convolution with a bias.

    Args:
        x: (1, C, H, W).
        weight: (D, C, 3, 3).
        bias: (D,).
        border: width of the zeros around `x`, 0 or 1.
    """
    if not _may_have(x):
        return _plain(x, weight, bias, border)
    shape = (x.device, x.dtype, x.shape, weight.shape, border)
    if shape not in _proved:
        return _tried(shape, x, weight, bias, border)
    return (_fused if _proved[shape] else _plain)(x, weight, bias, border)


def _may_have(x: torch.Tensor) -> bool:
    """Whether the operator may exist for a tensor."""
    return x.is_cuda and x.dtype in _ALLOWED and torch.backends.cudnn.is_available()  # type: ignore[no-untyped-call]


def _plain(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, border: int) -> torch.Tensor:
    return F.conv2d(x, weight, bias, padding=border).relu_()


def _fused(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, border: int) -> torch.Tensor:
    return torch.cudnn_convolution_relu(x, weight, bias, [1, 1], [border] * 2, [1, 1], 1)


def _tried(
    shape: tuple[object, ...], x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, border: int
) -> torch.Tensor:
    """Decides for a shape, and returns what `convolved` returns for it from then on."""
    expected = _plain(x, weight, bias, border)
    if not bool(expected.max().isfinite()):
        # A painting that has failed decides nothing for others.
        return expected
    if len(_proved) >= _KEPT_SHAPES:
        _proved.clear()
    try:
        # The allocator gives memory that was just freed to the next tensor of its size.
        torch.full_like(expected, torch.nan)
        got = _fused(x, weight, bias, border)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        _proved[shape] = False
        return expected
    difference = (got - expected).abs_().max()
    _proved[shape] = bool(difference <= _ALLOWED[x.dtype] * expected.max())
    return got if _proved[shape] else expected
