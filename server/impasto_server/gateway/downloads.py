"""What `DownloadImage` sends: results, previews and images, in chunks."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import (
    CallError,
    damaged,
    failed_precondition,
    invalid_argument,
    not_found,
)
from impasto_server.gateway.pictures import RESULT_FORMATS, format_of, png_of_raw, recoded
from impasto_server.gateway.submission import DIGEST
from impasto_server.jobs.job import Job
from impasto_server.jobs.registry import Registry
from impasto_server.jobs.states import state_word
from impasto_server.store.errors import Damaged
from impasto_server.store.facade import AsyncStore

CHUNK_BYTES = 256 * 1024


@dataclasses.dataclass(frozen=True)
class Download:
    """Something to be sent.

    Attributes:
        info: what it is.
        content: its bytes, or the file that has them.
    """

    info: pb.ImageInfo
    content: bytes | Path

    async def chunks(self, store: AsyncStore, offset: int = 0) -> AsyncGenerator[pb.ImageChunk, None]:
        """The bytes from an offset on; the first chunk has `info`.

        A file is read as its chunks are sent. It may be deleted meanwhile.

        Raises:
            CallError: INVALID_ARGUMENT: `offset` is beyond the end. NOT_FOUND: the file is deleted.
        """
        size = self.info.size_bytes
        if offset > size:
            remedy = f"is {offset}, beyond the end of the {size} bytes; give less"
            raise CallError(invalid_argument([("offset", remedy)]))
        file = await store.load(self._open)
        try:
            first = True
            while first or offset < size:
                data = await store.load(_piece, file, offset)
                yield pb.ImageChunk(info=self.info if first else None, offset=offset, data=data)
                offset, first = offset + max(1, len(data)), False
        finally:
            file.close()

    def _open(self) -> BinaryIO:
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        try:
            return self.content.open("rb")
        except FileNotFoundError:
            raise CallError(not_found("picture any more")) from None


class Downloads:
    """Finds what is to be sent. Nothing that is damaged is."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store

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
        return await self._store.load(self._image, request.sha256, tenant)

    async def result(self, job: Job, format: pb.ImageFormat = pb.IMAGE_FORMAT_UNSPECIFIED) -> Download:
        """The result of a job; by default the PNG.

        Raises:
            CallError: as `find`.
        """
        if job.state != pb.JOB_STATE_SUCCEEDED:
            message = f"{job.name} has no result; it is {state_word(job.record.job)}"
            raise CallError(failed_precondition("NO_RESULT", job.name, message))
        format = format or pb.IMAGE_FORMAT_PNG
        if format not in RESULT_FORMATS:
            raise CallError(invalid_argument([("format", "cannot be had; give PNG, JPEG, WEBP or RGBA8")]))
        return await self._store.load(self._result, job.record.job, format)

    def _result(self, job: pb.Job, format: pb.ImageFormat) -> Download:
        try:
            path = self._store.store.results.path(job.name)
        except Damaged:
            message = "has a result that is damaged on the server's disk; paint the picture again"
            raise CallError(damaged(job.name, message)) from None
        if path is None:
            # Deleted meanwhile, by its owner or by the retention.
            raise CallError(not_found(job.name))
        if format == pb.IMAGE_FORMAT_PNG:
            return Download(job.result, path)
        data = recoded(path.read_bytes(), format)
        return Download(_info(data, format, job.width, job.height), data)

    def _image(self, sha256: str, tenant: str) -> Download:
        images = self._store.store.images
        stored = images.get(tenant, sha256) if DIGEST.fullmatch(sha256) else None
        data = None if stored is None else images.read(tenant, sha256)
        if stored is None or data is None:
            raise CallError(not_found(f"image {sha256}"))
        if stored.raw:
            data = png_of_raw(pb.RawPixels.FromString(data))
        return Download(_info(data, *format_of(data)), data)


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
    return Download(_info(preview.data, preview.format, preview.width, preview.height), preview.data)


def _info(data: bytes, format: pb.ImageFormat, width: int, height: int) -> pb.ImageInfo:
    return pb.ImageInfo(
        format=format,
        width=width,
        height=height,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _piece(file: BinaryIO, offset: int) -> bytes:
    file.seek(offset)
    return file.read(CHUNK_BYTES)
