"""Measures what the service adds to the engine's time, with a real server, and the memory of its worker."""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Literal

import impasto
from impasto_server.bench.pictures import Picture
from impasto_server.bench.timing import Timing
from impasto_server.engine import Network, Recipe, Scene, Session, Style
from impasto_server.engine.targets import TargetCache

_WARM_UP = 6
"""Evaluations of a warm-up, enough for at least one at each scale."""


@dataclasses.dataclass(frozen=True)
class Overhead:
    """Times of a painting with a server and previews, and with the engine alone, in seconds.

    Attributes:
        longest_side: longer side of the painting in pixels.
        wall: time from the request to the last event.
        device: time that the server's device spent on it, according to the server.
        engine: time of the engine alone, from the decoded images to the picture.
        previews: number of previews of the last painting.
    """

    longest_side: int
    wall: Timing
    device: Timing
    engine: Timing
    previews: int

    @property
    def over_engine(self) -> float:
        """Time that the service adds, as a share of the engine's time: the ratio of the medians less 1."""
        return self.wall.median / self.engine.median - 1

    @property
    def over_device(self) -> float:
        """Time that the service adds, as a share of its device's own time."""
        return self.wall.median / self.device.median - 1


@dataclasses.dataclass(frozen=True)
class ServiceFigures:
    """The measurements of a private server.

    Attributes:
        overheads: one for each size.
        first_preview: time from the request to the first preview after an evaluation, in seconds.
        peak_rss_mib: peak memory of its worker, in MiB.
    """

    overheads: list[Overhead]
    first_preview: Timing
    peak_rss_mib: float


def service_figures(
    content: Picture,
    style: Picture,
    network: Network,
    *,
    weights: str,
    device: str,
    auto_precision: Literal["float32", "bfloat16"],
    sides: Sequence[int],
    evaluations: int | None,
    rounds: int,
    first_previews: int,
    say: Callable[[str], None] = lambda text: None,
) -> ServiceFigures:
    """Starts a private server and paints with it and with the engine in turn.

    Args:
        content, style: the pictures.
        network: the engine's feature network, on the device.
        weights: weights of the same network, for the server.
        device: device of both.
        auto_precision: the meaning of precision "auto" for the engine.
        sides: longer sides of the paintings in pixels. The worker's memory is that for the largest.
        evaluations: evaluations of each painting; None for a draft.
        rounds: number of paintings at each size, with each of the two in turn.
        first_previews: number of measurements of the first preview, at the largest size.
        say: called with a text about what is being measured.
    """
    effort: Literal["draft"] | None = "draft" if evaluations is None else None
    with impasto.PrivateServer(weights=weights, device=device) as server:
        say("starting a server")
        with impasto.Client(server.address) as client:
            overheads = []
            for side in sides:
                cache = TargetCache()
                walls, devices, engines, previews = [], [], [], 0
                # A short painting with each first, which waits for the worker and fills caches.
                warm_up = Recipe(longest_side=side, evaluations=_WARM_UP)
                _through_service(client, content, style, warm_up)
                _by_engine(content, style, warm_up, network, auto_precision, cache)
                recipe = Recipe(longest_side=side, effort=effort, evaluations=evaluations)
                for turn in range(rounds):
                    say(f"{side} px with the service and with the engine alone, {turn + 1} of {rounds}")
                    wall, on_device, previews = _through_service(client, content, style, recipe)
                    walls.append(wall)
                    devices.append(on_device)
                    engines.append(_by_engine(content, style, recipe, network, auto_precision, cache))
                overheads.append(
                    Overhead(side, Timing.of(walls), Timing.of(devices), Timing.of(engines), previews)
                )
            say("the first preview")
            waits = [_first_preview(client, content, style, max(sides)) for _ in range(first_previews)]
    return ServiceFigures(overheads, Timing.of(waits), _peak_rss_mib_of_children())


def _through_service(
    client: impasto.Client, content: Picture, style: Picture, recipe: Recipe
) -> tuple[float, float, int]:
    """Returns the wall time to the last event, the device's time, and the number of previews."""
    begin = time.perf_counter()
    previews = 0
    ended = begin
    with client.stylize(
        content.data,
        style.data,
        size=recipe.longest_side,
        effort=recipe.effort,
        evaluations=recipe.evaluations,
    ) as painting:
        for event in painting:
            previews += isinstance(event, impasto.Preview)
            ended = time.perf_counter()
        assert painting.progress is not None
        return ended - begin, painting.progress.device_time, previews


def _by_engine(
    content: Picture,
    style: Picture,
    recipe: Recipe,
    network: Network,
    auto_precision: Literal["float32", "bfloat16"],
    cache: TargetCache,
) -> float:
    begin = time.perf_counter()
    session = Session(
        recipe,
        Scene(content=content.image, styles=[Style(style.image)]),
        network,
        auto_precision=auto_precision,
        cache=cache,
    )
    for _ in session:
        pass
    session.picture()
    return time.perf_counter() - begin


def _first_preview(client: impasto.Client, content: Picture, style: Picture, side: int) -> float:
    begin = time.perf_counter()
    with client.stylize(content.data, style.data, size=side) as painting:
        for event in painting:
            if isinstance(event, impasto.Preview) and event.evaluation >= 1:
                return time.perf_counter() - begin
    raise impasto.ImpastoError("the painting ended without a preview")


def _peak_rss_mib_of_children() -> float:
    """Returns the peak memory in MiB of the largest ended child process: the worker with the network."""
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # The unit is KiB, but on macOS bytes.
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)
