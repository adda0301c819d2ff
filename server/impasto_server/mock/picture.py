"""The picture of a mock painting: the content, with its colours moved towards those of the styles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.engine.recipe import Recipe
from impasto_server.worker.handover import Raster

Floats: TypeAlias = npt.NDArray[np.float32]
Samples: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Palette: TypeAlias = tuple[Floats, Floats]
"""Mean and standard deviation of the colours, (3,) each."""

_LUMA = np.array((0.2126, 0.7152, 0.0722), np.float32)


class MockPicture:
    """Computes the picture of a job, at any moment, from the images of the job.

    It depends on the job only, so that the same request always gives the same pixels.
    """

    def __init__(self, spec: pb.JobSpec, pictures: Mapping[str, Raster], seed: int) -> None:
        """
        Args:
            spec: the job's specification.
            pictures: by the fields of the spec that name them; the content has the result's size.
            seed: the recipe's seed.
        """
        self._seed = seed
        styles = [_floats(pictures[f"styles[{index}].image"]) for index in range(len(spec.styles))]
        shares = [style.weight if style.HasField("weight") else 1.0 for style in spec.styles]
        if spec.HasField("texture"):
            self._content = _tiled(styles[0], spec.texture.width, spec.texture.height, seed)
        else:
            self._content = _floats(pictures["content"])
        self._start = _floats(pictures["start_image"]) if spec.HasField("start_image") else None
        self._selection = _floats(pictures["selection"]) if spec.HasField("selection") else None
        # Masks of the content with the palette of each; without regions one palette for everything.
        self._parts: list[tuple[Floats | None, Palette]] = []
        for index, region in enumerate(spec.regions):
            inside = pictures.get(f"regions[{index}].style_mask")
            palette = _palette(styles[region.style], None if inside is None else _floats(inside))
            self._parts.append((_floats(pictures[f"regions[{index}].content_mask"]), palette))
        if not spec.regions:
            means, deviations = zip(*map(_palette, styles), strict=True)
            self._parts.append((None, (_mean(means, shares), _mean(deviations, shares))))

    def samples(self, recipe: Recipe, share: float, bits: int) -> Samples:
        """Returns the picture at its full size, (H, W, 3), painted inside and outside of the selection.

        Args:
            recipe: the recipe with all defaults.
            share: share of the work that is done, 0 to 1.
            bits: bits of each sample, 8 or 16.
        """
        height, width = self._content.shape[:2]
        return _integers(self._painted((width, height), recipe, share), bits)

    def preview(self, size: tuple[int, int], recipe: Recipe, share: float) -> PIL.Image.Image:
        """Returns the picture at (width, height), painted within the selection; else as `samples`."""
        painted = self._painted(size, recipe, share)
        if self._selection is not None:
            content = _resized(self._content, size)
            painted = content + _resized(self._selection, size) * (painted - content)
        return PIL.Image.fromarray(_integers(painted, 8), "RGB")

    def _painted(self, size: tuple[int, int], recipe: Recipe, share: float) -> Floats:
        assert recipe.content_weight is not None
        assert recipe.style_weight is not None
        content = _resized(self._content, size)
        painted, covered = np.zeros_like(content), np.zeros((*content.shape[:2], 1), np.float32)
        for mask, palette in self._parts:
            inside = np.ones_like(covered) if mask is None else _resized(mask, size)
            painted += inside * _recolored(content, palette)
            covered += inside
        goal = painted / np.maximum(covered, 1) + content * np.maximum(1 - covered, 0)
        if recipe.color != "style":
            goal = content + ((goal - content) @ _LUMA)[..., None]
        strength = recipe.style_weight / (recipe.style_weight + recipe.content_weight)
        start = content
        if recipe.start == "noise":
            start = np.random.default_rng(self._seed).random(content.shape, np.float32)
        elif self._start is not None:
            start = _resized(self._start, size)
        result: Floats = start + share * (content + strength * (goal - content) - start)
        return result


def _floats(raster: Raster) -> Floats:
    """Returns a picture as (H, W, 3), or a mask as (H, W, 1), from 0 to 1."""
    samples = raster.samples if raster.samples.ndim == 3 else raster.samples[..., None]
    most = np.float32(np.iinfo(samples.dtype).max)
    result: Floats = samples.astype(np.float32) / most
    return result


def _integers(image: Floats, bits: int) -> Samples:
    scaled: Floats = np.clip(image, 0, 1) * (2**bits - 1) + 0.5
    return scaled.astype(np.uint16) if bits == 16 else scaled.astype(np.uint8)


def _resized(image: Floats, size: tuple[int, int]) -> Floats:
    """Returns an image (H, W, C) resized to (width, height)."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    channels = [PIL.Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(image.shape[2])]
    resized = [channel.resize(size, PIL.Image.Resampling.BILINEAR, reducing_gap=2.0) for channel in channels]
    return np.stack([np.asarray(channel, np.float32) for channel in resized], axis=-1)


def _tiled(style: Floats, width: int, height: int, seed: int) -> Floats:
    """Returns a style repeated in both directions, from a corner that the seed chooses."""
    top, left = np.random.default_rng(seed).integers(0, style.shape[:2])
    rows = (np.arange(height) + top) % style.shape[0]
    columns = (np.arange(width) + left) % style.shape[1]
    tiles: Floats = style[rows][:, columns]
    return tiles


def _palette(style: Floats, inside: Floats | None = None) -> Palette:
    """Returns the palette of a style, or of the part that a mask selects."""
    pixels = style.reshape(-1, 3)
    if inside is not None:
        selected = _resized(inside, (style.shape[1], style.shape[0])).reshape(-1) >= 0.5
        pixels = pixels[selected] if selected.any() else pixels
    return pixels.mean(axis=0), pixels.std(axis=0)


def _mean(values: Sequence[Floats], shares: Sequence[float]) -> Floats:
    return np.average(np.stack(values), axis=0, weights=shares).astype(np.float32)


def _recolored(image: Floats, palette: Palette) -> Floats:
    """Returns an image with the mean and the standard deviation of a palette in each channel."""
    mean, deviation = palette
    pixels = image.reshape(-1, 3)
    result: Floats = (image - pixels.mean(axis=0)) * (deviation / (pixels.std(axis=0) + 1e-3)) + mean
    return result
