"""What an evaluation does between its convolutions: pooling, ReLU masks, and places.

Each function is one pass through memory in C (kernels.c), if the library was compiled when the package was
installed, on the CPU, for bfloat16 and float32, and for maps (1, C, H, W) in channels_last memory. Otherwise
PyTorch's operators do the same: with the same bits, but for places. Nothing here records gradients.
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


def takes_places(x: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether `place_sums` and `add_place_gradient_` can be called for these; they have no plain path.

    Args:
        x: features.
        target: what they are compared with.
    """
    return _library is not None and _library.takes(x) and target.dtype == x.dtype and target.stride(1) == 1


@torch.no_grad()
def place_sums(
    x: torch.Tensor, target: torch.Tensor, window: tuple[slice, slice], side: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns Σ_c s·t and Σ_c s² over the channels c at each place of a window, which sees s of `x`.

    Args:
        x: features, (1, C, h, w).
        target: t, (1, C, rows, columns), of the window.
        window: rows and columns of places.
        side: a place sees the mean of side × side positions; with 0, the features enlarged to twice their
            size, bilinear (align_corners=False).

    Returns:
        Both (1, 1, rows, columns), summed in float32.

    Raises:
        ValueError: the features have no such window, or the target has another size.
    """
    assert _library is not None
    return _library.place_sums(x, target, window, side)


@torch.no_grad()
def add_place_gradient_(
    gradient: torch.Tensor,
    x: torch.Tensor,
    target: torch.Tensor,
    of_target: torch.Tensor,
    of_seen: torch.Tensor,
    window: tuple[slice, slice],
    side: int,
) -> None:
    """Adds the gradient for features, given a·t + b·s, the one for what the places of a window see of them.

    Args:
        gradient: (1, C, h, w), of the features' layout.
        x, target, window, side: as for `place_sums`.
        of_target, of_seen: a and b, (1, 1, rows, columns).

    Raises:
        ValueError: as for `place_sums`, or the gradient has another shape, type or layout than the features.
    """
    assert _library is not None
    if not _library.takes(x, gradient) or gradient.shape != x.shape:
        raise ValueError(f"a gradient of {tuple(gradient.shape)} for features of {tuple(x.shape)}")
    _library.add_place_gradient_(gradient, x, target, of_target, of_seen, window, side)
