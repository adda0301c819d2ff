"""Hypercolumns: what ten layers of the network see at one place, and a loss that compares their directions,
all layers together or each by itself.

The hypercolumn φ of a place is put together from `LAYERS`, each divided by its channel count, at a quarter of
the image's sides (Kolkin et al. 2022, Neural Neighbor Style Transfer, arXiv 2203.13215, section 4).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from impasto_server.engine.losses import wide
from impasto_server.engine.network import Network, Padding
from impasto_server.engine.objectives.neighbours import LAYERS
from impasto_server.engine.windows import Tile, Window, overlap, tiles

TOGETHER = (LAYERS,)
APART = tuple((layer,) for layer in LAYERS)
SPACING = 4
"""Pixels between two places. A place sees 4 px further than block 4 does, which `overlap` has room for."""

Groups: TypeAlias = Sequence[Sequence[str]]


def grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the places of an image of so many pixels: two for each position of block 4."""
    return height // 8 * 2, width // 8 * 2


def rows_of(
    network: Network,
    image: torch.Tensor,
    *,
    margin: int = 0,
    padding: Padding = "zeros",
    tile_side: int | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The hypercolumns of an image, tile by tile.

    Args:
        network: in the arithmetic to compute in.
        image: (1, 3, H, W), normalised.
        margin: pixels on each side, a multiple of `SPACING`, whose places are left out.
        padding: of the network's convolutions.
        tile_side: of the pieces it is seen in, in pixels; None for whole.

    Yields:
        The places' numbers, counted row by row over the image without its margin, (n,), and their
        hypercolumns (n, C), in the network's arithmetic.
    """
    height, width = image.shape[2:]
    inner = Inner(height, width, margin)
    numbers = torch.arange(inner.count, device=image.device).view(inner.rows, inner.columns)
    for tile in tiles(height, width, tile_side or max(height, width), overlap(network.architecture, LAYERS)):
        of_inner, among = inner.of_tile(tile)
        with torch.no_grad():
            features = network(image[:, :, tile.seen[0], tile.seen[1]], LAYERS, padding=padding)
            columns = [
                at_places(features[layer], layer)[:, :, among[0], among[1]].flatten(2)[0].T
                / features[layer].shape[1]
                for layer in LAYERS
            ]
        yield numbers[of_inner].flatten(), torch.cat(columns, 1)


@dataclasses.dataclass(frozen=True)
class Inner:
    """The places of an image without those that lie in its margin.

    Attributes:
        height, width: of the image, margin included, in pixels.
        margin: on each side, in pixels, a multiple of `SPACING`.
    """

    height: int
    width: int
    margin: int

    @property
    def rows(self) -> int:
        """How many places there are one below the other."""
        return self._along(self.height)

    @property
    def columns(self) -> int:
        """How many places there are side by side."""
        return self._along(self.width)

    @property
    def count(self) -> int:
        """How many places there are."""
        return self.rows * self.columns

    def _along(self, length: int) -> int:
        # The last place may lie in part in the margin, which has room for it: every pixel is in one.
        inner = -(-(length - 2 * self.margin) // SPACING)
        return min(inner, grid(length, length)[0] - self.margin // SPACING)

    def of_tile(self, tile: Tile) -> tuple[Window, Window]:
        """Where a tile's core stands among these places, and among the places of all that is seen."""
        border = self.margin // SPACING
        ends = border + self.rows, border + self.columns
        inner, among = [], []
        for core, seen, end in zip(tile.core, tile.seen, ends, strict=True):
            first = max(core.start // SPACING, border)
            last = max(first, min(core.stop // SPACING, end))
            inner.append(slice(first - border, last - border))
            among.append(slice(first - seen.start // SPACING, last - seen.start // SPACING))
        return (inner[0], inner[1]), (among[0], among[1])


def at_places(features: torch.Tensor, layer: str) -> torch.Tensor:
    """A layer's features (1, C, h, w) at the places: averaged down, or enlarged bilinearly."""
    block = int(layer[4])
    if block < 3:
        return F.avg_pool2d(features, SPACING >> (block - 1))
    if block == 3:
        return features
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def _at_positions(gradient: torch.Tensor, layer: str, shape: Sequence[int], window: Window) -> torch.Tensor:
    """What a gradient for a window of what `at_places` gives is for the features, (1, C, h, w)."""
    _, channels, height, width = shape
    rows, columns = window
    # (rows, columns, channels), as the features lie in memory.
    of_places = gradient[0].permute(1, 2, 0)
    block = int(layer[4])
    if block > 3:
        # Written as products: torch's own is slower, and adds up in no fixed order on a GPU.
        down = _enlarging(height, gradient)[rows].T @ of_places.reshape(len(of_places), -1)
        found = torch.matmul(_enlarging(width, gradient)[columns].T, down.view(height, -1, channels))
    else:
        side = SPACING >> (block - 1)
        found = gradient.new_zeros((height, width, channels))
        part = found[rows.start * side : rows.stop * side, columns.start * side : columns.stop * side]
        blocks = part.view(rows.stop - rows.start, side, columns.stop - columns.start, side, channels)
        blocks.copy_(of_places[:, None, :, None])
    return found.permute(2, 0, 1)[None]


def _enlarging(length: int, like: torch.Tensor) -> torch.Tensor:
    """(2 · length, length): the bilinear enlargement to twice the length, as a matrix."""
    eye = torch.eye(length, device=like.device).view(1, length, length)
    return F.interpolate(eye, scale_factor=2, mode="linear")[0].T.to(like.dtype)


class _Cosines(torch.autograd.Function):
    """Σ_i 1 − cos(t_i, φ_i) with the gradient written out: −(t̂ − (t̂·φ̂) φ̂) / |φ| at each place.

    Hypercolumns are not put together: their products and lengths are sums over the layers.
    """

    @staticmethod
    def forward(
        ctx: Any,
        window: Window,
        layers: Sequence[str],
        targets: Sequence[torch.Tensor],
        *features: torch.Tensor,
    ) -> torch.Tensor:
        rows, columns = window
        kept = []
        product = square = torch.zeros((), dtype=wide(features[0].dtype), device=features[0].device)
        for layer, target, of_layer in zip(layers, targets, features, strict=True):
            seen = at_places(of_layer, layer)[:, :, rows, columns]
            product = product + _dot(seen, target)
            square = square + _length(seen).square() / of_layer.shape[1] ** 2
            kept.append(seen)
        length = square.sqrt().clamp_min(1e-12)
        cosine = product / length
        ctx.window, ctx.layers, ctx.targets, ctx.kept = window, layers, targets, kept
        ctx.length, ctx.cosine = length, cosine
        ctx.shapes = [of_layer.shape for of_layer in features]
        return (1 - cosine).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[Any, ...]:
        of_target = -grad_outputs[0] / ctx.length
        of_seen = grad_outputs[0] * ctx.cosine / ctx.length.square()
        gradients = []
        for layer, target, shape in zip(ctx.layers, ctx.targets, ctx.shapes, strict=True):
            seen = ctx.kept.pop(0)
            block = int(layer[4])
            # A place of block 1 or 2 is the mean of so many positions.
            share = 1 / (SPACING >> (block - 1)) ** 2 if block < 3 else 1.0
            by_target = (of_target * share).to(seen.dtype)
            by_seen = (of_seen * (share / shape[1] ** 2)).to(seen.dtype)
            gradient = torch.addcmul(target.to(seen.dtype) * by_target, seen, by_seen)
            gradients.append(_at_positions(gradient, layer, shape, ctx.window))
        return None, None, None, *gradients


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Products of two maps (1, C, h, w) at each place, (1, 1, h, w), added up in the wide type."""
    if a.dtype != torch.bfloat16:
        return (a * b.to(a.dtype)).sum(1, keepdim=True)
    return (a * b).sum(1, keepdim=True, dtype=torch.float32)


def _length(a: torch.Tensor) -> torch.Tensor:
    """Norms of a map (1, C, h, w) at each place, (1, 1, h, w), in the wide type."""
    length: torch.Tensor = torch.linalg.vector_norm(a, dim=1, keepdim=True, dtype=wide(a.dtype))
    return length


@dataclasses.dataclass(frozen=True)
class HypercolumnTerm:
    """The mean of 1 − cos(t_i, φ_i) over the places i of an image without its margin, and over the groups of
    layers that t_i and φ_i may be taken of.

    Attributes:
        targets: by the layers of `LAYERS`, (1, C, rows, columns): unit vectors t̂ over each group's layers,
            each layer's part divided by its channel count.
        inner: the places.
        groups: `LAYERS`, cut into groups.
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

    def statistic(self, features: Mapping[str, torch.Tensor], tile: Tile) -> torch.Tensor:
        """Σ (1 − cos), a scalar."""
        (rows, columns), among = self.inner.of_tile(tile)
        targets = dict(zip(LAYERS, (target[:, :, rows, columns] for target in self.targets), strict=True))
        sums: list[torch.Tensor] = [
            _Cosines.apply(
                among, group, [targets[layer] for layer in group], *(features[layer] for layer in group)
            )
            for group in self.groups
        ]
        return torch.stack(sums).sum()

    def value(self, statistic: torch.Tensor) -> torch.Tensor:
        return statistic / (self.inner.count * len(self.groups))


def term_of(
    rows: torch.Tensor, inner: Inner, channels: Sequence[int], groups: Groups = TOGETHER
) -> HypercolumnTerm:
    """The term whose targets are hypercolumns of length 1 in each group's layers.

    Args:
        rows: (n, C), one for each place; the term's from now on.
        inner: the places.
        channels: of the layers, in the order of `LAYERS`.
        groups: `LAYERS`, cut into groups.
    """
    # In place: all of them twice would be the most that a painting holds.
    targets = []
    for part, count in zip(torch.split(rows, list(channels), 1), channels, strict=True):
        part /= count
        targets.append(part.view(inner.rows, inner.columns, count).permute(2, 0, 1)[None])
    return HypercolumnTerm(targets, inner, groups)
