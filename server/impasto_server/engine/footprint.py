"""Measures on a GPU how much memory an evaluation takes there, for the memory plans."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
from PIL import Image

from impasto_server.engine.devices import is_device_lost, measures_memory, peak_bytes
from impasto_server.engine.memory import ON_A_CPU, Footprint
from impasto_server.engine.network import Network
from impasto_server.engine.recipe import Recipe
from impasto_server.engine.scene import Scene, Style
from impasto_server.engine.session import Session

_log = logging.getLogger(__name__)

_OBJECTIVES = ("neighbours", "balanced")
"""The objectives to measure: those that take most memory on a CPU."""
_SIDES = 256, 512
_MARGIN = 1.2
"""The libraries may need more memory for other sizes than for those that are measured."""


def measured_footprint(network: Network) -> Footprint:
    """Measures the memory of an evaluation; takes about a second.

    Args:
        network: the network in float32, on its device.

    Returns:
        The larger of what was measured, with a margin, and of what is known from a CPU; on devices other than
        NVIDIA's GPUs the latter.

    Raises:
        RuntimeError: the device can no longer be used (see `devices.is_device_lost`).
    """
    if not measures_memory(network.device):
        return ON_A_CPU
    found = Footprint(
        bfloat16=max(ON_A_CPU.bfloat16, _measured(network, "bfloat16")),
        float32=max(ON_A_CPU.float32, _measured(network, "float32")),
    )
    if found != ON_A_CPU:
        _log.info(
            "an evaluation takes more memory than usual bfloat16=%.0f float32=%.0f unit=bytes/pixel",
            found.bfloat16,
            found.float32,
        )
    return found


def _measured(network: Network, precision: Literal["float32", "bfloat16"]) -> float:
    """Returns the memory of a pixel in bytes, with the margin; 0 if it cannot be measured."""
    most = 0.0
    for objective in _OBJECTIVES:
        peaks, pixels = [], []
        for side in _SIDES:
            random = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
            picture = Image.fromarray(random)
            # One evaluation, and so one scale.
            recipe = Recipe(objective=objective, optimizer="adam", evaluations=1, precision=precision)
            try:
                session = Session(recipe, Scene(content=picture, styles=[Style(picture)]), network)
                peak = peak_bytes(network.device, lambda session=session: list(session))  # type: ignore[misc]
            except (RuntimeError, MemoryError) as error:
                if is_device_lost(error):
                    raise
                _log.warning("memory of an evaluation cannot be measured error=%r", str(error))
                return most
            peaks.append(peak)
            pixels.append((side + 2 * session.recipe.definition.margin) ** 2)
        # What does not grow with the picture is planned for separately.
        most = max(most, _MARGIN * (peaks[1] - peaks[0]) / (pixels[1] - pixels[0]))
    return most
