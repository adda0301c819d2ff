"""Turns a request into a job that can be stored: checks the request and stores its images."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import AsyncIterator, Mapping

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, not_found
from impasto_server.contract.images import images_of
from impasto_server.contract.pictures import Intake, PictureFault, Source
from impasto_server.contract.recipes import recipe_to_proto
from impasto_server.contract.texts import counted
from impasto_server.engine.recipe import MAX_IMAGE_PIXELS, MAX_REGIONS, MAX_STYLES
from impasto_server.gateway import checks
from impasto_server.gateway.answering import image_missing
from impasto_server.gateway.checks import NO_SOURCE, CheckedRequest, Size, check_request
from impasto_server.gateway.styles import StyleLibrary
from impasto_server.jobs.states import copied, new_name, now
from impasto_server.store.blobs import digest
from impasto_server.store.facade import AsyncStore
from impasto_server.store.images import StoredImage
from impasto_server.store.records import Record
from impasto_server.temporary import anonymous_file

DIGEST = re.compile(r"[0-9a-f]{64}")

Request = pb.StylizeRequest | pb.CreateJobRequest


class Submissions:
    """Makes jobs from requests."""

    def __init__(self, store: AsyncStore, styles: StyleLibrary, intake: Intake) -> None:
        """
        Args:
            store: keeps the images.
            styles: the named styles.
            intake: describes the images.
        """
        self._store = store
        self._styles = styles
        self._intake = intake

    async def examine(self, request: checks.Request, tenant: str) -> tuple[CheckedRequest, Images]:
        """Checks a request, and looks at its images.

        Args:
            request: from a caller.
            tenant: the caller.

        Raises:
            CallError: the request is invalid, or names an image or a style that does not exist.
        """
        images = Images(tenant, self._store, self._styles, self._intake)
        found: dict[str, Size | PictureFault] = {}
        spec = request.spec
        too_many = {"styles": len(spec.styles) > MAX_STYLES, "regions": len(spec.regions) > MAX_REGIONS}
        for path, image in images_of(spec):
            if too_many.get(path.partition("[")[0]):
                # The request is refused because of the number.
                continue
            try:
                found[path] = await images.look_at(image)
            except PictureFault as fault:
                # The traceback would keep the bytes of the picture in memory.
                found[path] = fault.with_traceback(None)
        return check_request(request, found), images

    async def record(self, request: Request, tenant: str, linger: float | None) -> Record:
        """Makes the job that a request asks for, and stores its images.

        Args:
            request: from a caller. Its images are replaced by digests in place; a copy could be large.
            tenant: the caller.
            linger: seconds for which the job goes on without a watcher; None for no limit.

        Raises:
            CallError: the request is invalid, or names an image or a style that does not exist.
            QuotaExceeded, StoreError: an image cannot be stored.
        """
        checked, images = await self.examine(request, tenant)
        await images.put_away()
        # Copied, because a part of a message keeps the whole message in memory, with its images, for as long
        # as the job lives.
        spec = copied(request.spec)
        whole = hashlib.sha256()
        for part in (spec, request.preview):
            whole.update(hashlib.sha256(part.SerializeToString(deterministic=True)).digest())
        whole.update(repr((request.title, request.priority, linger)).encode())
        spec.ClearField("recipe")
        job = pb.Job(
            name=new_name(),
            state=pb.JOB_STATE_QUEUED,
            recipe=recipe_to_proto(checked.recipe),
            width=checked.width,
            height=checked.height,
            create_time=now(),
            preview=request.preview,
            priority=request.priority,
            title=request.title,
        )
        return Record(
            job=job,
            spec=spec,
            tenant=tenant,
            request_id=request.request_id,
            request_digest=whole.digest(),
            linger=linger,
        )


class Images:
    """The images of one request. An image that is given by its digest is not read again."""

    def __init__(self, tenant: str, store: AsyncStore, styles: StyleLibrary, intake: Intake) -> None:
        self._tenant = tenant
        self._store = store
        self._styles = styles
        self._intake = intake
        # By digest: (width, height) in pixels.
        self._sizes: dict[str, Size] = {}
        # Images that came with the request, and named styles: described and not yet stored.
        self._new: dict[str, tuple[bytes, bool]] = {}
        self._sent: list[tuple[pb.Image, str]] = []

    async def look_at(self, image: pb.Image) -> Size:
        """Returns the width and height of an image in pixels.

        Raises:
            PictureFault: the image cannot be accepted.
            CallError: the image is given by digest or style name, and does not exist.
        """
        source = image.WhichOneof("source")
        if source == "sha256":
            return await self._stored(image.sha256)
        if source == "encoded":
            # Each access to the field makes a copy.
            data = image.encoded
            if not data:
                raise PictureFault("is empty; give the bytes of a PNG, JPEG, WebP or TIFF file")
        elif source == "raw":
            _check_raw(image.raw)
            data = image.raw.SerializeToString(deterministic=True)
        elif source == "style":
            # The style's bytes are stored, because the folder of styles can change while the job waits.
            style = await self._styles.get(image.style)
            if style is None:
                raise CallError(not_found(image.style))
            data = style
        else:
            raise PictureFault(NO_SOURCE)
        sha256 = await self._store.load(digest, data)
        self._sent.append((image, sha256))
        if sha256 not in self._sizes:
            self._sizes[sha256] = await self._described(sha256, data, raw=source == "raw")
            self._new[sha256] = data, source == "raw"
        return self._sizes[sha256]

    async def put_away(self) -> None:
        """Stores the images that came with the request, and replaces them by their digests."""
        images = self._store.store.images
        for sha256, (data, raw) in self._new.items():
            await self._store.files(images.put, self._tenant, data, raw=raw, size=self._sizes[sha256])
        self.forget()

    def forget(self) -> None:
        """Replaces the images that came with the request by their digests, without storing them."""
        for image, sha256 in self._sent:
            image.sha256 = sha256
        self._new.clear()

    @property
    def sizes(self) -> Mapping[str, Size]:
        """(width, height) in pixels of each image, by its digest."""
        return self._sizes

    @contextlib.asynccontextmanager
    async def opened(self, image: pb.Image) -> AsyncIterator[Source]:
        """Gives an image that was looked at to the intake, before `put_away` or `forget`.

        Raises:
            CallError: the image was deleted meanwhile.
        """
        sha256 = next((sha256 for sent, sha256 in self._sent if sent is image), image.sha256)
        pixels = math.prod(self._sizes[sha256])
        if sha256 in self._new:
            data, raw = self._new[sha256]
            with anonymous_file() as file:
                await self._store.load(file.write, data)
                yield Source(file, raw, pixels=pixels)
            return
        stored = await self._find(sha256)
        if stored is None:
            raise CallError(image_missing(sha256))
        yield Source(stored.path, stored.raw, pixels=pixels)

    async def _described(self, sha256: str, data: bytes, *, raw: bool) -> Size:
        stored = await self._find(sha256)
        if stored is not None and stored.width is not None and stored.height is not None:
            return stored.width, stored.height
        with anonymous_file() as file:
            await self._store.load(file.write, data)
            return (await self._intake.describe(self._tenant, Source(file, raw))).size

    async def _stored(self, sha256: str) -> Size:
        if not DIGEST.fullmatch(sha256):
            raise PictureFault("is not a SHA-256; give 64 lower-case hexadecimal digits", "sha256")
        if sha256 not in self._sizes:
            stored = await self._find(sha256)
            if stored is None:
                raise CallError(image_missing(sha256))
            if stored.width is not None and stored.height is not None:
                self._sizes[sha256] = stored.width, stored.height
            else:
                # Earlier versions did not store the size.
                source = Source(stored.path, stored.raw)
                self._sizes[sha256] = size = (await self._intake.describe(self._tenant, source)).size
                await self._store.change(self._store.store.images.remember_size, sha256, *size)
        return self._sizes[sha256]

    async def _find(self, sha256: str) -> StoredImage | None:
        return await self._store.load(self._store.store.images.get, self._tenant, sha256)


def _check_raw(raw: pb.RawPixels) -> None:
    """Checks the size of raw pixels.

    Raises:
        PictureFault: there are none, too many, or not as many bytes as the size needs.
    """
    for side in ("width", "height"):
        if getattr(raw, side) < 1:
            raise PictureFault("is 0; give at least 1 pixel", f"raw.{side}")
    if raw.bits_per_channel not in (0, 8, 16):
        raise PictureFault(f"is {raw.bits_per_channel}; give 8 or 16", "raw.bits_per_channel")
    pixels = math.prod((raw.width, raw.height))
    if pixels > MAX_IMAGE_PIXELS:
        raise PictureFault(
            f"has {raw.width} × {raw.height} pixels; scale it down to at most {MAX_IMAGE_PIXELS:,} pixels in "
            "total"
        )
    needed = 4 * pixels * (raw.bits_per_channel or 8) // 8
    if len(raw.rgba) != needed:
        raise PictureFault(
            f"has {counted(len(raw.rgba), 'byte')}; {raw.width} × {raw.height} pixels of R, G, B, A need "
            f"{needed:,}",
            "raw.rgba",
        )
