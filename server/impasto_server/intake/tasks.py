"""The tasks of the intake, which the gateway sends as JSON with open files."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.intake.decoding import decode_mask, decode_picture
from impasto_server.intake.encoding import convert, encode_result, reduce, thumbnail
from impasto_server.intake.faults import PictureFault
from impasto_server.intake.headers import describe
from impasto_server.intake.samples import Raw
from impasto_server.intake.strips import Samples

Picture = BinaryIO | Raw
Told = dict[str, Any]

_PIECE_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class _Damaged(Exception):
    """The SHA-256 of a file is not the expected one."""


def do(task: Mapping[str, Any], descriptors: Sequence[int]) -> Told:
    """Does a task.

    Args:
        task: "task" names the task; "sources" says for each input file whether it is "raw" (a serialized
            `RawPixels`) and which "sha256" it must have ("" for any); the other entries depend on the task.
        descriptors: those of the input files, followed by that of the output file if the task has one.

    Returns:
        One entry: "done" with the outcome, "fault" with what is wrong with a picture, "damaged" if a file
        has another SHA-256 than expected, or "unable" with the reason if the disk is full.
    """
    count = len(task["sources"])
    files = [_File(descriptor, "rb") for descriptor in descriptors[:count]]
    out = [_File(descriptor, "r+b") for descriptor in descriptors[count:]]
    try:
        for file, about in zip(files, task["sources"], strict=True):
            _check(file, about["sha256"])
        sources = [_source(*each) for each in zip(files, task["sources"], strict=True)]
        return {"done": _TASKS[task["task"]](task, sources, *out)}
    except _Damaged:
        return {"damaged": "is damaged"}
    except PictureFault as fault:
        return {"fault": str(fault)}
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return {"unable": str(error), "errno": error.errno}


class _File(io.FileIO):
    """A file on a descriptor that another process sent, read from its beginning."""

    def __init__(self, descriptor: int, mode: str) -> None:
        super().__init__(descriptor, mode)
        self.seek(0)


def _check(file: BinaryIO, sha256: str) -> None:
    if not sha256:
        return
    found = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        found.update(piece)
    file.seek(0)
    if found.hexdigest() != sha256:
        raise _Damaged


def _source(file: BinaryIO, about: Mapping[str, Any]) -> Picture:
    if not about["raw"]:
        return file
    raw = pb.RawPixels.FromString(file.read())
    return Raw(io.BytesIO(raw.rgba), 0, raw.width, raw.height, 16 if raw.bits_per_channel == 16 else 8)


def _describe(task: Mapping[str, Any], sources: Sequence[Picture]) -> Told:
    (source,) = sources
    if isinstance(source, Raw):
        size = {"width": source.width, "height": source.height}
        coded = {"coded_width": source.width, "coded_height": source.height}
        return {"format": "", **size, **coded, "bits": source.bits}
    return dataclasses.asdict(describe(source, task["max_pixels"]))


def _decode(task: Mapping[str, Any], sources: Sequence[Picture], out: BinaryIO) -> Told:
    (source,) = sources
    return _written(decode_picture(source, size=tuple(task["size"]), bits=task["bits"]).samples, out)


def _decode_mask(task: Mapping[str, Any], sources: Sequence[Picture], out: BinaryIO) -> Told:
    (source,) = sources
    return _written(decode_mask(source, max_size=tuple(task["size"])).samples, out)


def _written(samples: Samples, out: BinaryIO) -> Told:
    height, width, channels = samples.shape
    _write(out, samples.astype(samples.dtype.newbyteorder("<"), copy=False).data)
    return {"width": width, "height": height, "channels": channels, "bits": 8 * samples.dtype.itemsize}


def _write(out: BinaryIO, data: memoryview) -> None:
    data = data.cast("B")
    while data:
        data = data[out.write(data) :]


def _encode(task: Mapping[str, Any], sources: Sequence[Picture], out: BinaryIO) -> Told:
    painted = sources[0]
    assert not isinstance(painted, Raw)
    width, height = task["size"]
    dtype = "<u2" if task["bits"] == 16 else "u1"
    samples = np.frombuffer(painted.read(), dtype).reshape(height, width, 3)
    content, selection = (sources[task[name]] if name in task else None for name in ("content", "selection"))
    with _buffered(out) as buffered:
        encode_result(samples, buffered, metadata=task["metadata"], content=content, selection=selection)
    return {}


def _convert(task: Mapping[str, Any], sources: Sequence[Picture], out: BinaryIO) -> Told:
    (source,) = sources
    with _buffered(out) as buffered:
        convert(source, buffered, format=task["format"])
    return {}


def _reduce(task: Mapping[str, Any], sources: Sequence[Picture], out: BinaryIO) -> Told:
    (source,) = sources
    with _buffered(out) as buffered:
        width, height = reduce(source, buffered, side=task["side"], format=task["format"])
    return {"width": width, "height": height}


def _thumbnail(task: Mapping[str, Any], sources: Sequence[Picture], out: BinaryIO) -> Told:
    (source,) = sources
    assert not isinstance(source, Raw)
    with _buffered(out) as buffered:
        thumbnail(source, buffered, side=task["side"], max_bytes=task["max_bytes"])
    return {}


def _buffered(out: BinaryIO) -> io.BufferedWriter:
    """A writer that goes on after partial writes. Closing it leaves the file itself open."""
    return io.BufferedWriter(io.FileIO(os.dup(out.fileno()), "wb"), _PIECE_BYTES)


_TASKS: dict[str, Callable[..., Told]] = {
    "describe": _describe,
    "decode": _decode,
    "decode_mask": _decode_mask,
    "encode": _encode,
    "convert": _convert,
    "reduce": _reduce,
    "thumbnail": _thumbnail,
}
