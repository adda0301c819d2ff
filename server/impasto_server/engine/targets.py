"""The targets of the losses: the styles' statistics and the content's features, computed once."""

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
from impasto_server.engine.windows import STRIDE, Window, layer_stride, overlap, tiles

_LEAST_PIECE = 256
"""Minimum side of a tile in pixels: smaller tiles are mostly overlap."""

CACHE_BYTES = 256 << 20
"""Default size of a cache of style targets, in bytes."""


class TargetCache:
    """A cache of style targets, shared by sessions and threads.

    If many photographs are painted in one style, the style's targets are computed once for each size.

    Args:
        max_bytes: maximum size in bytes; the least recently used targets are dropped first.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, dict[str, torch.Tensor]] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def get(self, key: str, compute: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Returns the entry of a key; computes and keeps it if it is missing."""
        entry = self.find(key)
        if entry is None:
            entry = compute()
            self.keep(key, entry)
        return entry

    def find(self, key: str) -> dict[str, torch.Tensor] | None:
        """Returns the entry of a key, or None."""
        with self._lock:
            if key not in self._entries:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end(key)
            return self._entries[key]

    def keep(self, key: str, entry: dict[str, torch.Tensor]) -> None:
        """Keeps the entry of a key, unless it is larger than the whole cache."""
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
    """A style at the size for a scale, and the part of it to use.

    Attributes:
        image: (1, 3, H, W), normalised, with the margin.
        mask: (1, 1, H, W) in [0, 1], the part to use; None for all of it.
        margin: pixels on each side that the network sees but that are not part of the style, a multiple of
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
    """Returns statistics of the part of a style to use, by layer.

    Args:
        network: the feature network, in the arithmetic to compute in.
        style: the style.
        layers: the layers.
        with_means: whether to return the mean features above the mean outer product, (C + 1, C), instead of
            the Gram matrix divided by the number of positions, (C, C).
        tile_side: side of a tile in pixels; None for the whole image at once.
        cache: cache to look in first; None for no cache.
    """

    def compute() -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return _style_statistics(network, style, layers, with_means, tile_side)

    if cache is None:
        return compute()
    return cache.get(style_key(network, style, sorted(layers), with_means), compute)


def style_key(network: Network, style: StyleImage, *settings: object) -> str:
    """Returns the cache key of targets that a network computes from a style.

    Args:
        network: the feature network, in the arithmetic to compute in.
        style: the style.
        *settings: other values on which the targets depend; each must have a complete `repr`.
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
                window = tile.seen_window(layer, layer_inner(layer, style.image, style.margin))
                statistic = gram_matrix(features[layer], window)
            else:
                statistic = guided_gram_matrices(core, guide)[0]
            sums[layer] = sums[layer] + statistic if layer in sums else statistic
            positions[layer] = guides[layer].sum()
    return {layer: sums[layer] / positions[layer].clamp_min(1e-6) for layer in layers}


def piece_side(image: torch.Tensor, picture: torch.Tensor, tile_side: int | None) -> int | None:
    """Returns the side of the tiles, in pixels, in which to evaluate an image; None for the whole at once.

    It limits the memory for a style that is much larger than the picture to about that of the picture.

    Args:
        image: (1, 3, H, W), a style or the picture itself.
        picture: (1, 3, H', W'), the picture that is painted.
        tile_side: side of the picture's tiles in pixels; None if it is evaluated at once.
    """
    if tile_side is not None:
        return tile_side
    side = max(_LEAST_PIECE, math.isqrt(picture.shape[2:].numel()) // STRIDE * STRIDE)
    return None if image.shape[2:].numel() <= 1.5 * side**2 else side


def layer_inner(layer: str, image: torch.Tensor, margin: int) -> Window:
    """Returns the window of a layer's positions outside the margin.

    Args:
        layer: the layer.
        image: (1, 3, H, W), with the margin.
        margin: pixels on each side, a multiple of `windows.STRIDE`.
    """
    stride = layer_stride(layer)
    height, width = image.shape[2:]
    return slice(margin // stride, (height - margin) // stride), slice(
        margin // stride, (width - margin) // stride
    )


def layer_guide(mask: torch.Tensor | None, layer: str, image: torch.Tensor, margin: int) -> torch.Tensor:
    """Returns a mask at a layer's positions, 0 in the margin.

    Args:
        mask: (1, 1, H, W) in [0, 1]; None for all of the image.
        layer: the layer.
        image: (1, 3, H, W), with the margin; it gives the size, type and device.
        margin: pixels on each side, a multiple of `windows.STRIDE`.

    Returns:
        (1, H / stride, W / stride), with sizes rounded down as by the poolings.
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
    """Returns the content image's features by layer, (1, C, h, w), in the network's arithmetic.

    Args:
        network: the feature network, in the arithmetic to compute in.
        content: (1, 3, H, W), normalised.
        layers: the layers.
        tile_side: side of a tile in pixels; None for the whole image at once.
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
