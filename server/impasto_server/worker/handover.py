"""What the gateway hands over with a job, message by message."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator

from impasto.v1 import style_transfer_pb2 as pb
from impasto.worker.v1 import worker_pb2


class BadHandover(Exception):
    """The requests are not in the order or of the length that the contract says."""


class DamagedHandover(Exception):
    """An image is not the one that the job names.

    Attributes:
        sha256: of the image that the job names.
    """

    def __init__(self, sha256: str) -> None:
        super().__init__(f"the image {sha256} has another SHA-256")
        self.sha256 = sha256


@dataclasses.dataclass(frozen=True)
class Handover:
    """Images by their `sha256`, as the caller sent them, and the checkpoint to go on from, if any."""

    images: dict[str, pb.Image]
    checkpoint: bytes | None


async def receive_begin(requests: AsyncIterator[worker_pb2.RunRequest]) -> worker_pb2.Begin:
    """The first request.

    Raises:
        BadHandover: it is something else, or its weight is not above 0.
    """
    async for request in requests:
        if request.WhichOneof("payload") == "begin":
            if not request.begin.tenant_weight > 0:
                raise BadHandover("tenant_weight is not above 0")
            return request.begin
        break
    raise BadHandover("the first request is not begin")


async def receive_rest(requests: AsyncIterator[worker_pb2.RunRequest], begin: worker_pb2.Begin) -> Handover:
    """All requests after `begin`.

    Raises:
        BadHandover: something is missing, or does not fit together.
        DamagedHandover: an image's bytes do not have the SHA-256 that they come with.
    """
    images: dict[str, pb.Image] = {}
    damaged: list[str] = []
    checkpoint: bytes | None = None
    whole, digest = bytearray(), hashlib.sha256()
    async for request in requests:
        kind = request.WhichOneof("payload")
        if kind not in ("image", "checkpoint"):
            raise BadHandover(f"a request has the payload {kind}")
        chunk = request.image if kind == "image" else request.checkpoint
        if chunk.offset != len(whole):
            raise BadHandover(f"a chunk of {kind} {chunk.sha256} is at {chunk.offset}, not {len(whole)}")
        whole += chunk.data
        if kind == "image":
            # Chunk by chunk: the whole at once would keep other calls waiting.
            digest.update(chunk.data)
        if len(whole) < chunk.size_bytes:
            continue
        if kind == "checkpoint":
            # It has a checksum of its own.
            checkpoint = bytes(whole)
        elif digest.hexdigest() != chunk.sha256:
            damaged.append(chunk.sha256)
        elif chunk.raw:
            images[chunk.sha256] = pb.Image(raw=pb.RawPixels.FromString(bytes(whole)))
        else:
            images[chunk.sha256] = pb.Image(encoded=bytes(whole))
        whole, digest = bytearray(), hashlib.sha256()
    if whole:
        raise BadHandover("the last chunks are missing")
    if begin.resumes and checkpoint is None:
        raise BadHandover("the checkpoint is missing")
    if damaged:
        raise DamagedHandover(damaged[0])
    return Handover(images, checkpoint)
