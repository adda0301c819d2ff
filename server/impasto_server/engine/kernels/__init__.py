"""What an evaluation does between its convolutions: pooling, ReLU masks, and sums of gradients.

Each function is one pass through memory in C (kernels.c), if the library was compiled when the package was
installed, on the CPU, for bfloat16 and float32, and for maps (1, C, H, W) in channels_last memory. Otherwise
PyTorch's operators do the same, with the same bits. Nothing here records gradients.
"""

from __future__ import annotations

import os

import torch

from impasto_server.engine.kernels import plain
from impasto_server.engine.kernels.library import Library, LibraryError

_library: Library | None = None
_why_not = ""
try:
    if os.environ.get("IMPASTO_KERNELS") == "0":
        raise LibraryError("IMPASTO_KERNELS is 0")
    _library = Library()
except LibraryError as error:
    _why_not = str(error)


def loaded() -> bool:
    """Whether the compiled kernels are used on the CPU."""
    return _library is not None


def description() -> str:
    """Returns what is used on the CPU, and why, in a few words for the administrator."""
    return "compiled" if loaded() else f"PyTorch's operators ({_why_not})"


@torch.no_grad()
def pooled(x: torch.Tensor) -> torch.Tensor:
    """Returns the largest value of each block of 2 × 2 positions.

    Args:
        x: (1, C, H, W), after a ReLU: ≥ 0, or NaN, which counts as the largest.

    Returns:
        (1, C, H // 2, W // 2). A last row or column of an odd number is left out.
    """
    if _library is not None and _library.takes(x):
        return _library.pooled(x)
    return plain.pooled(x)


@torch.no_grad()
def unpooled(gradient: torch.Tensor, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Returns the gradient for what came into the ReLU before a pooling.

    It goes to the first of the largest values of each block, as with `torch.nn.functional.max_pool2d`, and
    nowhere if the largest is 0. (In a block with NaN, it goes to the first value.)

    Args:
        gradient: the gradient for `values`, of their shape.
        x: (1, C, H, W), after a ReLU.
        values: `pooled(x)`.

    Returns:
        (1, C, H, W).
    """
    if (
        _library is not None
        and _library.takes(x, gradient, values)
        and gradient.shape == values.shape == (1, x.shape[1], x.shape[2] // 2, x.shape[3] // 2)
    ):
        return _library.unpooled(gradient, x, values)
    return plain.unpooled(gradient, x, values)


@torch.no_grad()
def mask_(gradient: torch.Tensor, x: torch.Tensor) -> None:
    """Sets a gradient to 0 where `x` is ≤ 0: a ReLU's gradient from its input or output `x`, of its shape."""
    if _library is not None and _library.takes(gradient, x) and gradient.shape == x.shape:
        _library.mask_(gradient, x)
    else:
        plain.mask_(gradient, x)


@torch.no_grad()
def add_masked_(gradient: torch.Tensor, own: torch.Tensor, x: torch.Tensor) -> None:
    """Adds `own` to a gradient, then does `mask_`. All three have one shape."""
    if _library is not None and _library.takes(gradient, own, x) and gradient.shape == own.shape == x.shape:
        _library.add_masked_(gradient, own, x)
    else:
        plain.add_masked_(gradient, own, x)
