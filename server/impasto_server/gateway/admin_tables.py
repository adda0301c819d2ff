"""How `impasto-server admin` puts the state of a server and its jobs in words."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from impasto.v1 import admin_pb2
from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.previews import seconds
from impasto_server.contract.texts import shown

_TITLE = 32


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Returns rows as a table.

    Args:
        rows: the cells; the first row has the titles of the columns.
        right: columns whose cells stand at the right.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def as_data(message: Message) -> dict[str, Any]:
    """Returns a message as plain data for JSON, with the fields' names of the contract."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def status_text(status: admin_pb2.ServerStatus) -> str:
    """Returns the state of a server as tables with a summary."""
    parts = [_summary(status), _devices(status), _tenants(status)]
    if status.recent_errors:
        rows = [("time", "device", "tenant", "job", "error")]
        rows += [
            (_local(e.time.ToNanoseconds()), e.device, e.tenant, e.job, shown(e.message))
            for e in status.recent_errors
        ]
        parts.append(table(rows))
    return "\n\n".join(parts)


def _summary(status: admin_pb2.ServerStatus) -> str:
    up = (status.time.ToNanoseconds() - status.start_time.ToNanoseconds()) / 1e9
    waits = f", the longest {_span(seconds(status.longest_wait))}" if status.HasField("longest_wait") else ""
    lines = [
        f"impasto-server {status.version}, running for {_span(up)}",
        f"{status.queued_jobs} queued{waits}; {status.running_jobs} running; {status.paused_jobs} paused; "
        f"{status.open_streams} open streams",
        f"{_size(status.stored_bytes)} stored, {_size(status.free_disk_bytes)} free on the disk; "
        f"{_size(status.memory_bytes)} of memory",
    ]
    if status.trouble:
        lines.append(f"{status.trouble[0].upper()}{status.trouble[1:]}.")
    return "\n".join(lines)


def _devices(status: admin_pb2.ServerStatus) -> str:
    if not status.devices:
        return "There are no devices yet."
    rows = [("device", "state", "load", "evaluations", "jobs", "memory", "restarts", "description")]
    for device in status.devices:
        about = device.device
        rows.append(
            (
                about.name,
                pb.DeviceState.Name(about.state).removeprefix("DEVICE_STATE_").lower(),
                f"{device.load:.0%}",
                f"{device.evaluations_per_second:.1f}/s",
                str(len(device.jobs)),
                f"{_gib(device.used_memory_bytes)}/{_gib(about.memory_bytes)} GiB",
                str(about.restarts),
                about.description,
            )
        )
    return table(rows, right=(2, 3, 4, 5, 6))


def _tenants(status: admin_pb2.ServerStatus) -> str:
    if not status.tenants:
        return "There are no tenants yet."
    rows = [("tenant", "weight", "share", "device time", "queued", "running", "paused", "stored", "right")]
    for tenant in status.tenants:
        rows.append(
            (
                owner(tenant.name),
                f"{tenant.weight:g}",
                f"{tenant.recent_share:.0%}",
                _span(seconds(tenant.device_time)),
                str(tenant.queued_jobs),
                str(tenant.running_jobs),
                str(tenant.paused_jobs),
                _size(tenant.stored_bytes),
                "administrator" if tenant.administrator else "",
            )
        )
    return table(rows, right=(1, 2, 3, 4, 5, 6, 7))


def jobs_table(jobs: Sequence[admin_pb2.TenantJob]) -> str:
    """Returns jobs as a table."""
    if not jobs:
        return "There are no such jobs."
    rows = [("job", "tenant", "state", "progress", "device", "created", "title")]
    for entry in jobs:
        job = entry.job
        rows.append(
            (
                job.name,
                owner(entry.tenant),
                state_of(job),
                _progress(job),
                job.device if job.state == pb.JOB_STATE_RUNNING else "",
                _local(job.create_time.ToNanoseconds()),
                job.title if len(job.title) <= _TITLE else f"{job.title[: _TITLE - 1]}…",
            )
        )
    return table(rows, right=(3,))


def owner(tenant: str) -> str:
    """Names a tenant; the only one of a server without tokens has no name."""
    return tenant or "(everybody)"


def state_of(job: pb.Job) -> str:
    """Returns the state of a job as a word: "held" if an administrator holds it."""
    return "held" if job.held else pb.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()


def _progress(job: pb.Job) -> str:
    if not job.HasField("progress"):
        return ""
    return f"{job.progress.evaluation}/{job.progress.evaluations}"


def _local(nanoseconds: int) -> str:
    return f"{datetime.datetime.fromtimestamp(nanoseconds // 10**9):%Y-%m-%d %H:%M:%S}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}"


def _size(size: int) -> str:
    if size < 2**20:
        return f"{size / 2**10:,.1f} KiB"
    return f"{size / 2**20:,.1f} MiB" if size < 2**30 else f"{size / 2**30:,.1f} GiB"


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 1440 else f"{minutes // 1440} d"
