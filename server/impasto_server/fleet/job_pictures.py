"""The pictures of a job: decodes them for the worker, and encodes the result."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncGenerator, Mapping
from typing import BinaryIO

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, failed_precondition, invalid_argument
from impasto_server.contract.images import images_of
from impasto_server.contract.pictures import Intake, PictureDamaged, PictureFault, Samples, Source
from impasto_server.contract.recipes import recipe_from_proto
from impasto_server.engine.recipe import Recipe, style_size
from impasto_server.store.facade import AsyncStore
from impasto_server.store.records import Record
from impasto_server.v1 import worker_pb2

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Stored:
    """A stored image of the job, with its original (width, height) in pixels."""

    source: Source
    size: Size


def wanted_pictures(
    spec: pb.JobSpec, recipe: Recipe, size: Size, sizes: Mapping[str, Size], result_bits: int
) -> list[tuple[str, worker_pb2.Picture]]:
    """Returns the pictures that a worker needs for a job: the SHA-256 of the image, and the description.

    Args:
        spec: of the job; each image is named by its SHA-256.
        recipe: resolved recipe.
        size: (width, height) of the result in pixels.
        sizes: (width, height) of each image in pixels, by its SHA-256.
        result_bits: bits per sample of the result.
    """
    found: dict[tuple[str, bool, Size, int], worker_pb2.Picture] = {}
    for path, image in images_of(spec):
        is_mask, wanted = _use(spec, recipe, size, sizes, path)
        # The content can have 16 bits, because it is painted on. 8 bits are enough for styles.
        bits = 8 if is_mask or path.startswith("styles") else result_bits
        key = image.sha256, is_mask, wanted, bits
        if key not in found:
            source = sizes[image.sha256]
            if is_mask and not (source[0] > wanted[0] and source[1] > wanted[1]):
                # Masks are scaled down, never up.
                wanted = source
            found[key] = worker_pb2.Picture(
                width=wanted[0],
                height=wanted[1],
                channels=1 if is_mask else 3,
                bits=bits,
                source_width=source[0],
                source_height=source[1],
            )
        found[key].fields.append(path)
    return [(sha256, picture) for (sha256, *_), picture in found.items()]


def _use(
    spec: pb.JobSpec, recipe: Recipe, size: Size, sizes: Mapping[str, Size], path: str
) -> tuple[bool, Size]:
    """Returns whether the image at a path of the spec is a mask, and the size that is needed."""

    def of_style(index: int) -> Size:
        if recipe.definition.style_as_content:
            return size
        return style_size(sizes[spec.styles[index].image.sha256], size, recipe.style_scale)

    top, _, index = path.partition("[")
    if top == "styles":
        return False, of_style(int(index.partition("]")[0]))
    if top == "regions" and path.endswith("style_mask"):
        return True, of_style(spec.regions[int(index.partition("]")[0])].style)
    return top in ("regions", "selection"), size


class JobPictures:
    """The pictures of one job.

    Attributes:
        about: descriptions of the pictures that the worker needs.
        result_bits: bits per sample of the result.
    """

    def __init__(self, record: Record, store: AsyncStore, intake: Intake) -> None:
        """
        Args:
            record: the job.
            store: has the job's images.
            intake: reads them.
        """
        self.about: list[worker_pb2.Picture] = []
        self.result_bits = 8
        self._tenant = record.tenant
        self._spec = record.spec
        self._recipe = recipe_from_proto(record.job.recipe)
        self._size = record.job.width, record.job.height
        self._store = store
        self._intake = intake
        self._stored: dict[str, _Stored] = {}
        self._wanted: list[tuple[str, worker_pb2.Picture]] = []

    async def find(self) -> None:
        """Finds out which pictures the worker needs, and at which sizes.

        Raises:
            CallError: an image is lost, damaged, or cannot be read.
            OSError, StoreError: a temporary fault of the intake or the store.
        """
        for path, image in images_of(self._spec):
            try:
                await self._find(image.sha256)
            except PictureFault as fault:
                raise _refused(path, image.sha256, fault) from None
        self.result_bits = await self._bits()
        sizes = {sha256: stored.size for sha256, stored in self._stored.items()}
        self._wanted = wanted_pictures(self._spec, self._recipe, self._size, sizes, self.result_bits)
        self.about = [picture for _, picture in self._wanted]

    async def decoded(self) -> AsyncGenerator[Samples, None]:
        """Yields the pictures one after another. Each is decoded when it is asked for and closed when the
        next is asked for, so that only one takes memory.

        Raises:
            CallError: an image is damaged, or cannot be read.
            OSError: a temporary fault of the intake.
        """
        for sha256, wanted in self._wanted:
            source, size = self._stored[sha256].source, (wanted.width, wanted.height)
            try:
                if wanted.channels == 1:
                    samples = await self._intake.decode_mask(self._tenant, source, size)
                else:
                    samples = await self._intake.decode(self._tenant, source, size, wanted.bits)
            except PictureFault as fault:
                raise _refused(wanted.fields[0], sha256, fault) from None
            with samples.file:
                yield samples

    async def result(self, samples: Samples, metadata: str) -> BinaryIO:
        """Encodes the PNG of the job's result.

        Args:
            samples: the painting.
            metadata: JSON that describes how the picture was made.

        Raises:
            CallError: an image is damaged, or cannot be read any more.
            OSError: a temporary fault of the intake.
        """
        sources = {}
        for field in ("content", "selection"):
            if self._spec.HasField(field):
                sources[field] = self._stored[getattr(self._spec, field).sha256].source
        try:
            return await self._intake.encode(self._tenant, samples, metadata, **sources)
        except PictureFault as fault:
            raise _refused("content", self._spec.content.sha256, fault) from None

    async def _find(self, sha256: str) -> None:
        if sha256 in self._stored:
            return
        stored = await self._store.load(self._store.store.images.get, self._tenant, sha256)
        if stored is None:
            message = (
                f"the image {sha256} is lost or damaged on the server; upload it and create the job again"
            )
            raise CallError(failed_precondition("IMAGE_LOST", sha256, message))
        source = Source(stored.path, stored.raw, sha256=sha256)
        if stored.width is None or stored.height is None:
            # Earlier versions did not store the size.
            size = (await self._intake.describe(self._tenant, source)).size
        else:
            size = stored.width, stored.height
        self._stored[sha256] = _Stored(dataclasses.replace(source, pixels=math.prod(size)), size)

    async def _bits(self) -> int:
        if self._spec.result_format == pb.IMAGE_FORMAT_PNG_16:
            return 16
        if not self._spec.HasField("selection"):
            return 8
        # Pixels outside the selection do not change, so they keep all their bits.
        content = self._stored[self._spec.content.sha256]
        try:
            return (await self._intake.describe(self._tenant, content.source)).bits
        except PictureFault as fault:
            raise _refused("content", self._spec.content.sha256, fault) from None


def _refused(path: str, sha256: str, fault: PictureFault) -> CallError:
    if isinstance(fault, PictureDamaged):
        message = (
            f"{path} is damaged: the stored bytes no longer have the SHA-256 {sha256}; upload the image and "
            "create the job again"
        )
        return CallError(failed_precondition("IMAGE_DAMAGED", f"images/{sha256}", message))
    field = f"{path}.{fault.field}" if fault.field else path
    return CallError(invalid_argument([(f"spec.{field}", str(fault))]))
