"""What the image is to be like: the styles' statistics and the content's features, computed once."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from impasto_server.engine.losses import gram_matrix, guided_gram_matrices, moments
from impasto_server.engine.network import Network
from impasto_server.engine.windows import STRIDE, Window, among, layer_stride, overlap, tiles

_LEAST_PIECE = 256
"""Pixels of a side: smaller pieces are mostly overlap."""

CACHE_BYTES = 256 << 20
"""What a cache of style targets holds by default."""


class TargetCache:
    """Style statistics by what they were computed from, shared by sessions and threads.

    Painting many photographs in one style computes the style once for each size.

    Args:
        max_bytes: what it may hold; the least recently used go first.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, dict[str, torch.Tensor]] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def get(self, key: str, compute: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """The entry of a key; computed and kept if it is not there."""
        entry = self.find(key)
        if entry is None:
            entry = compute()
            self.keep(key, entry)
        return entry

    def find(self, key: str) -> dict[str, torch.Tensor] | None:
        """The entry of a key, or None."""
        with self._lock:
            if key not in self._entries:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end(key)
            return self._entries[key]

    def keep(self, key: str, entry: dict[str, torch.Tensor]) -> None:
        """Keeps the entry of a key, if there is room."""
        size = _bytes(entry)
        with self._lock:
            if key not in self._entries and size <= self._max_bytes:
                self._entries[key] = entry
                self._bytes += size
            while self._bytes > self._max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= _bytes(oldest)


def _bytes(entry: dict[str, torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in entry.values())


@dataclasses.dataclass(frozen=True)
class StyleImage:
    """A style at the size of a scale, and the part of it that counts.

    Attributes:
        image: (1, 3, H, W), normalised.
        mask: (1, 1, H, W) in [0, 1], or None for all of it.
        margin: pixels on each side that the network sees and that do not count, a multiple of
            `windows.STRIDE`.
    """

    image: torch.Tensor
    mask: torch.Tensor | None
    margin: int = 0


def style_statistics(
    network: Network,
    style: StyleImage,
    layers: Sequence[str],
    *,
    with_means: bool,
    tile_side: int | None,
    cache: TargetCache | None,
) -> dict[str, torch.Tensor]:
    """Statistics of a style over its positions that count, by layer.

    Args:
        network: in the arithmetic to compute in.
        style: the painting.
        layers: where.
        with_means: give the mean features above the mean outer product, (C + 1, C), instead of the Gram
            matrix over its positions, (C, C).
        tile_side: of the pieces it is seen in, in pixels; None for whole.
        cache: asked first.
    """

    def compute() -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return _style_statistics(network, style, layers, with_means, tile_side)

    if cache is None:
        return compute()
    return cache.get(style_key(network, style, sorted(layers), with_means), compute)


def style_key(network: Network, style: StyleImage, *settings: object) -> str:
    """The key of what a network sees in a style.

    Args:
        network: in the arithmetic to compute in.
        style: the painting.
        *settings: what else it depends on, with a `repr` that says all of it.
    """
    digest = hashlib.sha256()
    for tensor in (style.image, style.mask):
        if tensor is not None:
            digest.update(repr(tensor.shape).encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    digest.update(repr((settings, style.margin, network.sha256, network.dtype, network.device)).encode())
    return digest.hexdigest()


def _style_statistics(
    network: Network,
    style: StyleImage,
    layers: Sequence[str],
    with_means: bool,
    tile_side: int | None,
) -> dict[str, torch.Tensor]:
    sums: dict[str, torch.Tensor] = {}
    positions: dict[str, torch.Tensor] = {}
    height, width = style.image.shape[2:]
    guides = {layer: layer_guide(style.mask, layer, style.image, style.margin) for layer in layers}
    for tile in tiles(height, width, tile_side or max(height, width), overlap(network.architecture, layers)):
        rows, columns = tile.seen
        features = network(style.image[:, :, rows, columns], layers)
        for layer in layers:
            of_whole, among_seen = tile.of_layer(layer)
            core = features[layer][:, :, among_seen[0], among_seen[1]]
            guide = guides[layer][:, of_whole[0], of_whole[1]]
            if with_means:
                statistic = moments(core, guide)[0]
            elif style.mask is None:
                inner = among(layer_inner(layer, style.image, style.margin), of_whole)
                statistic = gram_matrix(core[:, :, inner[0], inner[1]])
            else:
                statistic = guided_gram_matrices(core, guide)[0]
            sums[layer] = sums[layer] + statistic if layer in sums else statistic
            positions[layer] = guides[layer].sum()
    return {layer: sums[layer] / positions[layer].clamp_min(1e-6) for layer in layers}


def piece_side(image: torch.Tensor, picture: torch.Tensor, tile_side: int | None) -> int | None:
    """Side of the pieces, in pixels, in which an image is seen beside a picture; None for whole.

    A style that is much larger than the picture takes no more memory than the picture then, or than a small
    one.

    Args:
        image: (1, 3, H, W).
        picture: (1, 3, H', W').
        tile_side: of the picture's tiles; None if it is seen whole.
    """
    if tile_side is not None:
        return tile_side
    side = max(_LEAST_PIECE, math.isqrt(picture.shape[2:].numel()) // STRIDE * STRIDE)
    return None if image.shape[2:].numel() <= 1.5 * side**2 else side


def layer_inner(layer: str, image: torch.Tensor, margin: int) -> Window:
    """The positions of a layer that are not in the margin.

    Args:
        layer: whose positions.
        image: (1, 3, H, W), the margin included.
        margin: pixels on each side, a multiple of `windows.STRIDE`.
    """
    stride = layer_stride(layer)
    height, width = image.shape[2:]
    return slice(margin // stride, (height - margin) // stride), slice(
        margin // stride, (width - margin) // stride
    )


def layer_guide(mask: torch.Tensor | None, layer: str, image: torch.Tensor, margin: int) -> torch.Tensor:
    """A mask at a layer's positions, 0 in the margin.

    Args:
        mask: (1, 1, H, W) in [0, 1], or None for all of the image.
        layer: whose positions.
        image: (1, 3, H, W), the margin included: gives size, type and device.
        margin: pixels on each side, a multiple of `windows.STRIDE`.

    Returns:
        (1, H / stride, W / stride), sizes rounded down as the poolings do.
    """
    stride = layer_stride(layer)
    height, width = (side // stride for side in image.shape[2:])
    guide = torch.zeros((1, height, width), dtype=image.dtype, device=image.device)
    rows, columns = layer_inner(layer, image, margin)
    guide[:, rows, columns] = 1 if mask is None else F.avg_pool2d(mask, stride)[:, 0, rows, columns]
    return guide


def content_features(
    network: Network, content: torch.Tensor, layers: Sequence[str], *, tile_side: int | None
) -> dict[str, torch.Tensor]:
    """The content image's features by layer, (1, C, H, W), in the network's arithmetic.

    Args:
        network: in the arithmetic to compute in.
        content: (1, 3, H, W), normalised.
        layers: where.
        tile_side: of the pieces it is seen in, in pixels; None for whole.
    """
    height, width = content.shape[2:]
    if tile_side is None:
        with torch.no_grad():
            features: dict[str, torch.Tensor] = network(content, layers)
        return features
    whole: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for tile in tiles(height, width, tile_side, overlap(network.architecture, layers)):
            of_tile = network(content[:, :, tile.seen[0], tile.seen[1]], layers)
            for layer, f in of_tile.items():
                if layer not in whole:
                    stride = layer_stride(layer)
                    shape = (1, f.shape[1], height // stride, width // stride)
                    whole[layer] = f.new_empty(shape).contiguous(memory_format=torch.channels_last)
                of_whole, among = tile.of_layer(layer)
                whole[layer][:, :, of_whole[0], of_whole[1]] = f[:, :, among[0], among[1]]
    return whole
