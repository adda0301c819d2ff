"""Roots of covariance matrices: the Wasserstein-2 distance of two normal distributions and its gradient.

For centred normal distributions with the covariances Σ and Σ̂, the squared distance is the mean of |x − M x|²
for x from the first, where M is the optimal transport map: the symmetric matrix with M Σ M = Σ̂, which is
M = Σ̂^½ (Σ̂^½ Σ Σ̂^½)^-½ Σ̂^½ (Olkin, Pukelsheim 1982). With G = I − M, the distance is tr (G Σ G), and its
gradient for Σ is G. Rounding hardly matters in this sum of squares; it can make the equal difference
tr Σ + tr Σ̂ − 2 tr (Σ̂^½ Σ Σ̂^½)^½ negative.

A CPU finds M by eigenvectors, in float64. A GPU is slow at those and has to wait for them, so it finds M by
products of matrices alone, in float32.
"""

from __future__ import annotations

import dataclasses

import torch


@dataclasses.dataclass(frozen=True)
class Normal:
    """A normal distribution to compare others with: μ̂ and Σ̂, with a ridge ε.

    The covariance of few positions or of a plain image has directions without variance, in which the gradient
    of a root is unstable. ε is therefore added to the variance of both distributions in every direction.

    Attributes:
        mean: μ̂, (C,).
        ridge: ε, a thousandth of the mean variance plus the error of sums of products in float32.
        covariance: Σ̂ + ε I, (C, C).
        variances, directions: the eigenvalues of `covariance`, (C,), and its eigenvectors, the columns of a
            (C, C) matrix.
    """

    mean: torch.Tensor
    ridge: float
    covariance: torch.Tensor
    variances: torch.Tensor
    directions: torch.Tensor


def normal(mean: torch.Tensor, covariance: torch.Tensor) -> Normal:
    """Returns the normal distribution with a mean (C,) and a covariance (C, C)."""
    # Apple's GPUs have no float64.
    device = torch.device("cpu") if mean.device.type == "mps" else mean.device
    wide_mean, wide_covariance = mean.to(device, torch.float64), covariance.to(device, torch.float64)
    spread = float(wide_covariance.diagonal().mean().clamp_min(0))
    ridge = 1e-3 * spread + 1e-7 * float(wide_mean.square().sum()) + 1e-12
    values, directions = torch.linalg.eigh((wide_covariance + wide_covariance.T) / 2)
    variances = values.clamp_min(0) + ridge
    with_ridge = (directions * variances) @ directions.T
    return Normal(mean, ridge, with_ridge.to(mean), variances.to(mean), directions.to(mean))


def spread_distance(
    mean: torch.Tensor, covariance: torch.Tensor, target: Normal
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the squared Wasserstein-2 distance of two centred normal distributions, and its gradient.

    Args:
        mean: μ, (C,); only for how much rounding there is in the covariance.
        covariance: Σ, (C, C), symmetric, computed in its own type throughout: a product that was rounded to
            bfloat16 has directions of negative variance, which the products on a GPU do not forgive.
        target: Σ̂.

    Returns:
        the distance, a scalar, at least 0; and its gradient for Σ, (C, C), symmetric.
    """
    if covariance.device.type == "cpu":
        return _by_eigenvectors(covariance, target)
    return _by_products(mean, covariance, target)


def _by_eigenvectors(covariance: torch.Tensor, target: Normal) -> tuple[torch.Tensor, torch.Tensor]:
    # Along the target's directions, Σ̂ is diagonal. Only the eigenvalues, which may be 1e10 apart, need
    # float64; every product of matrices is precise enough in the covariance's own type.
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    turned = target.directions.T @ (covariance @ target.directions)
    turned = (turned + turned.T) / 2 + target.ridge * identity
    deviations = target.variances.double().sqrt()
    values, vectors = torch.linalg.eigh(deviations[:, None] * turned.double() * deviations)
    # No variance is below the ridge: a smaller eigenvalue is a rounding error.
    quarters = values.clamp_min(target.ridge**2) ** -0.25
    halves = (deviations[:, None] * vectors * quarters).to(covariance)
    gradient = identity - halves @ halves.T
    distance = ((gradient @ turned) * gradient).sum()
    gradient = target.directions @ (gradient @ target.directions.T)
    return distance.clamp_min(0), (gradient + gradient.T) / 2


_LEAST = 1e-6
"""The smallest singular value of Σ̂^½ Σ^½, as a share of the largest, that `_by_products` brings to 1. Trained
features have 1e-5 to 1e-4. What is smaller moves the picture less than the ridge does."""

_LONGEST = 1.69770248526
"""Longest scaling of a Newton–Schulz step (Chen, Chow 2014): at √3 the largest values would become 0."""


def _scalings() -> list[float]:
    """Returns the scaling of each step, the best for values between `_LEAST` and 1. All of them become 1."""
    least, scalings = _LEAST, []
    while least < 1 - 1e-4:
        a = min((3 / (1 + least + least**2)) ** 0.5, _LONGEST)
        # A step maps x to a x (3 − a² x²) / 2; the smallest result is that of the smallest x or that of 1.
        least = min(a * least * (3 - (a * least) ** 2) / 2, a * (3 - a**2) / 2)
        scalings.append(a)
    return scalings


_SCALINGS = _scalings()


def _by_products(
    mean: torch.Tensor, covariance: torch.Tensor, target: Normal
) -> tuple[torch.Tensor, torch.Tensor]:
    """Finds M by scaled Newton–Schulz steps, always as many: no waiting, no decision from the values.

    The coupled iteration Y ← Y (3 I − Z Y) / 2, Z ← (3 I − Z Y) Z / 2 (Higham 2008: Functions of Matrices,
    section 6.7, begun with A = Z Y) goes from Y = Σ and Z = Σ̂ to M⁻¹ and M, because (Σ̂ Σ)^-½ Σ̂ = M. The
    scaling is from Chen, Chow 2014 (A Stable Scaling of Newton–Schulz for Improving the Sign Function
    Computation of a Hermitian Matrix, ANL/MCS-P5059-0114).
    """
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    # Rounding must not leave a negative variance, which the iteration would enlarge.
    eps = torch.finfo(covariance.dtype).eps
    rounding = 8 * eps * covariance.trace() + eps * mean.square().sum()
    own = (covariance + covariance.T) / 2 + rounding.clamp_min(target.ridge) * identity
    sizes = own.trace(), target.covariance.trace()
    y, z = own / sizes[0], target.covariance / sizes[1]
    product = z @ y
    # The largest eigenvalue of Z Y is at most √(tr (Z Y)²), which is close to it.
    largest = (product * product.T).sum().abs().sqrt()
    y, z, product = y / largest.sqrt(), z / largest.sqrt(), product / largest
    for step, a in enumerate(_SCALINGS):
        if step:
            product = z @ y
        y, z = (
            torch.addmm(y, y, product, beta=1.5 * a, alpha=-0.5 * a**3),
            torch.addmm(z, product, z, beta=1.5 * a, alpha=-0.5 * a**3),
        )
    scale = (sizes[1] / sizes[0]).sqrt()
    transport = (z + z.T) * (scale / 2)
    # 0 ≤ tr M Σ ≤ √(tr Σ tr Σ̂). Where rounding was worse than expected, the map that only matches the sizes
    # serves for this evaluation.
    fidelity = (transport * own).sum()
    right = (fidelity >= 0) & (fidelity <= 1.001 * (sizes[0] * sizes[1]).sqrt())
    gradient = identity - torch.where(right, transport, scale * identity)
    return ((gradient @ own) * gradient).sum().clamp_min(0), gradient
