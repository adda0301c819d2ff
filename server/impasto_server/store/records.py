"""Jobs as they are stored, and their rows in the database."""

from __future__ import annotations

import copy
import dataclasses
import re
import sqlite3
import time
from collections.abc import Callable, Iterable
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb

FINAL_STATES = frozenset({pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED})

_NAME = re.compile(r"jobs/([A-Za-z0-9_-]{1,128})")

_RESULT_MARGIN_BYTES = 64 << 10


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
        number: tells jobs in the order in which they were made, from 1, whatever the clock said; 0 until it
            is stored. The store alone gives it.
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
    # A record is the same job before and after it has been stored.
    number: int = dataclasses.field(default=0, compare=False)


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
        number=row["id"],
    )


def shown(job: pb.Job) -> pb.Job:
    """The job without what is told apart from it."""
    shown = copy.copy(job)
    shown.ClearField("spec")
    shown.ClearField("queue_position")
    return shown


def reserved_bytes(job: pb.Job) -> int:
    """Bytes of its tenant's quota that an unfinished job holds for its result; 0 for a final job.

    A PNG of RGBA pixels that cannot be compressed, and room for what is written with it.
    """
    if job.state in FINAL_STATES:
        return 0
    return job.width * job.height * 4 + _RESULT_MARGIN_BYTES


def message_columns(job: pb.Job) -> dict[str, Any]:
    """The columns of a job's row that its message decides."""
    final = job.state in FINAL_STATES
    end_ns = 0
    if final:
        end_ns = job.end_time.ToNanoseconds() if job.HasField("end_time") else time.time_ns()
        # The clock may have been set back meanwhile.
        end_ns = max(end_ns, job.create_time.ToNanoseconds())
    return {
        "message": job.SerializeToString(),
        "state": job.state,
        "final": final,
        "end_ns": end_ns,
        "reserved_bytes": reserved_bytes(job),
    }


def job_row(rows: Callable[[str, Any], list[sqlite3.Row]], name: str) -> sqlite3.Row | None:
    """The row of a job; None if there is none. `rows` answers a query."""
    found = rows("SELECT * FROM jobs WHERE name = ?", (name,))
    return found[0] if found else None


def write_job(
    database: sqlite3.Connection, record: Record, row: sqlite3.Row, *, result_bytes: int | None
) -> None:
    """Changes a job's row, within a transaction. A final job has no checkpoint."""
    values = {
        **message_columns(shown(record.job)),
        "deaths": record.deaths,
        "furthest": record.furthest,
        "result_bytes": result_bytes,
    }
    if values["final"]:
        values |= {"checkpoint": None, "checkpoint_bytes": 0}
        if row["final"]:
            values["end_ns"] = row["end_ns"]
        else:
            # Jobs become final in the order of `end_ns` also where the clock was set back.
            latest = database.execute("SELECT max(end_ns) FROM jobs WHERE final = 1").fetchone()[0]
            values["end_ns"] = max(values["end_ns"], latest or 0)
    changes = ", ".join(f"{column} = :{column}" for column in values)
    database.execute(f"UPDATE jobs SET {changes} WHERE id = :id", {**values, "id": row["id"]})


def is_name(name: str) -> bool:
    """Whether a job may have this name: "jobs/" and 1 to 128 characters of url-safe base64."""
    return _NAME.fullmatch(name) is not None


def identifier(name: str) -> str:
    """What the files of a stored job are named after."""
    match = _NAME.fullmatch(name)
    assert match, "only such names are ever stored"
    return match[1]


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
