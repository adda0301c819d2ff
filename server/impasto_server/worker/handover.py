"""What the gateway hands over with a job, message by message."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import numpy as np
import numpy.typing as npt

from impasto_server.v1 import worker_pb2


class BadHandover(Exception):
    """The requests are not in the order or of the length that the contract says."""


@dataclasses.dataclass(frozen=True)
class Handover:
    """Decoded pictures by the fields of the spec that name them, and the checkpoint to go on from, if any."""

    pictures: dict[str, Raster]
    checkpoint: bytes | None


@dataclasses.dataclass(frozen=True)
class Raster:
    """A decoded picture or mask.

    Attributes:
        samples: (H, W, 3) or, of a mask, (H, W); uint8 or uint16.
        source_size: (width, height) in pixels of the image that it was decoded from.
    """

    samples: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    source_size: tuple[int, int]


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


def pictures_bytes(begin: worker_pb2.Begin) -> int:
    """How much memory the pictures that come with a job take."""
    return sum(_size_bytes(picture) for picture in begin.pictures)


async def receive_rest(requests: AsyncIterator[worker_pb2.RunRequest], begin: worker_pb2.Begin) -> Handover:
    """The pictures and the checkpoint.

    Raises:
        BadHandover: something is missing, or does not fit together.
    """
    received = [bytearray() for _ in begin.pictures]
    checkpoint = bytearray()
    whole = False
    async for request in requests:
        kind = request.WhichOneof("payload")
        if kind == "picture":
            chunk = request.picture
            if chunk.index >= len(received) or chunk.offset != len(received[chunk.index]):
                raise BadHandover(f"a chunk of picture {chunk.index} is at {chunk.offset}")
            received[chunk.index] += chunk.data
        elif kind == "checkpoint":
            # It has a checksum of its own.
            if request.checkpoint.offset != len(checkpoint):
                raise BadHandover(f"a chunk of the checkpoint is at {request.checkpoint.offset}")
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
        raise BadHandover(f"a picture has {len(data)} bytes, not the {_size_bytes(about)} announced")
    samples = np.frombuffer(data, dtype="<u2" if about.bits == 16 else np.uint8)
    shape = (about.height, about.width, about.channels) if about.channels > 1 else (about.height, about.width)
    return Raster(samples.reshape(shape), (about.source_width, about.source_height))
