"""From a request to a job that can be stored: its images are looked at and put away, and it is checked."""

from __future__ import annotations

import hashlib
import re

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, not_found
from impasto_server.contract.images import images_of
from impasto_server.contract.recipes import recipe_to_proto
from impasto_server.gateway.answering import image_missing
from impasto_server.gateway.checks import check_request
from impasto_server.gateway.images import ImageFault, upright_size
from impasto_server.gateway.styles import StyleLibrary
from impasto_server.jobs.states import new_name, now
from impasto_server.store.images import StoredImage
from impasto_server.store.records import Record
from impasto_server.store.store import Store

DIGEST = re.compile(r"[0-9a-f]{64}")

Request = pb.StylizeRequest | pb.CreateJobRequest


def record_of(
    request: Request, tenant: str, linger: float | None, store: Store, styles: StyleLibrary
) -> Record:
    """The job that a request asks for, with its images stored. Blocks: check sums and disks take time.

    Args:
        request: what a caller sent. Its images become digests: it is not copied, since it may be large.
        tenant: whose it is.
        linger: seconds that the job outlives its last watcher; None: it does not depend on watchers.
        store: where images are kept.
        styles: the named styles.

    Raises:
        CallError: the request is at fault, or names an image or a style that is not there.
        QuotaExceeded, StoreError: an image cannot be stored.
    """
    images = _Images(tenant, store, styles)
    images.name_styles(request.spec)
    checked = check_request(request, images.size_of)
    images.put_away()
    spec = request.spec
    digest = hashlib.sha256()
    for part in (spec, request.preview):
        digest.update(hashlib.sha256(part.SerializeToString(deterministic=True)).digest())
    digest.update(repr((request.title, request.priority, linger)).encode())
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
        request_digest=digest.digest(),
        linger=linger,
    )


class _Images:
    """The images of one request. One that is stored stays a digest: it is not read again."""

    def __init__(self, tenant: str, store: Store, styles: StyleLibrary) -> None:
        self._tenant = tenant
        self._store = store
        self._styles = styles
        self._sizes: dict[str, tuple[int, int]] = {}
        # Those that came with the request, looked at and not stored yet.
        self._sent: list[tuple[pb.Image, tuple[int, int]]] = []

    def name_styles(self, spec: pb.JobSpec) -> None:
        """Stores the named styles among a request's images, and puts their digests in the names' place: the
        folder of styles may change while the job waits."""
        for _, image in images_of(spec):
            if image.WhichOneof("source") == "style":
                found = self._styles.get(image.style)
                if found is None:
                    raise CallError(not_found(image.style))
                size = upright_size(pb.Image(encoded=found))
                image.sha256 = self._store.images.put(self._tenant, found, size=size)
                self._sizes[image.sha256] = size

    def size_of(self, image: pb.Image) -> tuple[int, int]:
        """Width and height of an image, pixels.

        Raises:
            ImageFault: it cannot be accepted.
            CallError: it is not there.
        """
        if image.WhichOneof("source") != "sha256":
            size = upright_size(image)
            self._sent.append((image, size))
            return size
        if image.sha256 not in self._sizes:
            self._sizes[image.sha256] = self._stored_size(image.sha256)
        return self._sizes[image.sha256]

    def put_away(self) -> None:
        """Stores the images that came with the request, once they are looked at, and puts their digests in
        their place."""
        for image, size in self._sent:
            raw = image.WhichOneof("source") == "raw"
            data = image.raw.SerializeToString(deterministic=True) if raw else image.encoded
            image.sha256 = self._store.images.put(self._tenant, data, raw=raw, size=size)

    def _stored_size(self, sha256: str) -> tuple[int, int]:
        if not DIGEST.fullmatch(sha256):
            raise ImageFault("is no SHA-256; give 64 lower-case hexadecimal digits", "sha256")
        stored = self._store.images.get(self._tenant, sha256)
        if stored is None:
            raise CallError(image_missing(sha256))
        if stored.width is not None and stored.height is not None:
            return stored.width, stored.height
        # Stored by an earlier version, which did not write that down.
        size = upright_size(_opened(stored))
        self._store.images.remember_size(sha256, *size)
        return size


def _opened(stored: StoredImage) -> pb.Image:
    data = stored.path.read_bytes()
    return pb.Image(raw=pb.RawPixels.FromString(data)) if stored.raw else pb.Image(encoded=data)
