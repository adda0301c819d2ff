"""Forecasts what a painting takes before it is painted: its memory, and its time on the device.

The time of a piece of work is

    (overhead + operations · pace) · correction

The overhead and the pace are measured once, with the network (`measured_speed`). The operations are counted
from the recipe and the sizes. The correction is what real paintings have taken so far, as a multiple of the
forecast, for the same kind of work at the most similar size.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Mapping, Sequence

import torch

from impasto_server.engine.flops import convolution_flops, convolutions
from impasto_server.engine.memory import ON_A_CPU, DoesNotFit, Footprint, MemoryPlan, memory_plans
from impasto_server.engine.network import Network
from impasto_server.engine.recipe import Recipe, RecipeError, style_size
from impasto_server.engine.scales import Scale
from impasto_server.engine.weights import Architecture
from impasto_server.engine.windows import overlap, tiles

HISTORY = 12
"""Number of pairs of images that L-BFGS remembers, if there is memory for them."""

Size = tuple[int, int]
"""Width and height in pixels."""

# Measured on a CPU (Xeon with AMX, 1 and 2 threads), as multiples of the network's time for the same pixels.
_EVALUATIONS = {"neighbours": 1.15, "balanced": 1.3, "gatys": 1.3, "wasserstein": 1.3, "report": 1.3}
_TARGETS = {"float32": 2.9, "bfloat16": 4.3}
"""For "neighbours", whose search always computes in float32."""
_LAST_TARGETS = 0.8
"""Time of the search of the last pass, as a multiple of that of another scale of its size."""
_ROOT_OPERATIONS = 2.5e10
"""Operations of the square roots of matrices in an evaluation with "wasserstein", whatever the size."""
_MEASURED = "relu4_2"
"""Layer up to which the network is measured."""
_MEMORY = 0.5
"""Weight of a new correction; the rest is the old one's."""


def scale_plans(
    recipe: Recipe,
    scale: Scale,
    *,
    architecture: Architecture,
    bfloat16: bool,
    snapshots: bool,
    held_bytes: int,
    memory_bytes: int | None,
    footprint: Footprint = ON_A_CPU,
) -> list[MemoryPlan]:
    """Returns the memory plans of a scale that fit, the fastest first.

    Args:
        recipe: resolved recipe.
        scale: the scale.
        architecture: of the network.
        bfloat16: whether the network computes in bfloat16.
        snapshots: whether checkpoints that are being written use the same memory, as on a CPU.
        held_bytes: memory of the pictures in the scene.
        memory_bytes: memory that may be used, without the network; None for no limit.
        footprint: memory of an evaluation on the device.

    Raises:
        RecipeError: no plan fits; the cause is `DoesNotFit`.
    """
    width, height = scale.painted_size
    try:
        return memory_plans(
            width,
            height,
            bfloat16=bfloat16,
            history=HISTORY if recipe.optimizer == "lbfgs" else 0,
            overlap=overlap(architecture, _layers(recipe)),
            available_bytes=memory_bytes,
            snapshots=snapshots,
            held_bytes=held_bytes,
            target_values=recipe.definition.target_values,
            footprint=footprint,
        )
    except DoesNotFit as error:
        assert memory_bytes is not None
        raise RecipeError(
            "longest_side",
            f"of {recipe.longest_side} px needs about {_mib(error.needed_bytes)} MiB of memory on the "
            f"device, but {_mib(memory_bytes)} MiB are available; give a smaller one, or use adam",
        ) from error


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast the network is on a device in one arithmetic.

    Attributes:
        overhead: seconds of an evaluation of an image without pixels.
        pace: seconds of an operation; infinite if the arithmetic is not used on the device.
    """

    overhead: float
    pace: float


@dataclasses.dataclass(frozen=True)
class Work:
    """A piece of work of a painting, which is done once or several times.

    Attributes:
        kind: what is done; work of one kind at similar sizes has the same correction.
        precision: arithmetic of the network, "float32" or "bfloat16".
        pixels: size of the scale, with its margin.
        operations: floating-point operations of doing it once.
        times: how often it is done.
    """

    kind: str
    precision: str
    pixels: int
    operations: float
    times: int = 1


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The sizes on which the time of a painting depends, in pixels.

    Attributes:
        part: (width, height) of the part that is painted, in the result.
        full: (width, height) of the whole result.
        styles: (width, height) of each painting that is searched or compared: of each style, or with regions
            of the style of each region.
    """

    part: Size
    full: Size
    styles: Sequence[Size]


class Paces:
    """What is known about the speed of a device. Safe to use from several threads."""

    def __init__(self, speeds: Mapping[str, Speed]) -> None:
        """
        Args:
            speeds: by the arithmetic, "float32" and "bfloat16".
        """
        self._speeds = speeds
        # Real times as multiples of the forecast, by kind and precision, then by the logarithm of the size.
        self._corrections: dict[tuple[str, str], dict[int, float]] = {}
        self._lock = threading.Lock()

    def seconds(self, works: Sequence[Work]) -> float:
        """Returns how long the device takes for some work; infinite if that is not known."""
        return sum(self._counted(work) * self._correction(work) * work.times for work in works)

    def note(self, work: Work, seconds: float) -> None:
        """Learns from a piece of work that took so many seconds, for all its times together."""
        counted = self._counted(work) * work.times
        if not 0 < counted < math.inf:
            return
        ratio = seconds / counted
        with self._lock:
            known = self._corrections.setdefault((work.kind, work.precision), {})
            before = known.get(_octave(work))
            known[_octave(work)] = ratio if before is None else before ** (1 - _MEMORY) * ratio**_MEMORY

    def _counted(self, work: Work) -> float:
        speed = self._speeds[work.precision]
        return speed.overhead + work.operations * speed.pace

    def _correction(self, work: Work) -> float:
        """The correction at the most similar size; before there is one, that of all other work, or 1."""
        octave = _octave(work)
        with self._lock:
            known = self._corrections.get((work.kind, work.precision))
            if known:
                return known[min(known, key=lambda other: (abs(other - octave), -other))]
            others = [math.log(ratio) for of_kind in self._corrections.values() for ratio in of_kind.values()]
        return math.exp(sum(others) / len(others)) if others else 1.0


def works(
    recipe: Recipe,
    scales: Sequence[Scale],
    tile_sides: Sequence[int | None],
    sizes: Sizes,
    architecture: Architecture,
) -> list[Work]:
    """Returns all work of a painting.

    Args:
        recipe: resolved recipe; its precision is not "auto".
        scales: the scales with their evaluations.
        tile_sides: for each scale, the side of its tiles in pixels, or None.
        sizes: the sizes.
        architecture: of the network.
    """
    found = []
    for scale, tile_side in zip(scales, tile_sides, strict=True):
        found.append(targets_work(recipe, scale, sizes, architecture))
        found.append(evaluations_work(recipe, scale, tile_side, scale.evaluations, architecture))
    return found


def evaluations_work(
    recipe: Recipe, scale: Scale, tile_side: int | None, times: int, architecture: Architecture
) -> Work:
    """Returns the work of so many evaluations at a scale; the other arguments are those of `works`."""
    width, height = scale.painted_size
    pixels = float(scale.pixels)
    if tile_side is not None:
        margin = overlap(architecture, _layers(recipe))
        pixels = sum(_area(*tile.seen) for tile in tiles(height, width, tile_side, margin))
        if recipe.definition.content_layers:
            # A first pass computes the sums over all tiles, without their gradients.
            pixels *= 1.5
    operations = pixels * _operations(recipe, architecture) * _EVALUATIONS[recipe.objective]
    if recipe.objective == "wasserstein":
        operations += _ROOT_OPERATIONS * (1 if recipe.precision == "float32" else 2)
    return Work(recipe.objective, str(recipe.precision), scale.pixels, operations, times)


def targets_work(recipe: Recipe, scale: Scale, sizes: Sizes, architecture: Architecture) -> Work:
    """Returns the work of finding the targets of a scale; the arguments are those of `works`."""
    definition = recipe.definition
    zoom = scale.width / sizes.part[0]
    pixels = 0.0
    for size in sizes.styles:
        width, height = scale.size
        if not definition.style_as_content:
            kept = 1 - 2 * definition.style_crop
            width, height = style_size(size, sizes.full, recipe.style_scale, zoom=zoom)
            width, height = round(width * kept), round(height * kept)
        pixels += scale.pixels + (width + 2 * scale.margin) * (height + 2 * scale.margin)
    factor = _TARGETS[str(recipe.precision)] if recipe.objective == "neighbours" else 1.0
    factor *= _LAST_TARGETS if scale.finishing else 1.0
    # The network's features are computed without gradients: half of an evaluation's operations.
    operations = pixels * _operations(recipe, architecture) / 2 * factor
    kind = f"{'last ' if scale.finishing else ''}targets of {recipe.objective}"
    return Work(kind, str(recipe.precision), scale.pixels, operations)


def measured_speeds(network: Network, convolution_seconds: Mapping[str, float]) -> dict[str, Speed]:
    """Measures the network on its device; takes a fraction of a second.

    Args:
        network: the network in float32.
        convolution_seconds: the time of the same convolution in each arithmetic. Only the fastest arithmetic
            is measured with the network; the others are taken to be slower by as much as this convolution.

    Returns:
        By the arithmetic, "float32" and "bfloat16".
    """
    fastest = min(convolution_seconds, key=convolution_seconds.__getitem__)
    speed = _measured_speed(network.in_dtype(torch.bfloat16) if fastest == "bfloat16" else network)
    return {
        precision: Speed(speed.overhead, speed.pace * seconds / convolution_seconds[fastest])
        for precision, seconds in convolution_seconds.items()
    }


def _measured_speed(network: Network) -> Speed:
    small, large = (64, 512) if network.device.type == "cuda" else (64, 128)
    of_small, of_large = (_network_seconds(network, side) for side in (small, large))
    # Between all time for the pixels and half of it, because small images can be slow by chance.
    per_pixel = (of_large - of_small) / (large**2 - small**2)
    per_pixel = min(max(per_pixel, 0.5 * of_large / large**2), of_large / large**2)
    operations = convolution_flops(convolutions(network.architecture, large, large, _MEASURED))
    return Speed(of_large - per_pixel * large**2, per_pixel * large**2 / operations)


def _network_seconds(network: Network, side: int) -> float:
    image = torch.zeros((1, 3, side, side), device=network.device)
    best = math.inf
    # The first of them chooses the kernels.
    for _ in range(3):
        begin = time.perf_counter()
        gradient = network.trunk(image, [_MEASURED]).gradient(
            lambda layer, features, gradient: gradient.add_(features, alpha=2)
        )
        # Waits for the device.
        float(gradient[0, 0, 0, 0])
        best = min(best, time.perf_counter() - begin)
    return best


def _operations(recipe: Recipe, architecture: Architecture) -> float:
    """Returns the network's operations for each pixel of an evaluation."""
    last = max(_layers(recipe), key=lambda layer: (layer[4], layer[6]))
    side = 256
    return convolution_flops(convolutions(architecture, side, side, last)) / side**2


def _layers(recipe: Recipe) -> list[str]:
    return [layer for layers in recipe.compared_layers for layer, _ in layers]


def _area(rows: slice, columns: slice) -> int:
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def _octave(work: Work) -> int:
    return round(math.log2(max(1, work.pixels)))


def _mib(size: int) -> int:
    return math.ceil(size / (1 << 20))
