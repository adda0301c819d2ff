"""How an image too large for memory is seen piece by piece, so that nothing differs from seeing it whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import torch

from impasto_server.engine.weights import CONVOLUTIONS, Architecture

Window = tuple[slice, slice]
"""Rows and columns of an image, or of a layer's positions."""

STRIDE = 16
"""Positions of the deepest layer (block 5) are so many pixels apart; tiles begin at multiples."""


def layer_stride(layer: str) -> int:
    """Pixels between two positions of a layer "reluB_I": one pooling before each block but the first."""
    return 1 << (int(layer[4]) - 1)


def overlap(architecture: Architecture, layers: Iterable[str]) -> int:
    """How far, in pixels, a feature of these layers sees beyond its own position, rounded up to `STRIDE`."""
    radius = 0
    last_block, last_convolution = max((int(layer[4]), int(layer[6])) for layer in layers)
    for block in range(1, last_block + 1):
        stride = 1 << (block - 1)
        convolutions = last_convolution if block == last_block else CONVOLUTIONS[architecture][block - 1]
        # Each 3 × 3 convolution sees one position further, each pooling one more.
        radius += stride * (convolutions + (block < last_block))
    return -(-radius // STRIDE) * STRIDE


@dataclasses.dataclass(frozen=True)
class Tile:
    """A part of an image.

    Attributes:
        seen: rows and columns of the image that the network is given, overlap included.
        core: rows and columns whose features are this tile's own. The cores of all tiles make up the image.
    """

    seen: Window
    core: Window

    def of_layer(self, layer: str) -> tuple[Window, Window]:
        """Where the core stands at a layer: among the whole image's positions, and among the seen ones."""
        stride = layer_stride(layer)
        whole = tuple(slice(core.start // stride, core.stop // stride) for core in self.core)
        among = tuple(
            slice((core.start - seen.start) // stride, core.stop // stride - seen.start // stride)
            for core, seen in zip(self.core, self.seen, strict=True)
        )
        return (whole[0], whole[1]), (among[0], among[1])

    def core_of(self, features: Mapping[str, torch.Tensor], layer: str) -> tuple[torch.Tensor, Window]:
        """The core's own features at a layer, and where its positions are among the whole image's.

        Args:
            features: (1, C, h, w) by layer, of all that is seen.
            layer: one of them.
        """
        of_whole, (rows, columns) = self.of_layer(layer)
        seen = features[layer]
        if self.seen == self.core:
            # Not cut: the gradient of a cut takes a copy.
            return seen, of_whole
        return seen[:, :, rows, columns], of_whole


def among(inner: Window, window: Window) -> Window:
    """Where positions lie among those of a window; as much of them as the window has."""
    rows, columns = (
        slice(max(0, part.start - seen.start), max(0, part.stop - seen.start))
        for part, seen in zip(inner, window, strict=True)
    )
    return rows, columns


def whole(height: int, width: int) -> Tile:
    """An image of one tile."""
    everything = slice(0, height), slice(0, width)
    return Tile(everything, everything)


def tiles(height: int, width: int, side: int, overlap: int) -> Iterator[Tile]:
    """Cuts an image into tiles.

    Args:
        height, width: of the image in pixels.
        side: of a tile's core, a multiple of `STRIDE`. The last ones take what is left, if it is less than
            half a tile.
        overlap: pixels seen beyond the core, a multiple of `STRIDE`.
    """
    for rows in _spans(height, side):
        for columns in _spans(width, side):
            seen = [
                slice(max(0, core.start - overlap), min(length, core.stop + overlap))
                for core, length in ((rows, height), (columns, width))
            ]
            yield Tile((seen[0], seen[1]), (rows, columns))


def _spans(length: int, side: int) -> list[slice]:
    starts = list(range(0, length, side))
    if len(starts) > 1 and length - starts[-1] < max(side // 2, STRIDE):
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], length], strict=True)]
