"""Numbers that help to judge a painting: how similar it is to its style and to its content.

Lower is better for each. No objective minimises one of them in this form, and none of them replaces looking
at the picture.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from impasto_server.engine import Network
from impasto_server.engine.pixels import to_tensor
from impasto_server.engine.recipe import MIN_SIDE, result_size, style_size

HYPERCOLUMN_LAYERS = (
    *("relu1_1", "relu1_2", "relu2_1", "relu2_2"),
    *("relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2", "relu4_3"),
)
"""VGG-16's ten layers up to relu4_3, 2,688 channels; VGG-19 has layers of these names too."""

LONGEST_SIDE = 1024
"""Maximum longer side in pixels; larger paintings are made smaller before their features are computed."""

STYLE_POSITIONS = 4096
CONTENT_POSITIONS = 1024
"""Maximum number of a painting's positions that are compared with its style, and with its content."""

DIRECTIONS = 64
"""Number of directions in RGB along which palettes are compared."""

_STEPS = 8
"""Steps per grey level to which colours are rounded along a direction."""


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The numbers of a painting; lower is better.

    Attributes:
        relaxed_emd: `relaxed_emd` of painting and style, 0 … 1.
        self_similarity_error: `self_similarity_error` of painting and content, 0 … 2.
        palette_distance: `palette_distance` of painting and style in grey levels, 0 … 221.
    """

    relaxed_emd: float
    self_similarity_error: float
    palette_distance: float


def judge(painting: Image.Image, content: Image.Image, style: Image.Image, network: Network) -> Numbers:
    """Measures a painting.

    As in the engine, the style is resized to as many pixels as the painting has, but never enlarged. The
    content is resized to the painting's size.

    Args:
        painting, content, style: mode RGB, each side at least `MIN_SIDE` pixels.
        network: the feature network.
    """
    painting = _shrunk(painting)
    of_painting = hypercolumns(painting, network, STYLE_POSITIONS)
    of_style = hypercolumns(
        _resized(style, style_size(style.size, painting.size, 1.0)), network, STYLE_POSITIONS
    )
    of_content = hypercolumns(_resized(content, painting.size), network, STYLE_POSITIONS)
    # Fewer positions, because every position is compared with every other.
    some = slice(None, None, math.ceil(len(of_painting) / CONTENT_POSITIONS))
    return Numbers(
        relaxed_emd(of_painting, of_style),
        self_similarity_error(of_painting[some], of_content[some]),
        palette_distance(painting, style),
    )


@torch.no_grad()
def hypercolumns(picture: Image.Image, network: Network, positions: int) -> torch.Tensor:
    """Computes hypercolumns of a picture, as in Kolkin et al. 2022 (Neural Neighbor Style Transfer).

    Each layer is divided by its number of channels and resampled to a quarter of the picture's width and
    height, by averaging or bilinear enlargement.

    Args:
        picture: mode RGB, each side at least `MIN_SIDE` pixels.
        network: the feature network.
        positions: maximum number of positions. They are drawn without replacement, and are the same for all
            pictures of one size.

    Returns:
        (positions, 2688) in the network's arithmetic, in the order of the picture's rows.
    """
    image = to_tensor(picture, like=torch.empty(0, dtype=network.dtype, device=network.device))
    height, width = math.ceil(image.shape[2] / 4), math.ceil(image.shape[3] / 4)
    drawn = torch.randperm(height * width, generator=torch.Generator().manual_seed(0))[:positions]
    drawn = drawn.sort().values.to(image.device)
    features = network(image, HYPERCOLUMN_LAYERS)
    columns = []
    for layer in HYPERCOLUMN_LAYERS:
        values = features.pop(layer)
        values = values / values.shape[1]
        if values.shape[2] > height or values.shape[3] > width:
            values = F.adaptive_avg_pool2d(values, (height, width))
        elif values.shape[2:] != (height, width):
            values = F.interpolate(values, (height, width), mode="bilinear", align_corners=False)
        columns.append(values.flatten(2)[0, :, drawn])
    return torch.cat(columns).T


def relaxed_emd(a: torch.Tensor, b: torch.Tensor) -> float:
    """Returns the relaxed earth mover's distance: how far each hypercolumn is from the other side's nearest.

    It is max(mean_i min_j d(a_i, b_j), mean_j min_i d(a_i, b_j)), where d is 1 − cosine. Source: Kolkin,
    Salavon, Shakhnarovich 2019 (STROTSS), section 2.3. If the distance is small, everything in the painting
    is in the style as well, and everything in the style is in the painting.

    Args:
        a, b: (positions, channels), at least one position each.

    Returns:
        0 … 1 if no value is negative, as after a ReLU; 0 if both have the same hypercolumns up to their
        lengths. Symmetric. Lower is better.
    """
    distances = _cosine_distances(a, b)
    return float(torch.maximum(distances.amin(1).mean(), distances.amin(0).mean()))


def self_similarity_error(a: torch.Tensor, b: torch.Tensor) -> float:
    """Returns how differently two pictures are arranged, by the similarity of positions within each.

    It is the mean over i, j of |D_ij / mean_k D_ik − E_ij / mean_k E_ik|, where D and E are the distances
    1 − cosine between the positions of one picture. This is equation 8 of STROTSS times the number of
    positions, so that it does not depend on that number. It allows changes of colours and strokes, as long as
    places that were alike stay alike.

    Args:
        a, b: (positions, channels), of the same places in both pictures.

    Returns:
        0 … 2; 0 if the arrangement is the same. Symmetric. Lower is better.

    Raises:
        ValueError: they have different numbers of positions.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} positions cannot be compared with {len(b)}; give the same ones of both")
    return float((_relative_distances(a) - _relative_distances(b)).abs().mean())


def palette_distance(a: Image.Image, b: Image.Image) -> float:
    """Returns the sliced Wasserstein-1 distance of the colours of two pictures.

    It is the mean, over `DIRECTIONS` directions spread evenly in RGB, of the distance of the two colour
    distributions along the direction. The places of the colours in the pictures do not matter.

    Args:
        a, b: mode RGB, of any sizes.

    Returns:
        The distance in grey levels, 0 … 221; for two single colours, about half of their distance. Symmetric.
        Lower is better: the painting has the style's colours in the style's proportions.
    """
    directions = _directions(DIRECTIONS)
    # The longest projection of a cube of side 255 is its diagonal.
    reach = math.ceil(255 * math.sqrt(3)) * _STEPS
    pixels = [np.asarray(picture, np.float64).reshape(-1, 3) for picture in (a, b)]
    total = 0.0
    for direction in directions:
        shares = []
        for colors in pixels:
            places = np.rint(colors @ (direction * _STEPS)).astype(np.int64) + reach
            shares.append(np.bincount(places, minlength=2 * reach + 1) / len(colors))
        total += float(np.abs(np.cumsum(shares[0] - shares[1])).sum()) / _STEPS
    return total / len(directions)


def _shrunk(picture: Image.Image) -> Image.Image:
    if max(picture.size) <= LONGEST_SIDE:
        return picture
    width, height = result_size(*picture.size, LONGEST_SIDE)
    return _resized(picture, (max(MIN_SIDE, width), max(MIN_SIDE, height)))


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def _cosine_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Returns 1 − cosine of each row of `a` with each row of `b`, at least 0 in spite of rounding."""
    a, b = (F.normalize(hypercolumn.float(), dim=1) for hypercolumn in (a, b))
    return (1 - a @ b.T).clamp_min_(0)


def _relative_distances(hypercolumns: torch.Tensor) -> torch.Tensor:
    """Returns the distances between positions, each row divided by its mean."""
    distances = _cosine_distances(hypercolumns, hypercolumns).fill_diagonal_(0)
    # A smaller mean is a rounding error: the position is like all others, so its distances are 0.
    mean = distances.mean(1, keepdim=True)
    return torch.where(mean > 1e-6, distances / mean, 0)


def _directions(count: int) -> npt.NDArray[np.float64]:
    """Returns unit vectors spread evenly over half a sphere, which is enough, as a Fibonacci lattice."""
    index = np.arange(count)
    z = 1 - (index + 0.5) / count
    angle = index * math.pi * (3 - math.sqrt(5))
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
