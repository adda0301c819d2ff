"""One evaluation of an objective: the loss of an image and its gradient, within the available memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch

from impasto_server.engine.losses import Observation
from impasto_server.engine.network import Trunk
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
    trunk, observations = _observed(objective, image, whole(*image.shape[2:]))
    derived = _derived(objective, [observation.statistic for observation in observations], image)
    gradient = image.new_empty(image.shape).copy_(_gradient(objective, trunk, observations, derived))
    if derived.of_image is not None:
        gradient += derived.of_image
    return Evaluation(derived.losses, gradient)


def loss(objective: Objective, image: torch.Tensor) -> Losses:
    """Returns the losses of an image, without a gradient.

    Args:
        objective: an objective for images of this size.
        image: (1, 3, H, W).
    """
    with torch.no_grad():
        return objective.losses(_statistics(objective, image, whole(*image.shape[2:])), image)


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
    sums: list[torch.Tensor] = []
    if added_up:
        derived = _derived(objective, [image.new_zeros(()) for _ in objective.terms], image)
    else:
        for tile in cut:
            sums = _added(sums, _statistics(objective, _seen(image, tile), tile))
        derived = _derived(objective, sums, image)
    gradient = torch.zeros_like(image) if derived.of_image is None else derived.of_image

    for tile in cut:
        trunk, observations = _observed(objective, _seen(image, tile), tile)
        _seen(gradient, tile).add_(_gradient(objective, trunk, observations, derived))
        if added_up:
            sums = _added(sums, [observation.statistic for observation in observations])
    losses = derived.losses
    if added_up:
        with torch.no_grad():
            losses = _stacked(objective.losses(sums, image))
    return Evaluation(losses, gradient)


@dataclasses.dataclass(frozen=True)
class _Derived:
    """The losses, and their gradient for what they are computed from.

    Attributes:
        losses: as in `Evaluation`.
        of_statistics: gradient of the total loss for each term's statistic.
        of_image: gradient of the part that sees the image itself, the total variation; None without it.
    """

    losses: torch.Tensor
    of_statistics: list[torch.Tensor]
    of_image: torch.Tensor | None


def _derived(objective: Objective, statistics: Sequence[torch.Tensor], image: torch.Tensor) -> _Derived:
    """Differentiates the losses, which are small computations behind the statistics, with autograd."""
    with torch.enable_grad():
        inputs = [statistic.detach().requires_grad_(True) for statistic in statistics]
        pixels = image.detach().requires_grad_(True)
        losses = objective.losses(inputs, pixels)
        *of_statistics, of_image = torch.autograd.grad(losses.total, [*inputs, pixels], allow_unused=True)
    return _Derived(_stacked(losses), of_statistics, of_image)


def _observed(objective: Objective, seen: torch.Tensor, tile: Tile) -> tuple[Trunk, Sequence[Observation]]:
    """Returns the features that a tile sees, and what each term finds in them."""
    trunk = objective.network.trunk(seen, objective.layers)
    with torch.no_grad():
        return trunk, [term.observe(trunk.features, tile) for term in objective.terms]


def _gradient(
    objective: Objective, trunk: Trunk, observations: Sequence[Observation], derived: _Derived
) -> torch.Tensor:
    """Returns the gradient of the terms for what the network has seen, in the network's arithmetic."""

    def add(layer: str, features: torch.Tensor, gradient: torch.Tensor) -> None:
        for term, observation, of_statistic in zip(
            objective.terms, observations, derived.of_statistics, strict=True
        ):
            if layer in term.layers:
                observation.add_gradient(layer, features, of_statistic, gradient)

    return trunk.gradient(add)


def _added(sums: list[torch.Tensor], more: list[torch.Tensor]) -> list[torch.Tensor]:
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else more


def _seen(image: torch.Tensor, tile: Tile) -> torch.Tensor:
    """Returns a view of the pixels that the network sees for a tile."""
    rows, columns = tile.seen
    return image[:, :, rows, columns]


def _statistics(objective: Objective, seen: torch.Tensor, tile: Tile) -> list[torch.Tensor]:
    """Returns the terms' statistics over a tile's core."""
    features = objective.network(seen, objective.layers)
    with torch.no_grad():
        return [term.observe(features, tile).statistic for term in objective.terms]


def _stacked(losses: Losses) -> torch.Tensor:
    return torch.stack([losses.total, losses.content, losses.style, losses.tv]).detach()
