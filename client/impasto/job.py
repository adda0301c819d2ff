"""What a server sends: jobs, events, and facts about itself. Plain frozen data."""

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
    """The network whose features the loss compares.

    Attributes:
        architecture: "vgg19" or "vgg16".
        weights: name of the weights: "vgg19", "builtin", or a file's name.
        origin: origin and licence of the weights, in a sentence.
        sha256: SHA-256 of the weights' file, in hexadecimal.
    """

    architecture: str
    weights: str
    origin: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """How an evaluation fits into the device's memory. Apart from rounding, it does not change the picture.

    Attributes:
        method: method to save memory: "plain" (none), "recomputed" (some features are computed twice instead
            of being kept) or "tiled" (tile by tile, with the exact gradient).
        estimated_bytes: estimate of the job's peak memory in bytes, without the network.
        tile_side: side of a tile in pixels, without its overlap; None if not tiled.
    """

    method: str
    estimated_bytes: int
    tile_side: int | None


@dataclasses.dataclass(frozen=True)
class Progress:
    """The state of a painting after an evaluation of the loss, or during the preparation of a scale.

    Attributes:
        evaluation, evaluations: number of evaluations made, and to be made in all; `evaluation` is 0 while
            the first scale is prepared.
        scale, scales: the present scale, from 1, and the number of scales. Two scales may have the same size.
        width, height: size of this scale in pixels.
        loss: sum of the weighted terms at the last evaluation, comparable within one scale; 0 before the
            first evaluation.
        content_loss, style_loss, tv_loss: the terms without their weights.
        device_time: seconds for which the device has worked on this job.
        time_left: estimated seconds until the result; None if unknown.
        preparing: fraction of this scale's targets that are found, above 0 and below 1, while they are
            searched for before the scale's first evaluation; else None. Only the objective "neighbours"
            searches for targets.
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
    """A small picture of the painting in progress.

    Attributes:
        data: the coded picture.
        format: its format: "jpeg", "png" or "webp".
        width, height: its size in pixels.
        evaluation: the evaluation after which it was taken; 0 for the image that the painting starts from.
        scale: the scale at which it was taken, from 1.
    """

    data: bytes = dataclasses.field(repr=False)
    format: str
    width: int
    height: int
    evaluation: int
    scale: int

    @property
    def image(self) -> Image:
        """The preview, decoded. Needs Pillow."""
        return decode(self.data)


@dataclasses.dataclass(frozen=True)
class Job:
    """A job in the state that the server has sent.

    Attributes:
        name: its name: "jobs/" and an identifier.
        state: its state: "queued", "running", "paused", "succeeded", "failed" or "cancelled".
        recipe: the recipe with which it runs.
        width, height: size of the result in pixels.
        progress: the newest progress; None before the first.
        error: the error of a failed job; None in any other state.
        stop_reason: why it ended: "completed", "converged", "plateau", "not_finite" or "cancelled"; None
            before the end.
        stop_message: the same as a sentence.
        create_time, start_time, end_time: when it was accepted, started and ended (UTC); None before that.
        network: the feature network; None before the job has started.
        device: the device; empty before the job has started.
        bfloat16: whether the network runs in bfloat16.
        memory_plan: how its largest scale fits into memory; None before the job has started.
        title: its title.
        priority: its priority among the tenant's jobs; higher goes first.
        queue_position: its place among the tenant's queued jobs, from 1; None unless it is queued.
        expire_time: when the server deletes it (UTC), once it is final; None for never.
        held: whether the server's administrator holds it: it is paused, and cannot be resumed until the
            administrator releases it.
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
    held: bool = False

    @property
    def is_final(self) -> bool:
        """Whether it has succeeded, failed or been cancelled."""
        return self.state in FINAL_STATES


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What painting a job would take.

    Attributes:
        recipe: the recipe with which it would run.
        width, height: size of the result in pixels.
        device: the device that would paint it.
        memory_plan: how its largest scale would fit into memory.
        device_time: estimated seconds for which the device would work on it; None if unknown.
        time_left: estimated seconds until the result, with the jobs that share the device now; None if
            unknown.
        other_jobs: number of unfinished jobs that share the device or wait for one, all tenants.
    """

    recipe: Recipe
    width: int
    height: int
    device: str
    memory_plan: MemoryPlan
    device_time: float | None
    time_left: float | None
    other_jobs: int


@dataclasses.dataclass(frozen=True)
class NewestPreview:
    """A job's state and its newest preview.

    Attributes:
        job: the job in its present state.
        preview: the newest preview; None if none is newer than `after_sequence`.
        sequence: the number to give as `after_sequence` to get a newer preview.
    """

    job: Job
    preview: Preview | None
    sequence: int


@dataclasses.dataclass(frozen=True)
class NamedStyle:
    """A style that a server offers by name.

    Attributes:
        name: its name: "styles/" and an identifier; `impasto.StyleName(name)` paints with it.
        title: its title.
        width, height: size of the painting in pixels.
        thumbnail: a JPEG whose longer side has at most 128 pixels.
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
        job: the job in its new state.
    """

    job: Job


Event = JobChanged | Progress | Preview
"""An event of a job."""


@dataclasses.dataclass(frozen=True)
class JobDeleted:
    """The job was deleted."""


@dataclasses.dataclass(frozen=True)
class JobsListed:
    """All unfinished jobs have been told. What follows happens from now on."""


@dataclasses.dataclass(frozen=True)
class ContactLost:
    """The connection broke, or the server restarts. Once it is back, all unfinished jobs are told again.

    Attributes:
        error: what happened.
    """

    error: ImpastoError


@dataclasses.dataclass(frozen=True)
class JobsEvent:
    """An event of one of the jobs that `Client.watch_jobs` watches.

    Attributes:
        name: the job; empty for `JobsListed` and `ContactLost`.
        event: what happened.
    """

    name: str
    event: JobChanged | Progress | Preview | JobDeleted | JobsListed | ContactLost


@dataclasses.dataclass(frozen=True)
class ImageLinks:
    """Addresses from which pictures can be loaded without a token.

    Attributes:
        paths: the addresses, relative to the address of the server's page.
        expire_time: when they end (UTC).
    """

    paths: tuple[str, ...]
    expire_time: datetime


@dataclasses.dataclass(frozen=True)
class Device:
    """A GPU or a CPU that paints.

    Attributes:
        name: its name: "cpu", "cuda:0" or "mps"; on a server with several machines "render1/cuda:0".
        description: its description for people.
        state: "starting", "ready" or "draining" (it gets no jobs, and its jobs move to other devices).
        auto_precision: the precision that "auto" means here; None until it is ready.
        resident_jobs: number of jobs in its memory.
        restarts: number of restarts of its worker.
        memory_bytes: memory for jobs, in bytes; None until it is ready.
        machine: name of the machine that has it; can be empty until it is ready.
    """

    name: str
    description: str
    state: str
    auto_precision: str | None
    resident_jobs: int
    restarts: int
    memory_bytes: int | None
    machine: str = ""


@dataclasses.dataclass(frozen=True)
class WebPage:
    """A server's page for browsers.

    Attributes:
        url: its address, if the administrator has given one; it ends with "/". Otherwise empty.
        port: its port on the server's host. It has TLS if the server has TLS.
    """

    url: str
    port: int


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
        max_request_bytes: maximum size of a request, in bytes.
        max_image_pixels: maximum pixels of an image, width times height.
        max_longest_side: maximum of `Recipe.size`, in pixels.
        max_styles: maximum styles per job.
        max_evaluations: maximum of `Recipe.evaluations`.
        max_unfinished_jobs: maximum unfinished jobs, all tenants.
        max_regions: maximum regions per job.
        max_upload_bytes: maximum size of an uploaded image, in bytes.
        max_unfinished_jobs_of_tenant: maximum unfinished jobs per tenant.
        max_stored_bytes_of_tenant: maximum size of the images and results stored per tenant, in bytes; 0 for
            no limit.
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
    """Facts about a server.

    Attributes:
        version: its version.
        devices: its devices.
        network: its feature network; None until a worker has loaded it.
        accepted_formats: formats of the images that it accepts: "png", "jpeg", …
        limits: its limits.
        unfinished_jobs: number of unfinished jobs, all tenants.
        tenant: the caller's tenant: the name of its token; empty if the server has no tokens.
        page: its page for browsers; None if it has none.
        administrator: whether the caller has the right of an administrator.
    """

    version: str
    devices: tuple[Device, ...]
    network: FeatureNetwork | None
    accepted_formats: tuple[str, ...]
    limits: Limits
    unfinished_jobs: int
    tenant: str
    page: WebPage | None = None
    administrator: bool = False


def decode(data: bytes) -> Image:
    """Return a coded image as a Pillow image."""
    from PIL import Image

    from impasto import png

    with warnings.catch_warnings():
        # A result may be larger than Pillow's limit; the server has its own limit.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        if png.depth(data):
            return png.opened(data)
        image = Image.open(io.BytesIO(data), formats=["JPEG", "WEBP", "TIFF"])
        image.load()
    return image
