"""Sends results, previews and images in chunks, for `DownloadImage`."""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
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
from impasto_server.gateway.answering import FULL
from impasto_server.gateway.reduced import ReducedPictures, most_bytes
from impasto_server.gateway.submission import DIGEST
from impasto_server.jobs.job import Job
from impasto_server.jobs.registry import Registry
from impasto_server.jobs.states import state_word
from impasto_server.shares import Shares
from impasto_server.store.blobs import file_digest
from impasto_server.store.errors import Damaged, DiskFull
from impasto_server.store.facade import AsyncStore
from impasto_server.store.images import StoredImage

CHUNK_BYTES = 256 * 1024

_CONVERTED_BYTES = 640 * 1024 * 1024
"""Maximum disk space for the converted files of a tenant's open downloads. A result of 8192 × 8192 pixels
with 8 bytes each fits."""

_REDUCED_BYTES = 128 * 1024 * 1024
"""Maximum memory for the reduced pictures of a tenant's open downloads."""

_DEEP = (pb.IMAGE_FORMAT_PNG_16, pb.IMAGE_FORMAT_TIFF, pb.IMAGE_FORMAT_RGBA16)
_FIXED_BYTES = 2**20

_WAIT_SECONDS = 60.0
_RETRY_SECONDS = 10.0

_NO_ROOM = (
    "the disk of the server's data folder is full, so the image cannot be converted; try again when the disk "
    "has room"
)

RESULT_FORMATS = (
    pb.IMAGE_FORMAT_PNG,
    pb.IMAGE_FORMAT_PNG_16,
    pb.IMAGE_FORMAT_JPEG,
    pb.IMAGE_FORMAT_WEBP,
    pb.IMAGE_FORMAT_TIFF,
    pb.IMAGE_FORMAT_RGBA8,
    pb.IMAGE_FORMAT_RGBA16,
)
"""Formats in which a result can be downloaded."""

REDUCED_FORMATS = (pb.IMAGE_FORMAT_PNG, pb.IMAGE_FORMAT_JPEG, pb.IMAGE_FORMAT_WEBP)
"""Formats in which a reduced picture can be downloaded."""

MIN_SIDE, MAX_SIDE = 16, 2048
"""Range of `DownloadImageRequest.max_side`."""


class Download:
    """A file to send. It must be closed.

    Attributes:
        info: describes the image.
    """

    def __init__(
        self, info: pb.ImageInfo, file: BinaryIO, on_close: Callable[[], None] = lambda: None
    ) -> None:
        """
        Args:
            info: describes the image.
            file: its bytes. `close` closes the file.
            on_close: called by `close`.
        """
        self.info = info
        self._file = file
        self._on_close = on_close

    def close(self) -> None:
        """Closes the file. Must be called only once."""
        self._file.close()
        self._on_close()

    async def chunks(self, store: AsyncStore, offset: int = 0) -> AsyncGenerator[pb.ImageChunk, None]:
        """Yields the bytes from an offset on, each read just before it is sent. The first chunk has `info`.

        Raises:
            CallError: INVALID_ARGUMENT: `offset` is beyond the end.
        """
        size = self.info.size_bytes
        if offset > size:
            remedy = f"is {offset}, beyond the end of the image; give 0 to {size}"
            raise CallError(invalid_argument([("offset", remedy)]))
        first = True
        while first or offset < size:
            data = await store.load(_piece, self._file, offset)
            yield pb.ImageChunk(info=self.info if first else None, offset=offset, data=data)
            offset, first = offset + max(1, len(data)), False


class Downloads:
    """Finds the files to send. Damaged files are never sent."""

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
        self._reduced_bytes = Shares(_REDUCED_BYTES)
        self._reduced_pictures = ReducedPictures(intake)

    async def find(
        self, request: pb.DownloadImageRequest, tenant: str, *, payer: str | None = None
    ) -> Download:
        """Finds what a request asks for.

        Args:
            request: from a caller.
            tenant: whose picture it is.
            payer: whose share of the disk, the memory and the intake the download takes; None: the tenant's.

        Raises:
            CallError: it does not exist, is not available in that format, or is damaged.
        """
        if faults := source_faults(request):
            raise CallError(invalid_argument(faults))
        payer = tenant if payer is None else payer
        source = request.WhichOneof("source")
        if source == "preview_of":
            return _preview(await self._registry.get(request.preview_of, tenant))
        if source == "sha256":
            return await self._image(request, tenant, payer)
        job = await self._registry.get(request.result_of, tenant)
        if request.max_side:
            return await self._reduced_result(job, request, payer)
        return await self.result(job, request.format, payer=payer)

    async def result(
        self,
        job: Job,
        format: pb.ImageFormat = pb.IMAGE_FORMAT_UNSPECIFIED,
        *,
        payer: str | None = None,
    ) -> Download:
        """Finds the result of a job; by default in the format in which it is stored.

        Args:
            job: the job.
            format: of the file.
            payer: as for `find`.

        Raises:
            CallError: as `find`.
        """
        stored = _stored_result(job)
        # Earlier versions did not store the format.
        own = stored.format or pb.IMAGE_FORMAT_PNG
        file = await self._store.load(self._result, job.name)
        if (format or own) == own:
            return Download(stored, file)
        with file:
            # The open file can be read even if the job is deleted meanwhile.
            source = Source(file, pixels=stored.width * stored.height)
            payer = job.tenant if payer is None else payer
            return await self._converted(payer, source, format, stored.width, stored.height)

    async def _reduced_result(self, job: Job, request: pb.DownloadImageRequest, payer: str) -> Download:
        stored = _stored_result(job)

        @contextlib.asynccontextmanager
        async def opened() -> AsyncIterator[Source]:
            with await self._store.load(self._result, job.name) as file:
                yield Source(file, pixels=stored.width * stored.height)

        size = stored.width, stored.height
        return await self._reduced(payer, request, stored.sha256, size, opened)

    def _result(self, name: str) -> BinaryIO:
        try:
            path = self._store.store.results.path(name)
            if path is not None:
                return path.open("rb")
        except Damaged:
            message = "has a result that is damaged on the server's disk; create the job again"
            raise CallError(damaged(name, message)) from None
        except FileNotFoundError:
            pass
        # Deleted meanwhile by its owner or by the retention.
        raise CallError(not_found(name))

    async def _image(self, request: pb.DownloadImageRequest, tenant: str, payer: str) -> Download:
        sha256 = request.sha256
        file, stored = await self._store.load(self._stored_image, sha256, tenant)
        raw = stored.raw
        with file:
            if request.max_side:
                size = stored.width or 0, stored.height or 0
                if not all(size):
                    size = (await self._intake.describe(payer, Source(file, raw))).size

                @contextlib.asynccontextmanager
                async def opened() -> AsyncIterator[Source]:
                    yield Source(file, raw, math.prod(size))

                return await self._reduced(payer, request, sha256, size, opened)
            about = await self._intake.describe(payer, Source(file, raw))
            if raw:
                source = Source(file, raw, about.width * about.height)
                format = pb.IMAGE_FORMAT_PNG if about.bits == 8 else pb.IMAGE_FORMAT_PNG_16
                return await self._converted(payer, source, format, about.width, about.height)
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

    def _stored_image(self, sha256: str, tenant: str) -> tuple[BinaryIO, StoredImage]:
        images = self._store.store.images
        stored = images.get(tenant, sha256) if DIGEST.fullmatch(sha256) else None
        if stored is not None:
            try:
                return stored.path.open("rb"), stored
            except FileNotFoundError:
                # Deleted meanwhile.
                pass
        raise CallError(not_found(f"image {sha256}"))

    async def _reduced(
        self,
        payer: str,
        request: pb.DownloadImageRequest,
        sha256: str,
        size: tuple[int, int],
        opened: Callable[[], contextlib.AbstractAsyncContextManager[Source]],
    ) -> Download:
        """Reduces a picture, unless that was done before.

        Args:
            payer: whose share it takes.
            request: has the wanted side and format.
            sha256: of the whole picture.
            size: of the whole picture in pixels.
            opened: opens the whole picture.
        """
        held = min(_REDUCED_BYTES, most_bytes(*size, request.max_side))
        await self._take(self._reduced_bytes, "memory", payer, held)
        try:
            key = sha256, request.max_side, request.format or pb.IMAGE_FORMAT_JPEG
            reduced = self._reduced_pictures.kept(key)
            if reduced is None:
                async with opened() as source:
                    reduced = await self._reduced_pictures.made(key, source)
        except BaseException:
            self._reduced_bytes.give_back(payer, held)
            raise
        less = max(0, held - len(reduced.data))
        self._reduced_bytes.give_back(payer, less)
        return Download(
            reduced.info,
            io.BytesIO(reduced.data),
            lambda: self._reduced_bytes.give_back(payer, held - less),
        )

    async def _take(self, shares: Shares, what: str, payer: str, amount: int) -> None:
        try:
            await shares.take(payer, amount, _WAIT_SECONDS)
        except asyncio.TimeoutError:
            message = f"your open downloads use all {what} allowed for them; finish or cancel some of them"
            raise CallError(
                exhausted("TOO_MANY_DOWNLOADS", f"tenant:{payer}", message, _RETRY_SECONDS)
            ) from None

    async def _converted(
        self, payer: str, source: Source, format: pb.ImageFormat, width: int, height: int
    ) -> Download:
        held = min(_CONVERTED_BYTES, _FIXED_BYTES + width * height * (8 if format in _DEEP else 4))
        await self._take(self._converted_bytes, "disk space", payer, held)
        file: BinaryIO | None = None
        try:
            file = await self._store.load(self._store.store.unnamed_file)
            await self._intake.convert(payer, source, format, file)
            info = await self._store.load(_info, file, format, width, height)
        except BaseException as error:
            if file is not None:
                file.close()
            self._converted_bytes.give_back(payer, held)
            if isinstance(error, OSError) and error.errno in FULL:
                raise DiskFull(_NO_ROOM) from None
            raise
        # The file is usually smaller than the space taken for it.
        less = max(0, held - info.size_bytes)
        self._converted_bytes.give_back(payer, less)
        return Download(info, file, lambda: self._converted_bytes.give_back(payer, held - less))


def source_faults(request: pb.DownloadImageRequest) -> list[tuple[str, str]]:
    """Returns the faults of a request that can be seen without its picture."""
    source = request.WhichOneof("source")
    if source is None:
        return [("result_of", "is missing; give result_of, preview_of or sha256")]
    faults = []
    if request.max_side and source == "preview_of":
        remedy = "is not for previews, which are small; leave it out, or set preview.max_side of the job"
        faults.append(("max_side", remedy))
    elif request.max_side and not MIN_SIDE <= request.max_side <= MAX_SIDE:
        remedy = f"is {request.max_side} px; give {MIN_SIDE} to {MAX_SIDE}, or 0 for the picture as it is"
        faults.append(("max_side", remedy))
    if not request.format:
        return faults
    if source == "result_of" or (source == "sha256" and request.max_side):
        formats = REDUCED_FORMATS if request.max_side else RESULT_FORMATS
        if request.format not in formats:
            names = ", ".join(pb.ImageFormat.Name(each).removeprefix("IMAGE_FORMAT_") for each in formats)
            what = "a reduced picture's format" if request.max_side else "a result's format"
            faults.append(("format", f"is not {what}; give one of {names}"))
    else:
        remedy = "is only for results and reduced pictures; previews and images are sent as they are"
        faults.append(("format", f"{remedy}, so leave it out"))
    return faults


def _stored_result(job: Job) -> pb.ImageInfo:
    """Returns the description of a job's result.

    Raises:
        CallError: FAILED_PRECONDITION: it has none.
    """
    if job.state == pb.JOB_STATE_SUCCEEDED:
        return job.record.job.result
    word = state_word(job.record.job)
    message = f"{job.name} {'has failed' if word == 'failed' else f'is {word}'}; it has no result"
    if not job.final:
        message += " yet"
    raise CallError(failed_precondition("NO_RESULT", job.name, message))


def _preview(job: Job) -> Download:
    event = job.audience.preview
    if event is None:
        if job.final:
            message = f"{job.name} is final, and a final job has no previews"
            if job.state == pb.JOB_STATE_SUCCEEDED:
                message += "; download its result"
        else:
            message = f"{job.name} has no preview yet; previews are made while somebody watches the job"
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
