"""The terms of the objectives, one layer each, and the mathematics that they use.

A term is evaluated in two steps: a statistic of the features, then a value of the statistic. Statistics are
sums over positions. The statistics of an image's tiles therefore add up to those of the whole image, which
makes tiling exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import torch

from impasto_server.engine.windows import Tile, Window, among

_GRAM_BLOCK = 1024


class Term(Protocol):
    """One weighted part of an objective."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose features it needs."""

    @property
    def is_sum(self) -> bool:
        """Whether its value is a constant times its statistic: its gradient then needs no sums first."""

    def statistic(self, features: Mapping[str, torch.Tensor], tile: Tile) -> torch.Tensor:
        """Returns sums over the positions of a tile's core.

        Args:
            features: (1, C, h, w) by layer, of everything that the tile sees.
            tile: the tile.
        """

    def value(self, statistic: torch.Tensor) -> torch.Tensor:
        """Returns the term, a scalar, from the sum of its statistics over all tiles."""


class _Gram(torch.autograd.Function):
    """F Fᵀ with an explicit gradient: one matrix product forward and one backward."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, features: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(features)
        rows = _rows(features)
        if features.dtype != torch.bfloat16:
            return torch.mm(rows.T, rows)
        # A bfloat16 product is rounded to 8 bits at its end. Products over blocks of positions, summed in
        # float32, are still fast and give a Gram matrix that is right to three or four digits.
        whole = len(rows) // _GRAM_BLOCK * _GRAM_BLOCK
        rest = rows[whole:].float()
        gram = rest.T @ rest
        if whole:
            blocks = rows[:whole].view(-1, _GRAM_BLOCK, rows.shape[1])
            gram += torch.bmm(blocks.transpose(1, 2), blocks).sum(0, dtype=torch.float32)
        return gram

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad_outputs: torch.Tensor) -> torch.Tensor:
        (features,) = ctx.saved_tensors  # type: ignore[attr-defined]
        _, channels, height, width = features.shape
        symmetric = (grad_outputs[0] + grad_outputs[0].T).to(features.dtype)
        gradient = torch.mm(_rows(features), symmetric)
        return gradient.view(1, height, width, channels).permute(0, 3, 1, 2)


def gram_matrix(features: torch.Tensor) -> torch.Tensor:
    """Returns the Gram matrix G = F Fᵀ of a feature map (Gatys et al. 2016, eq. 3), not normalised.

    F is the map as a C × N matrix, N = H · W. G does not depend on the order of the positions.

    Args:
        features: (1, C, H, W).

    Returns:
        (C, C); float32 for features in bfloat16, otherwise in the features' type.
    """
    gram: torch.Tensor = _Gram.apply(features)
    return gram


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
    channels_last = _rows(features)
    sums = torch.mm(guides.flatten(1).to(features.dtype), channels_last).to(wide(features.dtype))
    return torch.cat([sums[:, None], guided_gram_matrices(features, guides)], dim=1)


def _symmetric_eigen(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the eigenvalues, rising, and the eigenvectors of a symmetric matrix in float64."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return values, vectors


def _to_float64(tensor: torch.Tensor) -> torch.Tensor:
    # Apple's GPUs have no float64.
    return tensor.detach().to("cpu" if tensor.device.type == "mps" else tensor.device, torch.float64)


@dataclasses.dataclass(frozen=True)
class Normal:
    """A normal distribution to compare others with: μ̂ and Σ̂, with a ridge ε.

    The covariance of few positions or of a plain image has directions without variance, in which the gradient
    of a root is unstable. ε is therefore added to the variance of both distributions in every direction.

    Attributes:
        mean: μ̂, (C,).
        ridge: ε, a thousandth of the mean variance plus the error of sums of products in float32.
        root, inverse_root: (Σ̂ + ε I)^½ and (Σ̂ + ε I)^-½, (C, C), in float64.
    """

    mean: torch.Tensor
    ridge: float
    root: torch.Tensor
    inverse_root: torch.Tensor


def normal(mean: torch.Tensor, covariance: torch.Tensor) -> Normal:
    """Returns the normal distribution with a mean (C,) and a covariance (C, C)."""
    wide_mean, wide_covariance = _to_float64(mean), _to_float64(covariance)
    spread = float(wide_covariance.diagonal().mean().clamp_min(0))
    ridge = 1e-3 * spread + 1e-7 * float(wide_mean.square().sum()) + 1e-12
    values, vectors = _symmetric_eigen(wide_covariance)
    deviations = (values.clamp_min(0) + ridge).sqrt()
    root, inverse_root = (vectors * deviations) @ vectors.T, (vectors / deviations) @ vectors.T
    return Normal(mean, ridge, root, inverse_root)


class _Spread(torch.autograd.Function):
    """Squared Wasserstein-2 distance of two centred normal distributions, Σ and Σ̂ (both with the ridge).

    It is tr Σ + tr Σ̂ − 2 tr A^½ with A = Σ̂^½ Σ Σ̂^½. Rounding can make this difference negative, so it is
    computed as the equal sum of squares |Σ̂^-½ A^½ − Σ̂^½|². Its gradient is I − Σ̂^½ A^-½ Σ̂^½.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, covariance: torch.Tensor, target: Normal
    ) -> torch.Tensor:
        eye = torch.eye(len(covariance), dtype=torch.float64, device=target.root.device)
        product = target.root @ (_to_float64(covariance) + target.ridge * eye) @ target.root
        values, vectors = _symmetric_eigen(product)
        # No variance is below the ridge: a smaller eigenvalue is a rounding error.
        roots = values.clamp_min(target.ridge**2).sqrt()
        ctx.save_for_backward(eye - target.root @ (vectors / roots) @ vectors.T @ target.root)
        distance = (target.inverse_root @ (vectors * roots) @ vectors.T - target.root).square().sum()
        return distance.to(covariance)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *grad_outputs: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad_outputs[0] * gradient.to(grad_outputs[0]), None


def wasserstein_distance(mean: torch.Tensor, covariance: torch.Tensor, target: Normal) -> torch.Tensor:
    """Returns the squared Wasserstein-2 distance of two normal distributions (Olkin, Pukelsheim 1982).

    It is |μ − μ̂|² + tr Σ + tr Σ̂ − 2 tr (Σ̂^½ Σ Σ̂^½)^½, at least 0.

    Args:
        mean: μ, (C,).
        covariance: Σ, (C, C).
        target: μ̂ and Σ̂.
    """
    spread: torch.Tensor = _Spread.apply(covariance, target)
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

    def statistic(self, features: Mapping[str, torch.Tensor], tile: Tile) -> torch.Tensor:
        """Returns Σ (F − P)² over the tile's core, a scalar."""
        core, (rows, columns) = tile.core_of(features, self.layer)
        dtype = wide(core.dtype)
        return (core.to(dtype) - self.target[:, :, rows, columns].to(dtype)).square().sum()

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

    def statistic(self, features: Mapping[str, torch.Tensor], tile: Tile) -> torch.Tensor:
        """Returns the Gram matrix of each region over the tile's core, (R, C, C)."""
        core, (rows, columns) = tile.core_of(features, self.layer)
        if self.guides is None:
            inner = among(self.inner, (rows, columns))
            return gram_matrix(core[:, :, inner[0], inner[1]])[None]
        return guided_gram_matrices(core, self.guides[:, rows, columns])

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

    def statistic(self, features: Mapping[str, torch.Tensor], tile: Tile) -> torch.Tensor:
        """Returns the `moments` of each region over the tile's core, (R, C + 1, C)."""
        core, (rows, columns) = tile.core_of(features, self.layer)
        return moments(core, self.guides[:, rows, columns])

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


def _rows(features: torch.Tensor) -> torch.Tensor:
    """Returns features (1, C, H, W) as (N, C), without a copy if they are channels_last."""
    _, channels, height, width = features.shape
    return features.permute(0, 2, 3, 1).reshape(height * width, channels)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Returns the type in which to sum values of a type: float32 for bfloat16, otherwise the type itself."""
    return torch.float32 if dtype == torch.bfloat16 else dtype
