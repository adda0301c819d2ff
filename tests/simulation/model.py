"""What callers know about a job from their answers: what must be on disk, and what may be."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.records import FINAL_STATES

PAUSED, HELD = "paused", "held"


@dataclasses.dataclass
class Write:
    """A change that a caller requested.

    Attributes:
        value: the new value.
        start: time of the request.
        end: latest time at which it may take effect: that of the answer; infinite if the call was cancelled.
        acknowledged: whether it must have taken effect.
    """

    value: Any
    start: float
    end: float = math.inf
    acknowledged: bool = False

    def acknowledge(self, now: float) -> None:
        self.acknowledged = True
        self.end = min(self.end, now)


class Register:
    """A field of a job, with all writes that may be the latest."""

    def __init__(self, value: Any, start: float, end: float) -> None:
        self.writes = [Write(value, start, end, acknowledged=True)]
        self._seen: list[Write] = []

    def write(self, value: Any, now: float) -> Write:
        write = Write(value, now)
        self.writes.append(write)
        return write

    def refuse(self, write: Write) -> None:
        """Records the answer that the write has no effect."""
        self.writes = [other for other in self.writes if other is not write]

    def allowed(self, start: float = math.inf, end: float = math.inf) -> list[Any]:
        """The values that a reader may find at some time between `start` and `end`."""
        floor = max((w.start for w in self.writes if w.acknowledged and w.end < start), default=-math.inf)
        earlier = [seen for seen in self._seen if seen.end < start]
        return [
            write.value
            for write in self.writes
            if write.end >= floor
            and write.start <= end
            and all(write.end >= seen.start or write.value == seen.value for seen in earlier)
        ]

    def observe(self, value: Any, start: float, end: float) -> None:
        """Records that a reader found a value between two times; no older value may come back."""
        self._seen.append(Write(value, start, end))

    def show(self, value: Any, now: float) -> None:
        """Records that a watcher was shown a value: the write of it has taken effect by now."""
        for write in self.writes:
            if write.value == value:
                write.acknowledge(now)

    def server_died(self, now: float) -> None:
        """Records that pending writes can no longer take effect."""
        for write in self.writes:
            write.end = min(write.end, now)


FIELDS = ("title", "priority", "preview.max_side", "recipe.content_weight", "recipe.tv_weight")
"""Fields of a job that callers change, as paths of the update mask."""


def value_of(job: pb.Job, field: str) -> Any:
    """The value of a job's field; for `PAUSED` and `HELD`, whether the job is so."""
    if field == PAUSED:
        return job.state == pb.JOB_STATE_PAUSED
    if field == HELD:
        return job.held
    parent, _, name = field.rpartition(".")
    value = getattr(getattr(job, parent) if parent else job, name)
    return round(value, 3) if isinstance(value, float) else value


def is_visible(job: pb.Job, field: str) -> bool:
    """Whether a job shows the value that callers gave a field. A hold hides an owner's pause."""
    if field in (PAUSED, HELD) and job.state in FINAL_STATES:
        return False
    return field != PAUSED or not job.held


def set_value(job: pb.Job, field: str, value: Any) -> None:
    parent, _, name = field.rpartition(".")
    setattr(getattr(job, parent) if parent else job, name, value)


class KnownJob:
    """What callers know about one job.

    Attributes:
        name, tenant: name and tenant of the job.
        lingers: whether the job is cancelled when nobody watches it.
        cancels: calls to cancel the job.
        deletes: calls to delete the job that were not refused.
        deleted: whether a deletion was acknowledged, and when.
        final: the final state that was shown; None if none was.
        result: digest of its result, once shown.
        registers: its fields.
    """

    def __init__(self, name: str, tenant: str, *, lingers: bool = False) -> None:
        self.name = name
        self.tenant = tenant
        self.lingers = lingers
        self.cancels = 0
        self.deletes = 0
        self.deleted = math.inf
        self.final: int | None = None
        self._final_since = math.inf
        self.result = ""
        self.registers: dict[str, Register] = {}

    def begin(self, asked: pb.Job, start: float, end: float) -> None:
        """Records that the job was created as requested, between two times."""
        for field in FIELDS:
            self.registers[field] = Register(value_of(asked, field), start, end)
        self.registers[PAUSED] = Register(False, start, end)
        self.registers[HELD] = Register(False, start, end)

    def server_died(self, now: float) -> None:
        for register in self.registers.values():
            register.server_died(now)

    def faults(self, job: pb.Job, start: float = math.inf, end: float = math.inf) -> list[str]:
        """The contradictions between a job, read between two times, and what is known about it."""
        faults = []
        final = job.state in FINAL_STATES
        if self._final_since < start and self.final is not None and job.state != self.final:
            was, is_ = pb.JobState.Name(self.final), pb.JobState.Name(job.state)
            faults.append(f"{self.name} was shown as {was} and is {is_}")
        if final and self.result and job.result.sha256 != self.result:
            faults.append(f"{self.name} was shown with another result")
        if job.state == pb.JOB_STATE_CANCELLED and not self.cancels and not self.lingers:
            faults.append(f"{self.name} is CANCELLED but nobody cancelled it")
        if job.held and job.state != pb.JOB_STATE_PAUSED:
            faults.append(f"{self.name} is held and {pb.JobState.Name(job.state)}")
        for field, register in self.registers.items():
            if not is_visible(job, field):
                continue
            value, allowed = value_of(job, field), register.allowed(start, end)
            if value not in allowed:
                faults.append(f"{self.name} has {field} {value!r}; it can only be one of {allowed}")
        return faults

    def observe(self, job: pb.Job, start: float, end: float) -> None:
        """Records that a reader found the job like this, between two times."""
        self._see_final(job, end)
        for field, register in self.registers.items():
            if is_visible(job, field):
                register.observe(value_of(job, field), start, end)

    def show(self, job: pb.Job, now: float) -> None:
        """Records that a watcher was shown the job like this."""
        self._see_final(job, now)
        for field, register in self.registers.items():
            # These have only two values, so an event may be older than a call for the same value.
            if field not in (PAUSED, HELD):
                register.show(value_of(job, field), now)

    def _see_final(self, job: pb.Job, now: float) -> None:
        final = job.state in FINAL_STATES
        if final:
            self.final, self.result = job.state, job.result.sha256
            self._final_since = min(self._final_since, now)
