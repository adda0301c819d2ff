"""What the service adds to the engine: the same paintings through a real server, and its memory."""

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
"""Evaluations: at least one at each scale."""


@dataclasses.dataclass(frozen=True)
class Overhead:
    """A painting through a server with previews, and by the engine alone, in turn.

    Attributes:
        longest_side: of the painting, in pixels.
        wall: from the request to the last event, in seconds.
        device: what the device spent on it, as the server says.
        engine: the engine alone, from the decoded images to the picture.
        previews: that came in the last painting.
    """

    longest_side: int
    wall: Timing
    device: Timing
    engine: Timing
    previews: int

    @property
    def over_engine(self) -> float:
        """What the service adds to the engine's time, as a share of it: the ratio of the medians, less 1."""
        return self.wall.median / self.engine.median - 1

    @property
    def over_device(self) -> float:
        """What the service adds to its device's own time, as a share of it."""
        return self.wall.median / self.device.median - 1


@dataclasses.dataclass(frozen=True)
class ServiceFigures:
    """What was measured of a private server.

    Attributes:
        overheads: by size.
        first_preview: from the request to the first preview after an evaluation, in seconds.
        peak_rss_mib: the most memory that its worker has held, in MiB.
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
        network: what the engine alone paints with, on the device.
        weights: the same for the server.
        device: for both.
        auto_precision: what the engine takes the precision "auto" for.
        sides: sizes of the paintings, in pixels. The worker's memory is for the largest.
        evaluations: of each; None for a draft.
        rounds: how often the two take turns at each size.
        first_previews: how often the first preview is waited for, at the largest size.
        say: told what goes on.
    """
    effort: Literal["draft"] | None = "draft" if evaluations is None else None
    with impasto.PrivateServer(weights=weights, device=device) as server:
        say("starting a server")
        with impasto.Client(server.address) as client:
            overheads = []
            for side in sides:
                cache = TargetCache()
                walls, devices, engines, previews = [], [], [], 0
                # First a short painting by each: it waits for the worker, and fills caches.
                warm_up = Recipe(longest_side=side, evaluations=_WARM_UP)
                _through_service(client, content, style, warm_up)
                _by_engine(content, style, warm_up, network, auto_precision, cache)
                recipe = Recipe(longest_side=side, effort=effort, evaluations=evaluations)
                for turn in range(rounds):
                    say(f"{side} px through the service and by the engine alone, {turn + 1} of {rounds}")
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
    """Wall time to the last event, the device's time, and how many previews came."""
    begin = time.perf_counter()
    previews = 0
    ended = begin
    with client.stylize(
        content.data,
        style.data,
        longest_side=recipe.longest_side,
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
    with client.stylize(content.data, style.data, longest_side=side) as painting:
        for event in painting:
            if isinstance(event, impasto.Preview) and event.evaluation >= 1:
                return time.perf_counter() - begin
    raise impasto.ImpastoError("the painting ended without a preview")


def _peak_rss_mib_of_children() -> float:
    """Of the largest process that has ended below this one: the worker, which holds the network."""
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # In KiB, but on macOS in bytes.
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)
