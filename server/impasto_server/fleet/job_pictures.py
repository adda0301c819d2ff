"""The pictures of a job: decodes them for the worker, and encodes the result."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncGenerator
from typing import BinaryIO

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, failed_precondition, invalid_argument
from impasto_server.contract.images import images_of
from impasto_server.contract.pictures import Intake, PictureDamaged, PictureFault, Samples, Source
from impasto_server.contract.recipes import recipe_from_proto
from impasto_server.engine.recipe import style_size
from impasto_server.store.facade import AsyncStore
from impasto_server.store.records import Record
from impasto_server.v1 import worker_pb2

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Stored:
    """A stored image of the job, with its original (width, height) in pixels."""

    source: Source
    size: Size


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """A picture that the worker needs, for the field at `path` and perhaps for further fields."""

    path: str
    stored: _Stored
    is_mask: bool
    size: Size
    bits: int


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
        self._wanted: list[_Wanted] = []

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
        known: dict[tuple[str, bool, Size, int], worker_pb2.Picture] = {}
        for path, image in images_of(self._spec):
            is_mask, size = self._use(path)
            # The content can have 16 bits, because it is painted on. 8 bits are enough for styles.
            bits = 8 if is_mask or path.startswith("styles") else self.result_bits
            key = image.sha256, is_mask, size, bits
            if key not in known:
                stored = self._stored[image.sha256]
                if is_mask and not (stored.size[0] > size[0] and stored.size[1] > size[1]):
                    # Masks are scaled down, never up.
                    size = stored.size
                self._wanted.append(_Wanted(path, stored, is_mask, size, bits))
                known[key] = worker_pb2.Picture(
                    width=size[0],
                    height=size[1],
                    channels=1 if is_mask else 3,
                    bits=bits,
                    source_width=stored.size[0],
                    source_height=stored.size[1],
                )
            known[key].fields.append(path)
        self.about = list(known.values())

    async def decoded(self) -> AsyncGenerator[Samples, None]:
        """Yields the pictures one after another. Each is decoded when it is asked for and closed when the
        next is asked for, so that only one takes memory.

        Raises:
            CallError: an image is damaged, or cannot be read.
            OSError: a temporary fault of the intake.
        """
        for wanted in self._wanted:
            source = wanted.stored.source
            try:
                if wanted.is_mask:
                    samples = await self._intake.decode_mask(self._tenant, source, wanted.size)
                else:
                    samples = await self._intake.decode(self._tenant, source, wanted.size, wanted.bits)
            except PictureFault as fault:
                raise _refused(wanted.path, source.sha256, fault) from None
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

    def _use(self, path: str) -> tuple[bool, Size]:
        """Returns whether the image at a path of the spec is a mask, and the size that is needed."""
        top, _, index = path.partition("[")
        if top == "styles":
            return False, self._style_size(self._spec.styles[int(index.partition("]")[0])].image.sha256)
        if top == "regions":
            region = self._spec.regions[int(index.partition("]")[0])]
            if path.endswith("style_mask"):
                return True, self._style_size(self._spec.styles[region.style].image.sha256)
        return top in ("regions", "selection"), self._size

    def _style_size(self, sha256: str) -> Size:
        if self._recipe.definition.style_as_content:
            return self._size
        return style_size(self._stored[sha256].size, self._size, self._recipe.style_scale)


def _refused(path: str, sha256: str, fault: PictureFault) -> CallError:
    if isinstance(fault, PictureDamaged):
        message = (
            f"{path} is damaged: the stored bytes no longer have the SHA-256 {sha256}; upload the image and "
            "create the job again"
        )
        return CallError(failed_precondition("IMAGE_DAMAGED", f"images/{sha256}", message))
    field = f"{path}.{fault.field}" if fault.field else path
    return CallError(invalid_argument([(f"spec.{field}", str(fault))]))
