"""What `DownloadImage` sends: results, previews and images, in chunks."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncGenerator, Callable
from typing import BinaryIO

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import (
    CallError,
    damaged,
    exhausted,
    failed_precondition,
    invalid_argument,
    not_found,
)
from impasto_server.contract.pictures import Intake, Source
from impasto_server.gateway.submission import DIGEST
from impasto_server.jobs.job import Job
from impasto_server.jobs.registry import Registry
from impasto_server.jobs.states import state_word
from impasto_server.shares import Shares
from impasto_server.store.blobs import file_digest
from impasto_server.store.errors import Damaged
from impasto_server.store.facade import AsyncStore

CHUNK_BYTES = 256 * 1024

_CONVERTED_BYTES = 640 * 1024 * 1024
"""What the converted files of one tenant's open downloads may take on the disk. A result of 8192 × 8192
pixels of 8 bytes fits."""

_DEEP = (pb.IMAGE_FORMAT_PNG_16, pb.IMAGE_FORMAT_TIFF, pb.IMAGE_FORMAT_RGBA16)
_FIXED_BYTES = 2**20

_WAIT_SECONDS = 60.0
_RETRY_SECONDS = 10.0

RESULT_FORMATS = (
    pb.IMAGE_FORMAT_PNG,
    pb.IMAGE_FORMAT_PNG_16,
    pb.IMAGE_FORMAT_JPEG,
    pb.IMAGE_FORMAT_WEBP,
    pb.IMAGE_FORMAT_TIFF,
    pb.IMAGE_FORMAT_RGBA8,
    pb.IMAGE_FORMAT_RGBA16,
)
"""What a result may be had as."""


class Download:
    """Something to be sent. Close it in the end.

    Attributes:
        info: what it is.
    """

    def __init__(
        self, info: pb.ImageInfo, file: BinaryIO, on_close: Callable[[], None] = lambda: None
    ) -> None:
        """
        Args:
            info: what it is.
            file: its bytes; this closes it.
            on_close: called then.
        """
        self.info = info
        self._file = file
        self._on_close = on_close

    def close(self) -> None:
        """Lets go of the file. Not to be repeated."""
        self._file.close()
        self._on_close()

    async def chunks(self, store: AsyncStore, offset: int = 0) -> AsyncGenerator[pb.ImageChunk, None]:
        """The bytes from an offset on, read as they are sent; the first chunk has `info`.

        Raises:
            CallError: INVALID_ARGUMENT: `offset` is beyond the end.
        """
        size = self.info.size_bytes
        if offset > size:
            remedy = f"is {offset}, beyond the end of the {size} bytes; give less"
            raise CallError(invalid_argument([("offset", remedy)]))
        first = True
        while first or offset < size:
            data = await store.load(_piece, self._file, offset)
            yield pb.ImageChunk(info=self.info if first else None, offset=offset, data=data)
            offset, first = offset + max(1, len(data)), False


class Downloads:
    """Finds what is to be sent. Nothing that is damaged is."""

    def __init__(self, registry: Registry, intake: Intake) -> None:
        """
        Args:
            registry: the jobs.
            intake: converts pictures.
        """
        self._registry = registry
        self._store = registry.store
        self._intake = intake
        self._converted_bytes = Shares(_CONVERTED_BYTES)

    async def find(self, request: pb.DownloadImageRequest, tenant: str) -> Download:
        """
        Raises:
            CallError: there is no such thing, or not in that format, or it is damaged.
        """
        source = request.WhichOneof("source")
        if source is None:
            raise CallError(invalid_argument([("result_of", "is missing; name a job or an image")]))
        if source == "result_of":
            return await self.result(await self._registry.get(request.result_of, tenant), request.format)
        if request.format:
            remedy = "is given, but this image comes as it is; leave it out"
            raise CallError(invalid_argument([("format", remedy)]))
        if source == "preview_of":
            return _preview(await self._registry.get(request.preview_of, tenant))
        return await self._image(request.sha256, tenant)

    async def result(self, job: Job, format: pb.ImageFormat = pb.IMAGE_FORMAT_UNSPECIFIED) -> Download:
        """The result of a job; by default as it is stored.

        Raises:
            CallError: as `find`.
        """
        if job.state != pb.JOB_STATE_SUCCEEDED:
            message = f"{job.name} has no result; it is {state_word(job.record.job)}"
            raise CallError(failed_precondition("NO_RESULT", job.name, message))
        stored = job.record.job.result
        # Earlier versions did not write it down.
        format = format or stored.format or pb.IMAGE_FORMAT_PNG
        if format not in RESULT_FORMATS:
            names = ", ".join(
                pb.ImageFormat.Name(each).removeprefix("IMAGE_FORMAT_") for each in RESULT_FORMATS
            )
            raise CallError(invalid_argument([("format", f"cannot be had; give one of {names}")]))
        file = await self._store.load(self._result, job.name)
        if format == (stored.format or pb.IMAGE_FORMAT_PNG):
            return Download(stored, file)
        with file:
            # It stays open if the job is deleted meanwhile.
            source = Source(file, pixels=stored.width * stored.height)
            return await self._converted(job.tenant, source, format, stored.width, stored.height)

    def _result(self, name: str) -> BinaryIO:
        try:
            path = self._store.store.results.path(name)
            if path is not None:
                return path.open("rb")
        except Damaged:
            message = "has a result that is damaged on the server's disk; paint the picture again"
            raise CallError(damaged(name, message)) from None
        except FileNotFoundError:
            pass
        # Deleted meanwhile, by its owner or by the retention.
        raise CallError(not_found(name))

    async def _image(self, sha256: str, tenant: str) -> Download:
        file, raw = await self._store.load(self._stored_image, sha256, tenant)
        with file:
            about = await self._intake.describe(tenant, Source(file, raw))
            if raw:
                source = Source(file, raw, about.width * about.height)
                format = pb.IMAGE_FORMAT_PNG if about.bits == 8 else pb.IMAGE_FORMAT_PNG_16
                return await self._converted(tenant, source, format, about.width, about.height)
            own = await self._store.load(Source(file).open)
        size_bytes = os.fstat(own.fileno()).st_size
        info = pb.ImageInfo(
            format=about.format,
            width=about.coded_width,
            height=about.coded_height,
            size_bytes=size_bytes,
            sha256=sha256,
        )
        return Download(info, own)

    def _stored_image(self, sha256: str, tenant: str) -> tuple[BinaryIO, bool]:
        images = self._store.store.images
        stored = images.get(tenant, sha256) if DIGEST.fullmatch(sha256) else None
        if stored is not None:
            try:
                return stored.path.open("rb"), stored.raw
            except FileNotFoundError:
                # Forgotten meanwhile.
                pass
        raise CallError(not_found(f"image {sha256}"))

    async def _converted(
        self, tenant: str, source: Source, format: pb.ImageFormat, width: int, height: int
    ) -> Download:
        held = min(_CONVERTED_BYTES, _FIXED_BYTES + width * height * (8 if format in _DEEP else 4))
        try:
            await self._converted_bytes.take(tenant, held, _WAIT_SECONDS)
        except asyncio.TimeoutError:
            message = "your open downloads take as much room as they may; read them to their end, or end them"
            raise CallError(
                exhausted("TOO_MANY_DOWNLOADS", f"tenant:{tenant}", message, _RETRY_SECONDS)
            ) from None
        file: BinaryIO | None = None
        try:
            file = await self._store.load(self._store.store.unnamed_file)
            await self._intake.convert(tenant, source, format, file)
            info = await self._store.load(_info, file, format, width, height)
        except BaseException:
            if file is not None:
                file.close()
            self._converted_bytes.give_back(tenant, held)
            raise
        # It is smaller than it might have been.
        less = max(0, held - info.size_bytes)
        self._converted_bytes.give_back(tenant, less)
        return Download(info, file, lambda: self._converted_bytes.give_back(tenant, held - less))


def _preview(job: Job) -> Download:
    event = job.audience.preview
    if event is None:
        if job.final:
            message = f"{job.name} {state_word(job.record.job)}: a final job has no previews"
            if job.state == pb.JOB_STATE_SUCCEEDED:
                message += "; download its result"
        else:
            message = f"{job.name} has no preview yet; watch it, and one will be made"
        raise CallError(failed_precondition("NO_PREVIEW", job.name, message))
    preview = event.preview
    file = io.BytesIO(preview.data)
    return Download(_info(file, preview.format, preview.width, preview.height), file)


def _info(file: BinaryIO, format: pb.ImageFormat, width: int, height: int) -> pb.ImageInfo:
    file.seek(0)
    sha256 = file_digest(file)
    return pb.ImageInfo(format=format, width=width, height=height, size_bytes=file.tell(), sha256=sha256)


def _piece(file: BinaryIO, offset: int) -> bytes:
    file.seek(offset)
    return file.read(CHUNK_BYTES)
