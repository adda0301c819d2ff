"""One evaluation of an objective: the loss of an image and its gradient, within the memory there is."""

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
    """Where an objective stands at an image.

    Attributes:
        losses: total, content, style and total variation: (4,), on the device.
        gradient: of the total, shaped like the image.
    """

    losses: torch.Tensor
    gradient: torch.Tensor


def evaluate(
    objective: Objective, image: torch.Tensor, method: Method = "plain", tile_side: int | None = None
) -> Evaluation:
    """Evaluates an objective.

    Args:
        objective: for images of this size.
        image: (1, 3, H, W).
        method: "plain" sees the image at once; "tiled" sees it tile by tile, twice if a term needs the sums
            over all tiles first. Both give the same but for rounding.
        tile_side: of a tile in pixels, a multiple of 16; with "tiled" only.
    """
    if method == "tiled":
        assert tile_side is not None
        return _tiled(objective, image, tile_side)
    image = image.detach().requires_grad_(True)
    losses = loss(objective, image)
    (gradient,) = torch.autograd.grad(losses.total, image)
    return Evaluation(_stacked(losses), gradient)


def loss(objective: Objective, image: torch.Tensor) -> Losses:
    """The loss of an image, differentiable.

    Args:
        objective: for images of this size.
        image: (1, 3, H, W).
    """
    statistics = _statistics(objective, image, whole(*image.shape[2:]))
    return objective.losses(statistics, image)


def _tiled(objective: Objective, image: torch.Tensor, tile_side: int) -> Evaluation:
    """The exact gradient, in two passes (Galerne et al. 2024) or, where every term is a sum, in one.

    The loss depends on the tiles only through the sums of their statistics. The first pass adds these up;
    the gradient of the loss for the sums is then known, and the second pass takes each tile's share of it
    back to the pixels.
    """
    height, width = image.shape[2:]
    margin = overlap(objective.network.architecture, objective.layers)
    cut = list(tiles(height, width, tile_side, margin))

    # What only adds up has the same gradient whatever the sums are.
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
    """The terms' statistics of an image, added up over its tiles."""
    sums: list[torch.Tensor] = []
    with torch.no_grad():
        for tile in cut:
            sums = _added(sums, _statistics(objective, _seen(image, tile), tile))
    return sums


def _added(sums: list[torch.Tensor], more: list[torch.Tensor]) -> list[torch.Tensor]:
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else more


def _seen(image: torch.Tensor, tile: Tile) -> torch.Tensor:
    """A view of what the network is given for a tile."""
    rows, columns = tile.seen
    return image[:, :, rows, columns]


def _statistics(objective: Objective, seen: torch.Tensor, tile: Tile) -> list[torch.Tensor]:
    """The terms' statistics over a tile's core."""
    features = objective.network(seen, objective.layers)
    return [term.statistic(features, tile) for term in objective.terms]


def _stacked(losses: Losses) -> torch.Tensor:
    return torch.stack([losses.total, losses.content, losses.style, losses.tv]).detach()
