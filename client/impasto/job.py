"""What a server tells: the job, its events, and the server itself. Plain frozen data."""

from __future__ import annotations

import dataclasses
import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from PIL.Image import Image

    from impasto.errors import ImpastoError
    from impasto.recipe import Recipe

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})


@dataclasses.dataclass(frozen=True)
class FeatureNetwork:
    """The network whose features are compared.

    Attributes:
        architecture: "vgg19" or "vgg16".
        weights: how the weights were named: "vgg19", "builtin", or a file's name.
        origin: where they come from, and their licence, in a sentence.
        sha256: of the weights' file, in hexadecimal.
    """

    architecture: str
    weights: str
    origin: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """How an evaluation fits into the device's memory. The picture is the same but for rounding.

    Attributes:
        method: what is done to save memory: "plain" (nothing), "recomputed" (some features are computed
            again instead of being kept) or "tiled" (tile by tile, with the exact gradient).
        estimated_bytes: what the job is estimated to need at its peak, beside the network.
        tile_side: side of a tile in pixels, without its overlap; None if not tiled.
    """

    method: str
    estimated_bytes: int
    tile_side: int | None


@dataclasses.dataclass(frozen=True)
class Progress:
    """Numbers of one evaluation of the loss, or of a piece of the work before a scale's first one.

    Attributes:
        evaluation, evaluations: evaluations made, and to be made in all; 0 are made while the first scale is
            being prepared.
        scale, scales: the scale at work, from 1, and how many there are; two may have the same size.
        width, height: size of this scale in pixels.
        loss: the sum of the weighted terms at the last evaluation; comparable within one scale only. 0 before
            the first evaluation.
        content_loss, style_loss, tv_loss: the terms before their weights.
        device_time: seconds the device has spent on this job.
        time_left: seconds until the result as far as can be told, else None.
        preparing: while the targets of this scale are being found, before its first evaluation, the share of
            them that is found, above 0 and below 1; else None. Only the objective "neighbours" has targets
            that take so long.
    """

    evaluation: int
    evaluations: int
    scale: int
    scales: int
    width: int
    height: int
    loss: float
    content_loss: float
    style_loss: float
    tv_loss: float
    device_time: float
    time_left: float | None
    preparing: float | None = None


@dataclasses.dataclass(frozen=True)
class Preview:
    """The picture as it looks during the work.

    Attributes:
        data: the coded picture.
        format: how it is coded: "jpeg", "png" or "webp".
        width, height: its size in pixels.
        evaluation: the evaluation after which it was taken; 0 is the image started from.
        scale: the scale it was taken at, from 1.
    """

    data: bytes = dataclasses.field(repr=False)
    format: str
    width: int
    height: int
    evaluation: int
    scale: int

    @property
    def image(self) -> Image:
        """The preview decoded; needs Pillow."""
        return decode(self.data)


@dataclasses.dataclass(frozen=True)
class Job:
    """A painting being made, or made, as the server last told.

    Attributes:
        name: "jobs/" and an identifier.
        state: "queued", "running", "paused", "succeeded", "failed" or "cancelled".
        recipe: the recipe as it is run, every field set.
        width, height: size of the result in pixels.
        progress: the newest numbers; None before the first.
        error: why it failed; None in any other state.
        stop_reason: "completed", "converged", "plateau", "not_finite" or "cancelled" once it has ended, else
            None.
        stop_message: the same in a sentence.
        create_time, start_time, end_time: when it was accepted, begun and ended (UTC), else None.
        network: the feature network that paints it; None before work has begun.
        device: the device that paints it; empty before work has begun.
        bfloat16: whether the network runs in bfloat16.
        memory_plan: how its largest scale fits into memory; None before work has begun.
        title: for people.
        priority: among the jobs of one tenant, higher goes first.
        queue_position: its place among the tenant's queued jobs, from 1; None unless it is queued.
        expire_time: when the server will delete it (UTC) once it is final; None for never.
    """

    name: str
    state: str
    recipe: Recipe
    width: int
    height: int
    progress: Progress | None
    error: ImpastoError | None
    stop_reason: str | None
    stop_message: str
    create_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    network: FeatureNetwork | None
    device: str
    bfloat16: bool
    memory_plan: MemoryPlan | None
    title: str = ""
    priority: int = 0
    queue_position: int | None = None
    expire_time: datetime | None = None

    @property
    def is_final(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.state in FINAL_STATES


@dataclasses.dataclass(frozen=True)
class NewestPreview:
    """What there is to see of a job now.

    Attributes:
        job: the job as it now is.
        preview: the newest preview; None if there is none newer than was asked for.
        sequence: to ask with for a newer one.
    """

    job: Job
    preview: Preview | None
    sequence: int


@dataclasses.dataclass(frozen=True)
class NamedStyle:
    """A style that a server offers by name.

    Attributes:
        name: "styles/" and an identifier; `impasto.StyleName(name)` paints with it.
        title: for people.
        width, height: size of the painting in pixels.
        thumbnail: a JPEG of at most 128 pixels.
    """

    name: str
    title: str
    width: int
    height: int
    thumbnail: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class JobChanged:
    """The job was accepted, changed its state, or was steered.

    Attributes:
        job: the job as it now is.
    """

    job: Job


Event = JobChanged | Progress | Preview
"""Something that happened to a job."""


@dataclasses.dataclass(frozen=True)
class Device:
    """Something that paints.

    Attributes:
        name: "cpu", "cuda:0", "mps".
        description: what it is, for people.
        state: "starting" or "ready".
        auto_precision: what precision "auto" means here; None until it is ready.
        resident_jobs: jobs that hold memory there.
        restarts: how often its worker had to be restarted.
        memory_bytes: memory that jobs may use there, in bytes; None until it is ready.
    """

    name: str
    description: str
    state: str
    auto_precision: str | None
    resident_jobs: int
    restarts: int
    memory_bytes: int | None


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a server refuses to go beyond.

    Attributes:
        max_request_bytes: size of a request in bytes.
        max_image_pixels: pixels of an image sent, width times height.
        max_longest_side: `Recipe.longest_side` in pixels.
        max_styles: styles of a job.
        max_evaluations: `Recipe.evaluations`.
        max_unfinished_jobs: jobs accepted and not finished.
        max_regions: regions of a job.
        max_upload_bytes: size of an uploaded image in bytes.
        max_unfinished_jobs_of_tenant: jobs of one tenant accepted and not finished.
        max_stored_bytes_of_tenant: images and results kept for one tenant, in bytes; 0 for no limit but the
            disk.
    """

    max_request_bytes: int
    max_image_pixels: int
    max_longest_side: int
    max_styles: int
    max_evaluations: int
    max_unfinished_jobs: int
    max_regions: int
    max_upload_bytes: int
    max_unfinished_jobs_of_tenant: int
    max_stored_bytes_of_tenant: int


@dataclasses.dataclass(frozen=True)
class ServerInfo:
    """What a server is.

    Attributes:
        version: its version.
        devices: what it paints with.
        network: its feature network; None until a worker has loaded it.
        accepted_formats: coded images it takes: "png", "jpeg", …
        limits: what it refuses to go beyond.
        unfinished_jobs: jobs accepted and not finished.
        tenant: the caller's: the name of its token; empty where the server has none.
    """

    version: str
    devices: tuple[Device, ...]
    network: FeatureNetwork | None
    accepted_formats: tuple[str, ...]
    limits: Limits
    unfinished_jobs: int
    tenant: str


def decode(data: bytes) -> Image:
    """A coded image as a Pillow image."""
    from PIL import Image

    from impasto import png

    with warnings.catch_warnings():
        # A result may be large; the server has its own limit.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        if png.depth(data):
            return png.opened(data)
        image = Image.open(io.BytesIO(data), formats=["JPEG", "WEBP", "TIFF"])
        image.load()
    return image
