"""Resizes pictures: colours with Lanczos, alpha and masks with kernels that do not ring."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pyvips

from impasto_server.intake.strips import Samples

Kernel = Literal["lanczos3", "linear", "nearest"]

_SUPPORTS = {"lanczos3": 3.0, "linear": 1.0}
_ROWS = 64
# A picture more than this many times larger than wanted is first averaged in boxes: the difference cannot be
# seen, and it takes a fraction of the time.
_PURE_FACTOR = 4.0


def shrunk(image: pyvips.Image, width: int, height: int, kernel: Kernel) -> pyvips.Image:
    """Shrinks an image to (width, height) where it is larger. The result, too, is read from the top."""
    across, down = min(1.0, width / image.width), min(1.0, height / image.height)
    if across == down == 1.0:
        return image
    deep = image.format == "ushort"
    if deep:
        # The weights with which libvips resizes 16 bits sum to 1 ± 1/250: white would not stay white.
        image = image.cast("float")
    smaller = image.resize(across, vscale=down, kernel=kernel, gap=_PURE_FACTOR)
    if deep:
        smaller = smaller.linear(1, 0.5).cast("ushort")
    wanted = min(width, image.width), min(height, image.height)
    if (smaller.width, smaller.height) != wanted:
        smaller = smaller.embed(0, 0, *wanted, extend="copy")
    return smaller


def box_shrunk(strips: Iterable[Samples], size: tuple[int, int], width: int, height: int) -> Samples:
    """Shrinks levels to (width, height). Each new level is the mean of those that it covers.

    Args:
        strips: the levels from the top, arrays (rows, width), uint8.
        size: (width, height) of all strips together, at least the wanted size.
    """
    columns, rows = _bounds(size[0], width), _bounds(size[1], height)
    result = np.empty((height, width), np.uint8)
    total = np.zeros(width, np.uint64)
    row, top = 0, 0
    for strip in strips:
        begin = 0
        while begin < len(strip):
            end = min(len(strip), int(rows[row + 1]) - top)
            # Rows first: numpy adds whole rows faster.
            total += np.add.reduceat(strip[begin:end].sum(0, np.uint32), columns[:-1], dtype=np.uint64)
            if top + end == rows[row + 1]:
                area = np.diff(columns) * (rows[row + 1] - rows[row])
                result[row] = (total + area // 2) // area
                total[:] = 0
                row += 1
            begin = end
        top += len(strip)
    return result


def _bounds(length: int, wanted: int) -> Samples:
    """The first index, along an axis, that each new sample covers, and the end of the last one."""
    bounds: Samples = np.floor(np.arange(wanted + 1) * (length / wanted) + 0.5).astype(np.int64)
    return bounds


def box_resized(levels: Samples, width: int, height: int) -> Samples:
    """Resizes levels (height, width), uint8: averages them to shrink, repeats them to enlarge."""
    fewer = min(height, levels.shape[0]), min(width, levels.shape[1])
    if fewer != levels.shape:
        levels = box_shrunk([levels], (levels.shape[1], levels.shape[0]), fewer[1], fewer[0])
    rows, columns = (
        np.minimum(((np.arange(wanted) + 0.5) * (length / wanted)).astype(np.int64), length - 1)
        for wanted, length in zip((height, width), levels.shape, strict=True)
    )
    resized: Samples = levels[rows][:, columns]
    return resized


def enlarged(samples: Samples, width: int, height: int, kernel: Literal["lanczos3", "linear"]) -> Samples:
    """Enlarges samples to (width, height).

    Args:
        samples: (height, width) or (height, width, channels), uint8 or uint16.
        width, height: no smaller than those of the samples.
    """
    if samples.shape[:2] == (height, width):
        return samples
    flat = samples.reshape(*samples.shape[:2], -1)
    rows, row_weights = _taps(flat.shape[0], height, kernel)
    columns, column_weights = _taps(flat.shape[1], width, kernel)
    result = np.empty((height, width, flat.shape[2]), samples.dtype)
    for top in range(0, height, _ROWS):
        bottom = min(height, top + _ROWS)
        strip = _combined(flat, rows[top:bottom], row_weights[top:bottom], axis=0)
        strip = _combined(strip, columns, column_weights, axis=1)
        np.clip(np.rint(strip), 0, np.iinfo(samples.dtype).max, out=strip)
        result[top:bottom] = strip
    return result.reshape(height, width, *samples.shape[2:])


def _taps(length: int, wanted: int, kernel: str) -> tuple[Samples, Samples]:
    """The indices of the old samples that make each new one along an axis, and their weights (sum 1)."""
    support = _SUPPORTS[kernel]
    centres = (np.arange(wanted) + 0.5) * (length / wanted) - 0.5
    first = np.ceil(centres - support).astype(np.int64)
    indices = first[:, None] + np.arange(math.ceil(2 * support))
    distances = np.abs(indices - centres[:, None])
    if kernel == "linear":
        weights = np.maximum(0, 1 - distances)
    else:
        weights = np.where(distances < 3, np.sinc(distances) * np.sinc(distances / 3), 0)
    weights[(indices < 0) | (indices >= length)] = 0
    weights /= weights.sum(1, keepdims=True)
    return indices.clip(0, length - 1), weights.astype(np.float32)


def _combined(samples: Samples, indices: Samples, weights: Samples, axis: int) -> Samples:
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    total: Samples | None = None
    for tap in range(indices.shape[1]):
        part = np.take(samples, indices[:, tap], axis).astype(np.float32) * weights[:, tap].reshape(shape)
        total = part if total is None else total + part
    assert total is not None
    return total
