"""Hypercolumns, and a loss that compares their directions, for all layers together or for each layer.

The hypercolumn φ of a place concatenates the features of `LAYERS` there, each divided by its number of
channels. The places form a grid of a quarter of the image's width and height (Kolkin et al. 2022, Neural
Neighbor Style Transfer, arXiv 2203.13215, section 4).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F

from impasto_server.engine import kernels
from impasto_server.engine.losses import Observation, wide
from impasto_server.engine.network import Network, Padding
from impasto_server.engine.objectives.neighbours import LAYERS
from impasto_server.engine.windows import Tile, Window, overlap, tiles

TOGETHER = (LAYERS,)
APART = tuple((layer,) for layer in LAYERS)
SPACING = 4
"""Pixels between two places. A place sees 4 px further than block 4 does; `overlap` has room for that."""

Groups: TypeAlias = Sequence[Sequence[str]]


def grid(height: int, width: int) -> tuple[int, int]:
    """Returns the rows and columns of places in an image of height × width pixels.

    There are two rows and two columns for each position of block 4.
    """
    return height // 8 * 2, width // 8 * 2


def rows_of(
    network: Network,
    image: torch.Tensor,
    *,
    margin: int = 0,
    padding: Padding = "zeros",
    tile_side: int | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Computes the hypercolumns of an image, tile by tile.

    Args:
        network: the feature network, in the arithmetic to compute in.
        image: (1, 3, H, W), normalised.
        margin: pixels on each side whose places are left out, a multiple of `SPACING`.
        padding: padding of the network's convolutions.
        tile_side: side of a tile in pixels; None for the whole image at once.

    Yields:
        The places' numbers (n,), counted row by row over the image without its margin, and their
        hypercolumns (n, C), in the network's arithmetic.
    """
    height, width = image.shape[2:]
    inner = Inner(height, width, margin)
    numbers = torch.arange(inner.count, device=image.device).view(inner.rows, inner.columns)
    for tile in tiles(height, width, tile_side or max(height, width), overlap(network.architecture, LAYERS)):
        of_inner, among = inner.of_tile(tile)
        with torch.no_grad():
            features = network(image[:, :, tile.seen[0], tile.seen[1]], LAYERS, padding=padding)
            found = numbers[of_inner].flatten()
            channels = [network.channels(layer) for layer in LAYERS]
            rows = features[LAYERS[0]].new_empty((len(found), sum(channels)))
            for layer, columns in zip(LAYERS, torch.split(rows, channels, 1), strict=True):
                # Frees the features of each layer before the next, because both together take much memory.
                of_places = at_places(features.pop(layer), layer)[:, :, among[0], among[1]]
                torch.div(of_places.flatten(2)[0].T, columns.shape[1], out=columns)
                del of_places
        yield found, rows


@dataclasses.dataclass(frozen=True)
class Inner:
    """The places of an image outside its margin.

    Attributes:
        height, width: size of the image in pixels, with its margin.
        margin: pixels on each side, a multiple of `SPACING`.
    """

    height: int
    width: int
    margin: int

    @property
    def rows(self) -> int:
        """Number of rows of places."""
        return self._along(self.height)

    @property
    def columns(self) -> int:
        """Number of columns of places."""
        return self._along(self.width)

    @property
    def count(self) -> int:
        """Number of places."""
        return self.rows * self.columns

    def _along(self, length: int) -> int:
        # Every pixel belongs to a place, so the last place may reach into the margin.
        inner = -(-(length - 2 * self.margin) // SPACING)
        return min(inner, grid(length, length)[0] - self.margin // SPACING)

    def of_tile(self, tile: Tile) -> tuple[Window, Window]:
        """Returns the window of a tile's core among these places, and among the places that the tile sees."""
        border = self.margin // SPACING
        ends = border + self.rows, border + self.columns
        inner, among = [], []
        for core, seen, end in zip(tile.core, tile.seen, ends, strict=True):
            first = max(core.start // SPACING, border)
            last = max(first, min(core.stop // SPACING, end))
            inner.append(slice(first - border, last - border))
            among.append(slice(first - seen.start // SPACING, last - seen.start // SPACING))
        return (inner[0], inner[1]), (among[0], among[1])


def _side(layer: str) -> int:
    """Returns the side of the block of positions whose mean a place sees; 0 if the layer is enlarged."""
    return (SPACING, SPACING // 2, 1, 0)[int(layer[4]) - 1]


def at_places(features: torch.Tensor, layer: str) -> torch.Tensor:
    """Resamples a layer's features (1, C, h, w) to the places: by averaging, or by bilinear enlargement."""
    side = _side(layer)
    if side > 1:
        return F.avg_pool2d(features, side)
    if side == 1:
        return features
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def _add_at_positions(gradient: torch.Tensor, of_places: torch.Tensor, layer: str, window: Window) -> None:
    """Adds the gradient for a layer's features to a gradient in place, given one for a window of `at_places`.

    Args:
        gradient: (1, C, h, w), channels_last.
        of_places: (1, C, rows, columns).
        layer: the layer.
        window: the window.
    """
    if not of_places.numel():
        # All of the tile is in the margin.
        return
    rows, columns = window
    _, channels, height, width = gradient.shape
    # (rows, columns, channels), the order of the features in memory.
    source, target = of_places[0].permute(1, 2, 0), gradient[0].permute(1, 2, 0)
    side = _side(layer)
    if not side:
        # As matrix products, because torch's gradient of `interpolate` is slower and, on a GPU, sums in no
        # fixed order.
        down = _enlarging(height, gradient)[rows].T @ source.reshape(len(source), -1)
        target += torch.matmul(_enlarging(width, gradient)[columns].T, down.view(height, -1, channels))
    else:
        part = target[rows.start * side : rows.stop * side, columns.start * side : columns.stop * side]
        part.view(len(source), side, source.shape[1], side, channels).add_(source[:, None, :, None])


def _enlarging(length: int, like: torch.Tensor) -> torch.Tensor:
    """Returns the matrix (2 · length, length) of the bilinear enlargement to twice the length."""
    eye = torch.eye(length, device=like.device).view(1, length, length)
    return F.interpolate(eye, scale_factor=2, mode="linear")[0].T.to(like.dtype)


class _Cosines:
    """Σ_i 1 − cos(t_i, φ_i) over the places i, and its gradient −(t̂ − (t̂·φ̂) φ̂) / |φ| at each place.

    Hypercolumns are never concatenated: their products and lengths are sums over the layers.

    Args:
        window: the places among those of the features.
        targets: t by layer, (1, C, rows, columns).
        features: (1, C, h, w) by layer.

    Attributes:
        total: the sum, a scalar.
    """

    def __init__(
        self, window: Window, targets: Mapping[str, torch.Tensor], features: Mapping[str, torch.Tensor]
    ) -> None:
        self._window, self._targets = window, targets
        self._seen: dict[str, torch.Tensor] = {}
        products, squares = [], []
        for layer, target in targets.items():
            of_layer = features[layer]
            if kernels.takes_places(of_layer, target):
                product, square = kernels.place_sums(of_layer, target, window, _side(layer))
            else:
                seen = at_places(of_layer, layer)[:, :, window[0], window[1]]
                product, square = _dot(seen, target), _length(seen).square()
                self._seen[layer] = seen
            products.append(product)
            squares.append(square / of_layer.shape[1] ** 2)
        self._length = sum(squares[1:], start=squares[0]).sqrt().clamp_min(1e-12)
        self._cosine = sum(products[1:], start=products[0]) / self._length
        self.total = (1 - self._cosine).sum()

    def add_gradient(
        self, layer: str, features: torch.Tensor, of_total: torch.Tensor, gradient: torch.Tensor
    ) -> None:
        """Adds the gradient of d · `total` for a layer's features to a gradient; once for each layer.

        Args:
            layer: the layer.
            features: (1, C, h, w).
            of_total: d, a scalar.
            gradient: (1, C, h, w), channels_last.
        """
        target, side = self._targets[layer], _side(layer)
        by_target = -of_total / self._length
        by_seen = of_total * self._cosine / self._length.square() / features.shape[1] ** 2
        if layer not in self._seen:
            kernels.add_place_gradient_(gradient, features, target, by_target, by_seen, self._window, side)
            return
        seen = self._seen.pop(layer)
        # In blocks 1 and 2, a place is the mean of several positions.
        share = 1 / max(1, side) ** 2
        by_target, by_seen = ((share * each).to(seen.dtype) for each in (by_target, by_seen))
        of_places = torch.addcmul(target * by_target, seen, by_seen)
        _add_at_positions(gradient, of_places, layer, self._window)


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Returns the product of two maps (1, C, h, w) at each place, (1, 1, h, w), summed in `wide`'s type."""
    if a.dtype != torch.bfloat16:
        return (a * b.to(a.dtype)).sum(1, keepdim=True)
    return (a * b).sum(1, keepdim=True, dtype=torch.float32)


def _length(a: torch.Tensor) -> torch.Tensor:
    """Returns the norm of a map (1, C, h, w) at each place, (1, 1, h, w), in `wide`'s type."""
    length: torch.Tensor = torch.linalg.vector_norm(a, dim=1, keepdim=True, dtype=wide(a.dtype))
    return length


@dataclasses.dataclass(frozen=True)
class HypercolumnTerm:
    """The mean of 1 − cos(t_i, φ_i) over the places i outside the margin, and over groups of layers.

    Attributes:
        targets: one (1, C, rows, columns) for each of `LAYERS`: together, the layers of a group are unit
            vectors t̂. Each layer's part is divided by its number of channels.
        inner: the places.
        groups: `LAYERS` in groups; each group is compared by itself.
    """

    targets: Sequence[torch.Tensor]
    inner: Inner
    groups: Groups = TOGETHER

    @property
    def layers(self) -> tuple[str, ...]:
        return LAYERS

    @property
    def is_sum(self) -> bool:
        return True

    def observe(self, features: Mapping[str, torch.Tensor], tile: Tile) -> Observation:
        """Observes Σ (1 − cos) over the tile's core, a scalar."""
        (rows, columns), among = self.inner.of_tile(tile)
        targets = dict(zip(LAYERS, (target[:, :, rows, columns] for target in self.targets), strict=True))
        of_layer: dict[str, _Cosines] = {}
        for group in self.groups:
            cosines = _Cosines(among, {layer: targets[layer] for layer in group}, features)
            of_layer |= dict.fromkeys(group, cosines)

        def add_gradient(
            layer: str, features_: torch.Tensor, of_statistic: torch.Tensor, gradient: torch.Tensor
        ) -> None:
            of_layer[layer].add_gradient(layer, features_, of_statistic, gradient)

        totals = [of_layer[group[0]].total for group in self.groups]
        return Observation(torch.stack(totals).sum(), add_gradient)

    def value(self, statistic: torch.Tensor) -> torch.Tensor:
        return statistic / (self.inner.count * len(self.groups))


def term_of(
    rows: torch.Tensor, inner: Inner, channels: Sequence[int], groups: Groups = TOGETHER
) -> HypercolumnTerm:
    """Makes the term whose targets are given as hypercolumns.

    Args:
        rows: (n, C), one for each place, of length 1 in each group's layers. They are overwritten.
        inner: the places.
        channels: channels of each layer, in the order of `LAYERS`.
        groups: `LAYERS` in groups.
    """
    # In place, because a copy would be the largest thing in memory during a painting.
    targets = []
    for part, count in zip(torch.split(rows, list(channels), 1), channels, strict=True):
        part /= count
        targets.append(part.view(inner.rows, inner.columns, count).permute(2, 0, 1)[None])
    return HypercolumnTerm(targets, inner, groups)
