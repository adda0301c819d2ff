"""Numbers that go with the eye when paintings are judged: how near a painting is to its style and content.

None of them is a loss that an objective minimises in this form. Lower is better for each; none replaces
looking at the picture.
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
"""Larger pictures are shrunk to this longer side, in pixels, before their features are computed."""

STYLE_POSITIONS = 4096
CONTENT_POSITIONS = 1024
"""Positions of a picture that are compared at most, with its style and with its content."""

DIRECTIONS = 64
"""Directions in RGB along which palettes are compared."""

_STEPS = 8
"""Parts of a grey level that colours are rounded to in a direction."""


@dataclasses.dataclass(frozen=True)
class Numbers:
    """What is measured of a painting; lower is better.

    Attributes:
        relaxed_emd: of painting and style, 0 … 1; see `relaxed_emd`.
        self_similarity_error: of painting and content, 0 … 2; see `self_similarity_error`.
        palette_distance: of painting and style in grey levels, 0 … 221; see `palette_distance`.
    """

    relaxed_emd: float
    self_similarity_error: float
    palette_distance: float


def judge(painting: Image.Image, content: Image.Image, style: Image.Image, network: Network) -> Numbers:
    """Measures a painting.

    The style is looked at with as many pixels as the painting has, as the engine looks at it, and never
    enlarged; the content at the painting's size.

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
    # All pairs of the painting's own positions are compared, so fewer of them.
    some = slice(None, None, math.ceil(len(of_painting) / CONTENT_POSITIONS))
    return Numbers(
        relaxed_emd(of_painting, of_style),
        self_similarity_error(of_painting[some], of_content[some]),
        palette_distance(painting, style),
    )


@torch.no_grad()
def hypercolumns(picture: Image.Image, network: Network, positions: int) -> torch.Tensor:
    """Hypercolumns of a picture, as in Kolkin et al. 2022 (Neural Neighbor Style Transfer).

    Each layer is divided by its channel count and brought to a quarter of the picture's sides: averaged
    down, bilinear up.

    Args:
        picture: mode RGB, each side at least `MIN_SIDE` pixels.
        network: the feature network.
        positions: how many to give at most. They are drawn without replacement, and the same ones of every
            picture of the same size.

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
    """Relaxed earth mover's distance: how far each hypercolumn of either is from the nearest of the other.

    max(mean_i min_j d(a_i, b_j), mean_j min_i d(a_i, b_j)), where d is 1 − cosine. Kolkin, Salavon,
    Shakhnarovich 2019 (STROTSS), section 2.3. A small distance says that all that is in the painting is in
    the style as well, and all that is in the style has been used.

    Args:
        a, b: (positions, channels), at least one position each.

    Returns:
        0 … 1 where no value is negative, as after a ReLU; 0 where both have the same hypercolumns up to
        their lengths. Symmetric. Lower is better.
    """
    distances = _cosine_distances(a, b)
    return float(torch.maximum(distances.amin(1).mean(), distances.amin(0).mean()))


def self_similarity_error(a: torch.Tensor, b: torch.Tensor) -> float:
    """How differently two pictures are arranged: their positions' likeness to each other, compared.

    The mean over i, j of |D_ij / mean_k D_ik − E_ij / mean_k E_ik|, where D and E are the distances
    1 − cosine of the pictures' own positions to each other. STROTSS, equation 8, times the number of
    positions, so that it does not depend on how many there are. Colours and strokes may change freely as long
    as what was alike stays alike.

    Args:
        a, b: (positions, channels), of the same places in both pictures.

    Returns:
        0 … 2; 0 where nothing moved. Symmetric. Lower is better: more of the content's arrangement is kept.

    Raises:
        ValueError: they have different numbers of positions.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} positions cannot be compared with {len(b)}; give the same places of both")
    return float((_relative_distances(a) - _relative_distances(b)).abs().mean())


def palette_distance(a: Image.Image, b: Image.Image) -> float:
    """Sliced Wasserstein-1 distance of two pictures' colours: how far colours move if one takes the other's.

    The mean over `DIRECTIONS` directions in RGB, spread evenly over the sphere, of the distance of the two
    distributions along the direction. Where things are in the picture does not matter.

    Args:
        a, b: mode RGB, of any sizes.

    Returns:
        In grey levels; about half the distance of two single colours; 0 … 221. Symmetric. Lower is better:
        the painting has the style's colours in the style's proportions.
    """
    directions = _directions(DIRECTIONS)
    # Of a box of side 255, the longest projection is its diagonal.
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
    """1 − cosine of each of `a` with each of `b`; rounding never makes it negative."""
    a, b = (F.normalize(hypercolumn.float(), dim=1) for hypercolumn in (a, b))
    return (1 - a @ b.T).clamp_min_(0)


def _relative_distances(hypercolumns: torch.Tensor) -> torch.Tensor:
    """The distances of positions to each other, each row over its mean."""
    distances = _cosine_distances(hypercolumns, hypercolumns).fill_diagonal_(0)
    # Below that there is rounding only: a position that is like all others has no distances.
    mean = distances.mean(1, keepdim=True)
    return torch.where(mean > 1e-6, distances / mean, 0)


def _directions(count: int) -> npt.NDArray[np.float64]:
    """Unit vectors spread evenly over half a sphere (a Fibonacci lattice); the other half says the same."""
    index = np.arange(count)
    z = 1 - (index + 0.5) / count
    angle = index * math.pi * (3 - math.sqrt(5))
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
