"""Pooling and ReLU masks (plain path only, until the kernels land)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def pooled(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 2)


def unpooled(gradient: torch.Tensor, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    _, indices = F.max_pool2d(x, 2, return_indices=True)
    mask_(gradient, values)
    return torch.ops.aten.max_pool2d_with_indices_backward(
        gradient, x, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
    )


def mask_(gradient: torch.Tensor, x: torch.Tensor) -> None:
    torch.ops.aten.threshold_backward.grad_input(gradient, x, 0, grad_input=gradient)
