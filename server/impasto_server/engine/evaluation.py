"""One evaluation of an objective: the loss of an image and its gradient, within the available memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch

from impasto_server.engine.objectives.objective import Losses, Objective
from impasto_server.engine.windows import Tile, overlap, tiles, whole

Method = Literal["plain", "tiled"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The losses of an image and their gradient.

    Attributes:
        losses: total, content, style and total variation, (4,), on the device.
        gradient: gradient of the total loss, shaped like the image.
    """

    losses: torch.Tensor
    gradient: torch.Tensor


def evaluate(
    objective: Objective, image: torch.Tensor, method: Method = "plain", tile_side: int | None = None
) -> Evaluation:
    """Evaluates an objective.

    Args:
        objective: an objective for images of this size.
        image: (1, 3, H, W).
        method: "plain" evaluates the image at once; "tiled" does it tile by tile, in two passes if a term
            needs the sums over all tiles first. The results differ only by rounding.
        tile_side: side of a tile in pixels, a multiple of 16; for "tiled" only.
    """
    if method == "tiled":
        assert tile_side is not None
        return _tiled(objective, image, tile_side)
    image = image.detach().requires_grad_(True)
    losses = loss(objective, image)
    (gradient,) = torch.autograd.grad(losses.total, image)
    return Evaluation(_stacked(losses), gradient)


def loss(objective: Objective, image: torch.Tensor) -> Losses:
    """Returns the losses of an image, differentiable.

    Args:
        objective: an objective for images of this size.
        image: (1, 3, H, W).
    """
    statistics = _statistics(objective, image, whole(*image.shape[2:]))
    return objective.losses(statistics, image)


def _tiled(objective: Objective, image: torch.Tensor, tile_side: int) -> Evaluation:
    """Computes the exact gradient in two passes (Galerne et al. 2024), or in one if every term is a sum.

    The loss depends on the tiles only through the sums of their statistics. The first pass computes the sums.
    This gives the gradient of the loss with respect to the sums, which the second pass propagates back to the
    pixels of each tile.
    """
    height, width = image.shape[2:]
    margin = overlap(objective.network.architecture, objective.layers)
    cut = list(tiles(height, width, tile_side, margin))

    # The gradient of a sum does not depend on the sum's value, so no first pass is needed.
    added_up = all(term.is_sum for term in objective.terms)
    sums = [] if added_up else _sums(objective, image, cut)
    zero = image.new_zeros(())
    inputs = [zero.clone() for _ in objective.terms] if added_up else sums
    inputs = [statistic.requires_grad_(True) for statistic in inputs]
    pixels = image.detach().requires_grad_(True)
    losses = objective.losses(inputs, pixels)
    # The total variation is the only term that sees the image itself.
    of_sums = torch.autograd.grad(losses.total, inputs, retain_graph=True)
    (of_image,) = torch.autograd.grad(losses.total, pixels, allow_unused=True)
    gradient = torch.zeros_like(image) if of_image is None else of_image

    for tile in cut:
        seen = _seen(image, tile).detach().requires_grad_(True)
        statistics = _statistics(objective, seen, tile)
        (share,) = torch.autograd.grad(statistics, seen, of_sums)
        _seen(gradient, tile).add_(share)
        if added_up:
            sums = _added(sums, [statistic.detach() for statistic in statistics])
    if added_up:
        losses = objective.losses(sums, image)
    return Evaluation(_stacked(losses), gradient)


def _sums(objective: Objective, image: torch.Tensor, cut: Sequence[Tile]) -> list[torch.Tensor]:
    """Returns the terms' statistics of an image, summed over its tiles."""
    sums: list[torch.Tensor] = []
    with torch.no_grad():
        for tile in cut:
            sums = _added(sums, _statistics(objective, _seen(image, tile), tile))
    return sums


def _added(sums: list[torch.Tensor], more: list[torch.Tensor]) -> list[torch.Tensor]:
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else more


def _seen(image: torch.Tensor, tile: Tile) -> torch.Tensor:
    """Returns a view of the pixels that the network sees for a tile."""
    rows, columns = tile.seen
    return image[:, :, rows, columns]


def _statistics(objective: Objective, seen: torch.Tensor, tile: Tile) -> list[torch.Tensor]:
    """Returns the terms' statistics over a tile's core."""
    features = objective.network(seen, objective.layers)
    return [term.statistic(features, tile) for term in objective.terms]


def _stacked(losses: Losses) -> torch.Tensor:
    return torch.stack([losses.total, losses.content, losses.style, losses.tv]).detach()
