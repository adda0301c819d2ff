"""Tiles of an image that is too large for memory. The result is the same as for the whole image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from impasto_server.engine.weights import CONVOLUTIONS, Architecture

Window = tuple[slice, slice]
"""Rows and columns of an image, or of a layer's positions."""

STRIDE = 16
"""Pixels between two positions of the deepest layer (block 5). Tiles begin at multiples of it."""


def layer_stride(layer: str) -> int:
    """Returns the pixels between two positions of a layer "reluB_I": each block but the first begins with a
    pooling."""
    return 1 << (int(layer[4]) - 1)


def overlap(architecture: Architecture, layers: Iterable[str]) -> int:
    """Returns how many pixels a feature of these layers sees beyond its own position.

    The number is rounded up to a multiple of `STRIDE`.
    """
    radius = 0
    last_block, last_convolution = max((int(layer[4]), int(layer[6])) for layer in layers)
    for block in range(1, last_block + 1):
        stride = 1 << (block - 1)
        convolutions = last_convolution if block == last_block else CONVOLUTIONS[architecture][block - 1]
        # Each 3 × 3 convolution sees one position further, and so does each pooling.
        radius += stride * (convolutions + (block < last_block))
    return -(-radius // STRIDE) * STRIDE


@dataclasses.dataclass(frozen=True)
class Tile:
    """A part of an image.

    Attributes:
        seen: rows and columns of the image that the network sees, with the overlap.
        core: rows and columns that belong to this tile only. The cores of all tiles make up the image.
    """

    seen: Window
    core: Window

    def of_layer(self, layer: str) -> tuple[Window, Window]:
        """Returns the core's window at a layer, among the whole image's positions and among the seen ones."""
        stride = layer_stride(layer)
        whole = tuple(slice(core.start // stride, core.stop // stride) for core in self.core)
        among = tuple(
            slice((core.start - seen.start) // stride, core.stop // stride - seen.start // stride)
            for core, seen in zip(self.core, self.seen, strict=True)
        )
        return (whole[0], whole[1]), (among[0], among[1])

    def seen_window(self, layer: str, inner: Window) -> Window:
        """Returns the part of the core that lies in a window, among a layer's seen positions.

        Args:
            layer: the layer.
            inner: a window of the whole image's positions at the layer.
        """
        of_whole, of_seen = self.of_layer(layer)
        rows, columns = (
            slice(min(seen.start + part.start, seen.stop), min(seen.start + part.stop, seen.stop))
            for part, seen in zip(among(inner, of_whole), of_seen, strict=True)
        )
        return rows, columns


def among(inner: Window, window: Window) -> Window:
    """Returns the part of `inner` that lies in `window`, as indices into `window`."""
    rows, columns = (
        slice(max(0, part.start - seen.start), max(0, part.stop - seen.start))
        for part, seen in zip(inner, window, strict=True)
    )
    return rows, columns


def whole(height: int, width: int) -> Tile:
    """Returns the only tile of an image that is not cut."""
    everything = slice(0, height), slice(0, width)
    return Tile(everything, everything)


def tiles(height: int, width: int, side: int, overlap: int) -> Iterator[Tile]:
    """Cuts an image into tiles.

    Args:
        height, width: size of the image in pixels.
        side: side of a tile's core in pixels, a multiple of `STRIDE`. The last core of a row or column is
            larger if less than half a tile is left.
        overlap: pixels that a tile sees beyond its core, a multiple of `STRIDE`.
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
