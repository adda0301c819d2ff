"""Receives the pictures and the checkpoint of a job from the gateway, message by message."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterable

import numpy as np
import numpy.typing as npt

from impasto_server.v1 import worker_pb2


class BadHandover(Exception):
    """The requests do not have the order or the lengths of the contract."""


@dataclasses.dataclass(frozen=True)
class Handover:
    """What the gateway sends with a job.

    Attributes:
        pictures: decoded pictures, by the path of their field in the spec.
        checkpoint: bytes of the checkpoint from which to continue; None to begin.
    """

    pictures: dict[str, Raster]
    checkpoint: bytes | None


@dataclasses.dataclass(frozen=True)
class Raster:
    """A decoded picture or mask.

    Attributes:
        samples: (H, W, 3), or (H, W) for a mask; uint8 or uint16.
        source_size: (width, height) in pixels of the image before decoding, which may have resized it.
    """

    samples: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    source_size: tuple[int, int]


async def receive_begin(requests: AsyncIterator[worker_pb2.RunRequest]) -> worker_pb2.Begin:
    """Receives the first request.

    Raises:
        BadHandover: it is not a `begin`, or its weight is not above 0.
    """
    async for request in requests:
        if request.WhichOneof("payload") == "begin":
            if not request.begin.tenant_weight > 0:
                raise BadHandover("tenant_weight is not above 0")
            return request.begin
        break
    raise BadHandover("the first request is not begin")


def pictures_bytes(pictures: Iterable[worker_pb2.Picture]) -> int:
    """Returns the memory in bytes of the pictures that come with a job."""
    return sum(map(_size_bytes, pictures))


async def receive_rest(requests: AsyncIterator[worker_pb2.RunRequest], begin: worker_pb2.Begin) -> Handover:
    """Receives the pictures and the checkpoint.

    Raises:
        BadHandover: a part is missing, or is out of place.
    """
    received = [bytearray() for _ in begin.pictures]
    checkpoint = bytearray()
    whole = False
    async for request in requests:
        kind = request.WhichOneof("payload")
        if kind == "picture":
            chunk = request.picture
            if chunk.index >= len(received) or chunk.offset != len(received[chunk.index]):
                raise BadHandover(f"a chunk of picture {chunk.index} has the wrong offset {chunk.offset}")
            received[chunk.index] += chunk.data
        elif kind == "checkpoint":
            # Only the offsets are checked, because a checkpoint contains a checksum.
            if request.checkpoint.offset != len(checkpoint):
                raise BadHandover(
                    f"a chunk of the checkpoint has the wrong offset {request.checkpoint.offset}"
                )
            checkpoint += request.checkpoint.data
            whole = len(checkpoint) >= request.checkpoint.size_bytes
        else:
            raise BadHandover(f"a request has the payload {kind}")
    pictures: dict[str, Raster] = {}
    for about, data in zip(begin.pictures, received, strict=True):
        raster = _raster(about, data)
        pictures.update((field, raster) for field in about.fields)
    if begin.resumes and not whole:
        raise BadHandover("the checkpoint is missing")
    return Handover(pictures, bytes(checkpoint) if whole else None)


def _size_bytes(about: worker_pb2.Picture) -> int:
    return about.width * about.height * about.channels * about.bits // 8


def _raster(about: worker_pb2.Picture, data: bytearray) -> Raster:
    if len(data) != _size_bytes(about):
        raise BadHandover(f"a picture has {len(data)} bytes instead of {_size_bytes(about)}")
    samples = np.frombuffer(data, dtype="<u2" if about.bits == 16 else np.uint8)
    shape = (about.height, about.width, about.channels) if about.channels > 1 else (about.height, about.width)
    return Raster(samples.reshape(shape), (about.source_width, about.source_height))
