"""Jobs as they are stored, and their rows in the database."""

from __future__ import annotations

import copy
import dataclasses
import sqlite3
import time
from collections.abc import Iterable
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb

FINAL_STATES = frozenset({pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED})


@dataclasses.dataclass
class Record:
    """A job as it is stored.

    Attributes:
        job: as the contract shows it, without `spec` and `queue_position`.
        spec: every image by its `sha256` or as a `style`, the recipe unset.
        tenant: whose it is.
        request_id: that it was made with; "" if none.
        request_digest: of the request, to tell an equal repeat from another request.
        linger: seconds that it outlives its last watcher; None: for ever.
        deaths: workers that died at its turn without its having got any further.
        furthest: evaluations that it has ever got to.
        checkpoint: evaluation of its newest whole checkpoint; None if there is none. The store alone
            changes it.
    """

    job: pb.Job
    spec: pb.JobSpec
    tenant: str
    request_id: str = ""
    request_digest: bytes = b""
    linger: float | None = None
    deaths: int = 0
    furthest: int = 0
    checkpoint: int | None = None


def record_of(row: sqlite3.Row) -> Record:
    """The record of a row of the table `jobs`."""
    return Record(
        job=pb.Job.FromString(row["message"]),
        spec=pb.JobSpec.FromString(row["spec"]),
        tenant=row["tenant"],
        request_id=row["request_id"],
        request_digest=row["request_digest"],
        linger=row["linger"],
        deaths=row["deaths"],
        furthest=row["furthest"],
        checkpoint=row["checkpoint"],
    )


def shown(job: pb.Job) -> pb.Job:
    """The job without what is told apart from it."""
    shown = copy.copy(job)
    shown.ClearField("spec")
    shown.ClearField("queue_position")
    return shown


def message_columns(job: pb.Job) -> dict[str, Any]:
    """The columns of a job's row that its message decides."""
    final = job.state in FINAL_STATES
    end_ns = job.end_time.ToNanoseconds() if job.HasField("end_time") else time.time_ns() if final else 0
    return {"message": job.SerializeToString(), "state": job.state, "final": final, "end_ns": end_ns}


def image_digests(spec: pb.JobSpec) -> list[str]:
    """The digests of the images that a spec names, each once.

    Raises:
        ValueError: it has the bytes of an image.
    """
    images: Iterable[pb.Image] = (
        spec.content,
        spec.start_image,
        spec.selection,
        *(style.image for style in spec.styles),
        *(mask for region in spec.regions for mask in (region.content_mask, region.style_mask)),
    )
    digests = set()
    for image in images:
        source = image.WhichOneof("source")
        if source in ("encoded", "raw"):
            raise ValueError("a stored spec names its images; store them first")
        if source == "sha256":
            digests.add(image.sha256)
    return sorted(digests)
