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

_SEARCHED_CHARACTERS = 200

_RESULT_MARGIN_BYTES = 64 << 10


@dataclasses.dataclass
class Record:
    """A job as it is stored.

    Attributes:
        job: the job's message of the contract, without `spec` and `queue_position`.
        spec: the job's spec; names every image by its `sha256` or as a `style`, and has no recipe.
        tenant: owner of the job.
        request_id: id of the request that created the job; "" if it had none.
        request_digest: digest of the request, to distinguish a repeated request from another one.
        linger: seconds that the job outlives its last watcher; None: for ever.
        deaths: number of workers that died while they painted the job, since it last made progress.
        stays_paused: whether a job that an administrator holds is PAUSED after the hold, too, because it was
            paused before or meanwhile. False if it is not held.
        furthest: largest number of evaluations that the job has ever reached.
        checkpoint: evaluation of the newest whole checkpoint; None if there is none. Only the store changes
            it.
        number: number of the job in order of creation, from 1, independent of the clock; 0 until the job is
            stored. Only the store sets it.
    """

    job: pb.Job
    spec: pb.JobSpec
    tenant: str
    request_id: str = ""
    request_digest: bytes = b""
    linger: float | None = None
    deaths: int = 0
    stays_paused: bool = False
    furthest: int = 0
    checkpoint: int | None = None
    # Not compared, so that a record equals itself after it has been stored.
    number: int = dataclasses.field(default=0, compare=False)


def record_of(row: sqlite3.Row) -> Record:
    """The record in a row of the table `jobs`."""
    return Record(
        job=pb.Job.FromString(row["message"]),
        spec=pb.JobSpec.FromString(row["spec"]),
        tenant=row["tenant"],
        request_id=row["request_id"],
        request_digest=row["request_digest"],
        linger=row["linger"],
        deaths=row["deaths"],
        stays_paused=bool(row["stays_paused"]),
        furthest=row["furthest"],
        checkpoint=row["checkpoint"],
        number=row["id"],
    )


def shown(job: pb.Job) -> pb.Job:
    """The job without the fields that are stored or computed separately."""
    shown = copy.copy(job)
    shown.ClearField("spec")
    shown.ClearField("queue_position")
    return shown


def reserved_bytes(job: pb.Job) -> int:
    """Bytes of its tenant's quota that an unfinished job reserves for its result; 0 for a final job.

    The size of a PNG with incompressible RGBA pixels and its metadata.
    """
    if job.state in FINAL_STATES:
        return 0
    return job.width * job.height * 4 + _RESULT_MARGIN_BYTES


def searched(title: str) -> str:
    """A title, or a part of one, in the form in which titles are searched."""
    # Earlier versions of the server took longer titles.
    return title[:_SEARCHED_CHARACTERS].casefold()


def message_columns(job: pb.Job) -> dict[str, Any]:
    """The columns of a job's row that are derived from its message."""
    final = job.state in FINAL_STATES
    end_ns = 0
    if final:
        end_ns = job.end_time.ToNanoseconds() if job.HasField("end_time") else time.time_ns()
        # The clock may have been set back since the creation.
        end_ns = max(end_ns, job.create_time.ToNanoseconds())
    return {
        "message": job.SerializeToString(),
        "state": job.state,
        "final": final,
        "end_ns": end_ns,
        "reserved_bytes": reserved_bytes(job),
        "title": searched(job.title),
    }


def job_row(rows: Callable[[str, Any], list[sqlite3.Row]], name: str) -> sqlite3.Row | None:
    """The row of a job; None if there is none. `rows` runs a query."""
    found = rows("SELECT * FROM jobs WHERE name = ?", (name,))
    return found[0] if found else None


def write_job(
    database: sqlite3.Connection, record: Record, row: sqlite3.Row, *, result_bytes: int | None
) -> None:
    """Changes a job's row, within a transaction. Removes the checkpoint of a final job."""
    values = {
        **message_columns(shown(record.job)),
        "deaths": record.deaths,
        "stays_paused": record.stays_paused,
        "furthest": record.furthest,
        "result_bytes": result_bytes,
    }
    if values["final"]:
        values |= {"checkpoint": None, "checkpoint_bytes": 0}
        if row["final"]:
            values["end_ns"] = row["end_ns"]
        else:
            # Keeps the order of `end_ns` the order in which jobs end, even if the clock was set back.
            latest = database.execute("SELECT max(end_ns) FROM jobs WHERE final = 1").fetchone()[0]
            values["end_ns"] = max(values["end_ns"], latest or 0)
    changes = ", ".join(f"{column} = :{column}" for column in values)
    database.execute(f"UPDATE jobs SET {changes} WHERE id = :id", {**values, "id": row["id"]})


def is_name(name: str) -> bool:
    """Whether this is a valid name of a job: "jobs/" and 1 to 128 characters of url-safe base64."""
    return _NAME.fullmatch(name) is not None


def identifier(name: str) -> str:
    """The identifier in a job's name, which its files are named after."""
    match = _NAME.fullmatch(name)
    assert match, "only valid names are stored"
    return match[1]


def image_digests(spec: pb.JobSpec) -> list[str]:
    """The digests of the images that a spec names, without duplicates.

    Raises:
        ValueError: the spec has the bytes of an image.
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
            raise ValueError("a stored spec must name its images by digest; store them first")
        if source == "sha256":
            digests.add(image.sha256)
    return sorted(digests)
