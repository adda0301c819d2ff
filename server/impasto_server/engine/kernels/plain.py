"""The kernels' work in PyTorch's own operators: on GPUs, for other types, and without a library."""

from __future__ import annotations

import torch


def pooled(x: torch.Tensor) -> torch.Tensor:
    """Does what `kernels.pooled` says."""
    # On a CPU with nothing else to do, this takes about half the time of `max_pool2d`.
    top, bottom = _rows(x)
    rows = torch.maximum(top, bottom)
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])


def unpooled(gradient: torch.Tensor, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Does what `kernels.unpooled` says."""
    # Without indices, which take 8 bytes each. On an idle CPU, this takes 0.5 to 1.5 times as long as with
    # indices; where other processes want the cores, it takes longer, because it has many operators. All in
    # place, because the first use of new memory takes long.
    to_0 = torch.ops.aten.threshold_backward
    left = to_0(gradient, values, 0)
    below = torch.empty_like(values)
    result = torch.zeros_like(x)
    parts = [
        (of_rows[..., column::2], to_rows[..., column::2])
        for of_rows, to_rows in zip(_rows(x), _rows(result), strict=True)
        for column in (0, 1)
    ]
    for of_part, to_part in parts[:-1]:
        # -1 or 0 in the type of the numbers. Nothing is below NaN: its gradient goes to the first value.
        torch.lt(of_part, values, out=below).neg_()
        to_0.grad_input(left, below, -0.5, grad_input=to_part)
        to_0.grad_input(left, below.neg_(), 0, grad_input=left)
    parts[-1][1].copy_(left)
    return result


def mask_(gradient: torch.Tensor, x: torch.Tensor) -> None:
    """Does what `kernels.mask_` says."""
    torch.ops.aten.threshold_backward.grad_input(gradient, x, 0, grad_input=gradient)


def _rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the even and the odd rows of a map, without what no block of 2 × 2 positions has."""
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    return x[:, :, 0:height:2, :width], x[:, :, 1:height:2, :width]
