"""Jobs for the tests of the store."""

from __future__ import annotations

import hashlib
import io
import itertools
import secrets
from collections.abc import Sequence
from pathlib import Path

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.store import Record, Store

RESERVED_BYTES = 4 * 3 * 4 + (64 << 10)
"""Bytes of its tenant's quota that an unfinished `new_record` reserves for its result."""

_clock = itertools.count(1_700_000_000_000_000_000, 1_000_000)


def new_record(
    images: Sequence[str] = (), *, tenant: str = "anna", request_id: str = "", request_digest: bytes = b""
) -> Record:
    """A new job, created a millisecond after the previous one. Its images: the content, then the styles."""
    job = pb.Job(name=f"jobs/{secrets.token_urlsafe(16)}", state=pb.JOB_STATE_QUEUED, width=4, height=3)
    job.create_time.FromNanoseconds(next(_clock))
    spec = pb.JobSpec(styles=[pb.Style(image=pb.Image(sha256=sha256)) for sha256 in images[1:]])
    if images:
        spec.content.sha256 = images[0]
    return Record(job, spec, tenant, request_id, request_digest)


def ended(record: Record, state: pb.JobState, end_time: float = 1_700_000_000.0) -> Record:
    """The record's job in a final state, `end_time` in seconds since the epoch."""
    record.job.state = state
    record.job.end_time.FromNanoseconds(int(end_time * 1e9))
    return record


def make_job(store: Store, image: bytes = b"content", tenant: str = "anna") -> Record:
    return store.jobs.create(new_record([store.images.put(tenant, image)], tenant=tenant))


def succeed(store: Store, record: Record, result: bytes, end_time: float = 1_700_000_000.0) -> bool:
    ended(record, pb.JOB_STATE_SUCCEEDED, end_time)
    record.job.result.CopyFrom(pb.ImageInfo(size_bytes=len(result), sha256=sha256_of(result)))
    return store.results.finish(record, io.BytesIO(result))


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def image_bytes(store: Store, tenant: str, sha256: str) -> bytes | None:
    """The bytes of a tenant's image; None if there is no such image."""
    image = store.images.get(tenant, sha256)
    return None if image is None else image.path.read_bytes()


def write_checkpoint(store: Store, name: str, evaluation: int, data: bytes) -> bool:
    with store.checkpoints.writer(name, evaluation) as writer:
        writer.write(data[:3])
        writer.write(data[3:])
        return writer.commit()


def files_in(folder: Path) -> set[str]:
    """All files in a store's folder, except its database, lock and reserve."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in names if "/" in name}
