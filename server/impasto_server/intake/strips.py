"""Converts libvips images to numpy arrays: whole, or strip by strip to save memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyvips

Samples = np.ndarray[Any, Any]

_STRIP_BYTES = 2**20
_FORMATS = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}


def array(image: pyvips.Image) -> Samples:
    """A whole image as an array (height, width, bands)."""
    samples = np.frombuffer(image.write_to_memory(), _FORMATS[image.format])
    return samples.reshape(image.height, image.width, image.bands)


def strips(image: pyvips.Image) -> Iterator[Samples]:
    """An image in strips from the top, arrays (rows, width, bands)."""
    dtype = np.dtype(_FORMATS[image.format])
    region = pyvips.Region.new(image)
    most = max(1, _STRIP_BYTES // (image.width * image.bands * dtype.itemsize))
    for top in range(0, image.height, most):
        rows = min(most, image.height - top)
        samples = np.frombuffer(region.fetch(0, top, image.width, rows), dtype)
        yield samples.reshape(rows, image.width, image.bands)
