from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from impasto_server.engine import roots
from impasto_server.engine.roots import normal, spread_distance

WAYS = {
    "eigenvectors": lambda mean, covariance, target: roots._by_eigenvectors(covariance, target),
    "products": roots._by_products,
}
CASES = (
    "similar",
    "different",
    "same",
    "few positions",
    "dead channels",
    "plain style",
    "plain image",
    "larger",
)
CHANNELS = 48


def features(seed, positions=400, falling=2.0):
    """Returns (positions, C) like activations: not negative, correlated, with variances of many sizes."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(CHANNELS, CHANNELS, generator=generator)
    sizes = torch.logspace(0, -falling, CHANNELS)
    return ((torch.randn(positions, CHANNELS, generator=generator) * sizes) @ mixed).clamp_min(0)


def moments(rows):
    mean = rows.mean(0)
    return mean, (rows - mean).T @ (rows - mean) / len(rows)


def case(name):
    """Returns the features of an image and of a style, in float32."""
    image, style = features(1), features(2)
    if name == "similar":
        image = style + 0.1 * features(3)
    elif name == "same":
        image = style
    elif name == "few positions":
        image = features(1, positions=6)
    elif name == "dead channels":
        image[:, ::2] = 0
        style[:, ::3] = 0
    elif name == "plain style":
        style = style[:1].expand(20, -1)
    elif name == "plain image":
        image = image[:1].expand(20, -1)
    elif name == "larger":
        image = 30 * image
    return image, style


def expected(covariance, target_covariance, ridge):
    """Returns the distance and M by the textbook's formula in float64."""

    def power(matrix, exponent):
        values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
        return (vectors * values.clamp_min(ridge**2) ** exponent) @ vectors.T

    eye = torch.eye(CHANNELS, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(target_covariance)
    root = (vectors * (values.clamp_min(0) + ridge).sqrt()) @ vectors.T
    own = covariance + ridge * eye
    product = root @ own @ root
    distance = own.trace() + (root @ root).trace() - 2 * power(product, 0.5).trace()
    return distance, root @ power(product, -0.5) @ root


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distance_and_gradient_are_those_of_the_formula(name, way, dtype):
    image, style = (rows.to(dtype) for rows in case(name))
    (mean, covariance), (target_mean, target_covariance) = moments(image), moments(style)
    target = normal(target_mean, target_covariance)
    distance, gradient = WAYS[way](mean, covariance, target)
    distance64, transport = expected(covariance.double(), target_covariance.double(), target.ridge)
    size = covariance.trace() + target_covariance.trace() + CHANNELS * target.ridge
    # The products' ridge is larger where the image's variances are much larger than the style's.
    tolerance = 1e-4 if name not in ("larger", "plain style") or dtype == torch.float64 else 1e-3
    assert abs(distance - distance64) <= tolerance * size
    # What matters is the gradient for the features, in which small variances count little.
    error = (torch.eye(CHANNELS) - gradient.double() - transport) @ (image - mean).double().T
    assert error.square().sum() / len(image) <= (tolerance**2) * size
    assert torch.equal(gradient, gradient.T)
    again = WAYS[way](mean, covariance, target)
    assert all(map(torch.equal, (distance, gradient), again))


@pytest.mark.parametrize("way", WAYS)
def test_the_gradient_is_the_slope_of_the_distance(way):
    (mean, covariance), (target_mean, target_covariance) = (
        moments(rows.double()) for rows in case("different")
    )
    target = normal(target_mean, target_covariance)
    direction = features(5).double()
    direction = direction.T @ direction * 1e-4 / len(direction)
    above, below = (WAYS[way](mean, covariance + sign * direction, target)[0] for sign in (1, -1))
    _, gradient = WAYS[way](mean, covariance, target)
    torch.testing.assert_close((above - below) / 2, (gradient * direction).sum(), rtol=1e-4, atol=0)


def test_the_products_ask_for_no_value_and_do_the_same_whatever_the_values():
    """Only then can a CUDA graph record them."""
    called: list[list[str]] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert "_local_scalar_dense" not in str(func)
            called[-1].append(str(func))
            return func(*args, **(kwargs or {}))

    for name in CASES:
        (mean, covariance), target = (moments(rows) for rows in case(name))
        of_style = normal(*target)
        called.append([])
        with Watch():
            roots._by_products(mean, covariance, of_style)
    assert called[0]
    assert all(one == called[0] for one in called)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_negative_variances_do_not_ruin_the_products(share):
    (mean, covariance), target = (moments(rows) for rows in case("similar"))
    noise = torch.randn(CHANNELS, CHANNELS, generator=torch.Generator().manual_seed(0))
    noisy = covariance * (1 + share * (noise + noise.T))
    assert torch.linalg.eigvalsh(noisy)[0] < 0
    distance, gradient = roots._by_products(mean, noisy, normal(*target))
    assert distance.isfinite()
    assert gradient.norm() < 10 * CHANNELS


def test_the_map_that_matches_the_sizes_serves_where_the_products_fail():
    (mean, covariance), target = (moments(rows) for rows in case("similar"))
    negative = covariance - 0.3 * covariance.trace() / CHANNELS * torch.eye(CHANNELS)
    _, gradient = roots._by_products(mean, negative, normal(*target))
    scale = 1 - gradient[0, 0]
    torch.testing.assert_close(gradient, (1 - scale) * torch.eye(CHANNELS))


@pytest.mark.parametrize("way", WAYS)
def test_nothing_in_common_with_a_style_without_features_is_still_finite(way):
    nothing = torch.zeros(CHANNELS), torch.zeros(CHANNELS, CHANNELS)
    distance, gradient = WAYS[way](*nothing, normal(*nothing))
    assert 0 <= distance < 1e-10
    assert gradient.isfinite().all()


def test_what_is_not_finite_stays_so():
    (mean, covariance), target = (moments(rows) for rows in case("similar"))
    distance, _ = roots._by_products(mean, covariance * float("nan"), normal(*target))
    assert distance.isnan()


def test_a_cpu_takes_eigenvectors():
    (mean, covariance), target = (moments(rows) for rows in case("similar"))
    of_style = normal(*target)
    by_device = spread_distance(mean, covariance, of_style)
    assert all(map(torch.equal, by_device, roots._by_eigenvectors(covariance, of_style)))
