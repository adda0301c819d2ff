"""From a request to a job that can be stored: its images are looked at and put away, and it is checked."""

from __future__ import annotations

import hashlib
import math
import re

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, not_found
from impasto_server.contract.images import images_of
from impasto_server.contract.pictures import Intake, PictureFault, Source
from impasto_server.contract.recipes import recipe_to_proto
from impasto_server.engine.recipe import MAX_IMAGE_PIXELS, MAX_REGIONS, MAX_STYLES
from impasto_server.gateway.answering import image_missing
from impasto_server.gateway.checks import Size, check_request
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
    """Takes requests for jobs."""

    def __init__(self, store: AsyncStore, styles: StyleLibrary, intake: Intake) -> None:
        """
        Args:
            store: where images are kept.
            styles: the named styles.
            intake: looks at images.
        """
        self._store = store
        self._styles = styles
        self._intake = intake

    async def record(self, request: Request, tenant: str, linger: float | None) -> Record:
        """The job that a request asks for, with its images stored.

        Args:
            request: what a caller sent. Its images become digests: it is not copied, since it may be large.
            tenant: whose it is.
            linger: seconds that the job outlives its last watcher; None: it does not depend on watchers.

        Raises:
            CallError: the request is at fault, or names an image or a style that is not there.
            QuotaExceeded, StoreError: an image cannot be stored.
        """
        images = _Images(tenant, self._store, self._styles, self._intake)
        found: dict[str, Size | PictureFault] = {}
        spec = request.spec
        too_many = {"styles": len(spec.styles) > MAX_STYLES, "regions": len(spec.regions) > MAX_REGIONS}
        for path, image in images_of(spec):
            if too_many.get(path.partition("[")[0]):
                # It is refused for that.
                continue
            try:
                found[path] = await images.look_at(image)
            except PictureFault as fault:
                # Its traceback would keep the bytes of the picture.
                found[path] = fault.with_traceback(None)
        checked = check_request(request, found)
        await images.put_away()
        # A copy: a part of a request keeps the memory of all of it, its images too, as long as the job lives.
        spec = copied(spec)
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


class _Images:
    """The images of one request. One that is stored stays a digest: it is not read again."""

    def __init__(self, tenant: str, store: AsyncStore, styles: StyleLibrary, intake: Intake) -> None:
        self._tenant = tenant
        self._store = store
        self._styles = styles
        self._intake = intake
        # By digest: (width, height) in pixels.
        self._sizes: dict[str, Size] = {}
        # Those that came with the request, or are named styles: looked at and not stored yet.
        self._new: dict[str, tuple[bytes, bool]] = {}
        self._sent: list[tuple[pb.Image, str]] = []

    async def look_at(self, image: pb.Image) -> Size:
        """Width and height of an image in pixels.

        Raises:
            PictureFault: it cannot be accepted.
            CallError: it is named, and is not there.
        """
        source = image.WhichOneof("source")
        if source == "sha256":
            return await self._stored(image.sha256)
        if source == "encoded":
            # Each look at the field makes a copy.
            data = image.encoded
            if not data:
                raise PictureFault("is empty; give the bytes of a PNG, JPEG, WebP or TIFF file")
        elif source == "raw":
            _check_raw(image.raw)
            data = image.raw.SerializeToString(deterministic=True)
        elif source == "style":
            # Its bytes are stored: the folder of styles may change while the job waits.
            style = await self._styles.get(image.style)
            if style is None:
                raise CallError(not_found(image.style))
            data = style
        else:
            raise PictureFault("is missing; give `encoded` bytes of a file or `raw` pixels")
        sha256 = await self._store.load(digest, data)
        self._sent.append((image, sha256))
        if sha256 not in self._sizes:
            self._sizes[sha256] = await self._described(sha256, data, raw=source == "raw")
            self._new[sha256] = data, source == "raw"
        return self._sizes[sha256]

    async def put_away(self) -> None:
        """Stores the images that came with the request, and puts their digests in their place."""
        images = self._store.store.images
        for sha256, (data, raw) in self._new.items():
            await self._store.files(images.put, self._tenant, data, raw=raw, size=self._sizes[sha256])
        for image, sha256 in self._sent:
            image.sha256 = sha256
        self._new.clear()

    async def _described(self, sha256: str, data: bytes, *, raw: bool) -> Size:
        stored = await self._find(sha256)
        if stored is not None and stored.width is not None and stored.height is not None:
            return stored.width, stored.height
        with anonymous_file() as file:
            await self._store.load(file.write, data)
            return (await self._intake.describe(self._tenant, Source(file, raw))).size

    async def _stored(self, sha256: str) -> Size:
        if not DIGEST.fullmatch(sha256):
            raise PictureFault("is no SHA-256; give 64 lower-case hexadecimal digits", "sha256")
        if sha256 not in self._sizes:
            stored = await self._find(sha256)
            if stored is None:
                raise CallError(image_missing(sha256))
            if stored.width is not None and stored.height is not None:
                self._sizes[sha256] = stored.width, stored.height
            else:
                # Stored by an earlier version, which did not write that down.
                source = Source(stored.path, stored.raw)
                self._sizes[sha256] = size = (await self._intake.describe(self._tenant, source)).size
                await self._store.change(self._store.store.images.remember_size, sha256, *size)
        return self._sizes[sha256]

    async def _find(self, sha256: str) -> StoredImage | None:
        return await self._store.load(self._store.store.images.get, self._tenant, sha256)


def _check_raw(raw: pb.RawPixels) -> None:
    """
    Raises:
        PictureFault: the pixels are none, too many, or not as many as they should be.
    """
    for side in ("width", "height"):
        if getattr(raw, side) < 1:
            raise PictureFault("is 0; give at least 1 pixel", f"raw.{side}")
    if raw.bits_per_channel not in (0, 8, 16):
        raise PictureFault(f"is {raw.bits_per_channel}; give 8 or 16", "raw.bits_per_channel")
    pixels = math.prod((raw.width, raw.height))
    if pixels > MAX_IMAGE_PIXELS:
        raise PictureFault(
            f"is {raw.width} × {raw.height} pixels; scale it to at most {MAX_IMAGE_PIXELS:,} pixels (width × "
            "height)"
        )
    needed = 4 * pixels * (raw.bits_per_channel or 8) // 8
    if len(raw.rgba) != needed:
        raise PictureFault(
            f"has {len(raw.rgba)} bytes; {raw.width} × {raw.height} pixels of R, G, B, A need {needed}",
            "raw.rgba",
        )
