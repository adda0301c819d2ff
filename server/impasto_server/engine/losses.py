"""The terms of the objectives, one layer each, and the mathematics that they use.

A term is evaluated in two steps: a statistic of the features, then a value of the statistic. Statistics are
sums over positions. The statistics of an image's tiles therefore add up to those of the whole image, which
makes tiling exact.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

import torch

from impasto_server.engine.roots import Normal, normal, spread_distance
from impasto_server.engine.windows import Tile, Window

_GRAM_BLOCK = 1024
"""Positions in a block of a Gram matrix in bfloat16."""

AddToGradient: TypeAlias = Callable[[str, torch.Tensor, torch.Tensor, torch.Tensor], None]
"""Adds the gradient for a layer's features to a gradient, in place; see `Observation`."""


@dataclasses.dataclass(frozen=True)
class Observation:
    """What a term has found in the features that a tile sees.

    Attributes:
        statistic: sums over the positions of the tile's core.
        add_gradient: adds to a gradient for a layer's features, in place, that of Σ (d · statistic). Takes
            the layer, its features (1, C, h, w) as they were observed, d (shaped like the statistic), and the
            gradient to add to (shaped like the features). Features and gradient are channels_last.
    """

    statistic: torch.Tensor
    add_gradient: AddToGradient


class Term(Protocol):
    """One weighted part of an objective."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose features it needs."""

    @property
    def is_sum(self) -> bool:
        """Whether its value is a constant times its statistic: its gradient then needs no sums first."""

    def observe(self, features: Mapping[str, torch.Tensor], tile: Tile) -> Observation:
        """Returns the sums over the positions of a tile's core, and how to find their gradient.

        Args:
            features: (1, C, h, w) by layer, channels_last, of everything that the tile sees.
            tile: the tile.
        """

    def value(self, statistic: torch.Tensor) -> torch.Tensor:
        """Returns the term, a scalar, from the sum of its statistics over all tiles; differentiable."""


def gram_matrix(features: torch.Tensor, window: Window | None = None) -> torch.Tensor:
    """Returns the Gram matrix G = F Fᵀ of a feature map (Gatys et al. 2016, eq. 3), not normalised.

    F is the map as a C × N matrix, N = H · W. G does not depend on the order of the positions.

    Args:
        features: (1, C, H, W). With a window, they change and are restored meanwhile.
        window: the positions to use; None for all.

    Returns:
        (C, C); float32 for features in bfloat16, otherwise in the features' type.
    """
    whole_rows, borders = _rows_of(features, window)
    with _restored(borders):
        for border in borders:
            border.zero_()
        return _product(whole_rows)


def _product(rows: torch.Tensor) -> torch.Tensor:
    """Returns Fᵀ F for F (N, C)."""
    if rows.dtype != torch.bfloat16:
        return torch.mm(rows.T, rows)
    if _multiplies_wide(rows):
        return torch.mm(rows.T, rows, out_dtype=torch.float32)
    # A bfloat16 product is rounded to 8 bits at its end. Products over blocks of positions, summed in
    # float32, are as fast and give a Gram matrix that is right to three or four digits.
    whole = len(rows) // _GRAM_BLOCK * _GRAM_BLOCK
    if not whole:
        wide_rows = rows.float()
        return wide_rows.T @ wide_rows
    blocks = rows[:whole].view(-1, _GRAM_BLOCK, rows.shape[1])
    gram = torch.bmm(blocks.transpose(1, 2), blocks).sum(0, dtype=torch.float32)
    if whole < len(rows):
        gram += torch.mm(rows[whole:].T, rows[whole:])
    return gram


def _multiplies_wide(rows: torch.Tensor) -> bool:
    """Whether bfloat16 matrices can be multiplied without rounding the result: by GPUs, from torch 2.8."""
    return rows.is_cuda and rows.dtype == torch.bfloat16 and hasattr(torch.ops.aten.mm, "dtype")


def add_gram_gradient(
    features: torch.Tensor, of_gram: torch.Tensor, gradient: torch.Tensor, window: Window | None = None
) -> None:
    """Adds the gradient of Σ (d ∘ G) for the features, (D + Dᵀ) F, to a gradient.

    Args:
        features: (1, C, H, W).
        of_gram: D, (C, C).
        gradient: the gradient to add to, shaped like the features, channels_last.
        window: the positions that are in G; None for all.
    """
    symmetric = (of_gram + of_gram.T).to(features.dtype)
    whole_rows, _ = _rows_of(features, window)
    gradient_rows, borders = _rows_of(gradient, window)
    with _restored(borders):
        gradient_rows.addmm_(whole_rows, symmetric)


def _rows_of(features: torch.Tensor, window: Window | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Returns a window's rows of positions in their full width, (N, C), and the parts of them beside it.

    A window's own positions are not contiguous in memory. A copy of them, or products of many small matrices,
    take several times as long as to work on whole rows and to correct what lies beside the window.
    """
    _, channels, height, width = features.shape
    by_position = features.permute(0, 2, 3, 1)[0]
    if window is None:
        return by_position.reshape(height * width, channels), []
    rows, columns = window
    whole = by_position[rows]
    borders = [whole[:, : columns.start], whole[:, columns.stop :]]
    # Always a view: `addmm_` must reach the memory of the gradient.
    return whole.view(len(whole) * width, channels), [border for border in borders if border.numel()]


@contextlib.contextmanager
def _restored(views: Sequence[torch.Tensor]) -> Iterator[None]:
    """Gives some views their values back after a `with` block."""
    kept = [view.clone() for view in views]
    try:
        yield
    finally:
        for view, values in zip(views, kept, strict=True):
            view.copy_(values)


def guided_gram_matrices(features: torch.Tensor, guides: torch.Tensor) -> torch.Tensor:
    """Returns the Gram matrix of each region (Gatys et al. 2017, section 4).

    It is (T_r ∘ F)(T_r ∘ F)ᵀ with T_r² = guides[r].

    Args:
        features: (1, C, H, W).
        guides: (R, H, W), in [0, 1]: the share of each position that is in each region.

    Returns:
        (R, C, C), not normalised: divide by the sum of each region's guide.
    """
    roots = guides.sqrt().to(features.dtype)
    return torch.stack([gram_matrix(features * root) for root in roots])


def moments(features: torch.Tensor, guides: torch.Tensor) -> torch.Tensor:
    """Returns the sum and the Gram matrix of each region in one tensor.

    Args:
        features: (1, C, H, W).
        guides: (R, H, W), as for `guided_gram_matrices`.

    Returns:
        (R, C + 1, C): the first row is the sum of the features, the others are their Gram matrix, both
        weighted by the guides.
    """
    rows, _ = _rows_of(features, None)
    shares = guides.flatten(1).to(features.dtype)
    if _multiplies_wide(rows):
        sums = torch.mm(shares, rows, out_dtype=torch.float32)
    else:
        sums = torch.mm(shares, rows).to(wide(features.dtype))
    return torch.cat([sums[:, None], guided_gram_matrices(features, guides)], dim=1)


def add_guided_gradient(
    features: torch.Tensor,
    guides: torch.Tensor,
    of_grams: torch.Tensor,
    of_sums: torch.Tensor | None,
    gradient: torch.Tensor,
) -> None:
    """Adds the gradient for the features of guided Gram matrices, and of guided sums, to a gradient.

    It is Σ_r T_r² ∘ ((D_r + D_rᵀ) F + d_r).

    Args:
        features: (1, C, H, W).
        guides: T_r², (R, H, W).
        of_grams: D_r, (R, C, C).
        of_sums: d_r, (R, C); None without sums.
        gradient: the gradient to add to, shaped like the features.
    """
    rows, _ = _rows_of(features, None)
    shares = guides.flatten(1).to(features.dtype)
    found = torch.zeros_like(rows) if of_sums is None else shares.T @ of_sums.to(features.dtype)
    for share, of_gram in zip(shares, of_grams, strict=True):
        found.addmm_(rows * share[:, None], (of_gram + of_gram.T).to(features.dtype))
    _, channels, height, width = features.shape
    gradient += found.view(1, height, width, channels).permute(0, 3, 1, 2)


class _Spread(torch.autograd.Function):
    """`roots.spread_distance` with the gradient that it gives."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, mean: torch.Tensor, covariance: torch.Tensor, target: Normal
    ) -> torch.Tensor:
        distance, gradient = spread_distance(mean, covariance, target)
        ctx.save_for_backward(gradient)
        return distance

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *grad_outputs: torch.Tensor
    ) -> tuple[None, torch.Tensor, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return None, grad_outputs[0] * gradient, None


def wasserstein_distance(mean: torch.Tensor, covariance: torch.Tensor, target: Normal) -> torch.Tensor:
    """Returns the squared Wasserstein-2 distance of two normal distributions (Olkin, Pukelsheim 1982).

    It is |μ − μ̂|² + tr Σ + tr Σ̂ − 2 tr (Σ̂^½ Σ Σ̂^½)^½, at least 0.

    Args:
        mean: μ, (C,).
        covariance: Σ, (C, C).
        target: μ̂ and Σ̂.
    """
    spread: torch.Tensor = _Spread.apply(mean.detach(), covariance, target)
    return (mean - target.mean).square().sum() + spread


def total_variation(image: torch.Tensor) -> torch.Tensor:
    """Returns the mean squared difference of neighbouring pixels: vertical plus horizontal.

    Args:
        image: (1, 3, H, W).

    Returns:
        Scalar.
    """
    vertical = (image[:, :, 1:] - image[:, :, :-1]).square().mean()
    horizontal = (image[:, :, :, 1:] - image[:, :, :, :-1]).square().mean()
    return vertical + horizontal


@dataclasses.dataclass(frozen=True)
class _LayerTerm:
    """A term of one layer.

    Attributes:
        layer: name of the layer.
    """

    layer: str

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    @property
    def is_sum(self) -> bool:
        return False


@dataclasses.dataclass(frozen=True)
class ContentTerm(_LayerTerm):
    """scale · Σ (F − P)².

    Attributes:
        target: P, the content image's features, (1, C, H, W), in the network's arithmetic.
        scale: factor before the sum of squares.
    """

    target: torch.Tensor
    scale: float

    @property
    def is_sum(self) -> bool:
        return True

    def observe(self, features: Mapping[str, torch.Tensor], tile: Tile) -> Observation:
        """Observes Σ (F − P)² over the tile's core, a scalar."""
        (rows, columns), among = tile.of_layer(self.layer)
        core = features[self.layer][:, :, among[0], among[1]]
        difference = core - self.target[:, :, rows, columns]

        def add_gradient(
            layer: str, of_layer: torch.Tensor, of_statistic: torch.Tensor, gradient: torch.Tensor
        ) -> None:
            _add_scaled(gradient[:, :, among[0], among[1]], difference, 2 * of_statistic)

        return Observation(_sum_of_squares(difference), add_gradient)

    def value(self, statistic: torch.Tensor) -> torch.Tensor:
        return statistic * self.scale


@dataclasses.dataclass(frozen=True)
class GramTerm(_LayerTerm):
    """Σ_r scale_r · Σ (G_r / N_r − Ĝ_r)², G_r the Gram matrix of region r and N_r its positions.

    Attributes:
        inner: the positions outside the margin.
        guides: (R, H, W): the share of each position that is in each region, 0 in the margin; None for a
            single region that covers everything.
        positions: (R,): N_r, the sums of the guides.
        targets: (R, C, C): Ĝ_r, the styles' Gram matrices divided by their numbers of positions.
        scales: (R,): factors before the sums of squares.
    """

    inner: Window
    guides: torch.Tensor | None
    positions: torch.Tensor
    targets: torch.Tensor
    scales: torch.Tensor

    def observe(self, features: Mapping[str, torch.Tensor], tile: Tile) -> Observation:
        """Observes the Gram matrix of each region over the tile's core, (R, C, C)."""
        if self.guides is None:
            return self._observe_everywhere(features[self.layer], tile)
        core, guides, of_core = _guided(features[self.layer], self.guides, self.layer, tile)

        def add_gradient(
            layer: str, of_layer: torch.Tensor, of_statistic: torch.Tensor, gradient: torch.Tensor
        ) -> None:
            add_guided_gradient(of_core(of_layer), guides, of_statistic, None, of_core(gradient))

        return Observation(guided_gram_matrices(core, guides), add_gradient)

    def _observe_everywhere(self, features: torch.Tensor, tile: Tile) -> Observation:
        window = tile.seen_window(self.layer, self.inner)

        def add_gradient(
            layer: str, of_layer: torch.Tensor, of_statistic: torch.Tensor, gradient: torch.Tensor
        ) -> None:
            add_gram_gradient(of_layer, of_statistic[0], gradient, window)

        return Observation(gram_matrix(features, window)[None], add_gradient)

    def value(self, statistic: torch.Tensor) -> torch.Tensor:
        differences = statistic / self.positions[:, None, None] - self.targets
        return differences.square().sum((1, 2)) @ self.scales


@dataclasses.dataclass(frozen=True)
class WassersteinTerm(_LayerTerm):
    """Σ_r scale_r · W₂², the squared distance between the features of region r and those of the styles.

    Attributes:
        guides: (R, H, W): the share of each position that is in each region, 0 in the margin.
        positions: (R,): the sums of the guides.
        targets: (R, C + 1, C): the first row is the mean of the styles' features, the others are their mean
            outer product.
        scales: (R,): factors before the distances.
    """

    guides: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    scales: torch.Tensor
    _normals: list[Normal] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._normals.extend(normal(target[0], covariance(target)) for target in self.targets)

    def observe(self, features: Mapping[str, torch.Tensor], tile: Tile) -> Observation:
        """Observes the `moments` of each region over the tile's core, (R, C + 1, C)."""
        core, guides, of_core = _guided(features[self.layer], self.guides, self.layer, tile)

        def add_gradient(
            layer: str, of_layer: torch.Tensor, of_statistic: torch.Tensor, gradient: torch.Tensor
        ) -> None:
            of_sums, of_grams = of_statistic[:, 0], of_statistic[:, 1:]
            add_guided_gradient(of_core(of_layer), guides, of_grams, of_sums, of_core(gradient))

        return Observation(moments(core, guides), add_gradient)

    def value(self, statistic: torch.Tensor) -> torch.Tensor:
        means = statistic / self.positions[:, None, None]
        distances = [
            wasserstein_distance(mean[0], covariance(mean), target)
            for mean, target in zip(means, self._normals, strict=True)
        ]
        return torch.stack(distances) @ self.scales


def covariance(mean_moments: torch.Tensor) -> torch.Tensor:
    """Returns the covariance (C, C) from `moments` divided by the number of positions, (C + 1, C)."""
    mean, outer = mean_moments[0], mean_moments[1:]
    return outer - torch.outer(mean, mean)


def _guided(
    features: torch.Tensor, guides: torch.Tensor, layer: str, tile: Tile
) -> tuple[torch.Tensor, torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """Returns the features and the guides of a tile's core, and a function that returns the core of a tensor
    that is shaped like the features."""
    (rows, columns), among = tile.of_layer(layer)

    def core(seen: torch.Tensor) -> torch.Tensor:
        return seen[:, :, among[0], among[1]]

    return core(features), guides[:, rows, columns], core


def _sum_of_squares(values: torch.Tensor) -> torch.Tensor:
    length: torch.Tensor = torch.linalg.vector_norm(values, dtype=wide(values.dtype))
    return length.square()


def _add_scaled(gradient: torch.Tensor, values: torch.Tensor, factor: torch.Tensor) -> None:
    """Adds values, times a scalar, to a gradient in place. The factor is not rounded to their type."""
    if factor.device.type == "cpu":
        gradient.add_(values, alpha=float(factor))
    else:
        # Without waiting for the device, which reading the factor would do.
        gradient.add_(values * factor.view(1, 1, 1, 1))


def wide(dtype: torch.dtype) -> torch.dtype:
    """Returns the type in which to sum values of a type: float32 for bfloat16, otherwise the type itself."""
    return torch.float32 if dtype == torch.bfloat16 else dtype
