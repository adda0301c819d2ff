"""What callers know of a job from the answers they got: what must be on disk, and what may be."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.records import FINAL_STATES

PAUSED = "paused"


@dataclasses.dataclass
class Write:
    """A change that a caller asked for.

    Attributes:
        value: to what.
        start: when it was asked for.
        end: until when it may take effect: when it was answered; for ever if the caller has left.
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
    """A field of a job, and all writes that may be its last."""

    def __init__(self, value: Any, start: float, end: float) -> None:
        self.writes = [Write(value, start, end, acknowledged=True)]
        self._seen: list[Write] = []

    def write(self, value: Any, now: float) -> Write:
        write = Write(value, now)
        self.writes.append(write)
        return write

    def refuse(self, write: Write) -> None:
        """It was answered that the write has no effect."""
        self.writes = [other for other in self.writes if other is not write]

    def allowed(self, start: float = math.inf, end: float = math.inf) -> list[Any]:
        """What a reader may find who reads at some moment between the two."""
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
        """A reader found this at some moment between the two: no older value may come back."""
        self._seen.append(Write(value, start, end))

    def show(self, value: Any, now: float) -> None:
        """A watcher was told so: whoever wrote this has had effect by now."""
        for write in self.writes:
            if write.value == value:
                write.acknowledge(now)

    def server_died(self, now: float) -> None:
        """What had no effect so far will have none."""
        for write in self.writes:
            write.end = min(write.end, now)


FIELDS = ("title", "priority", "preview.max_side", "recipe.content_weight", "recipe.tv_weight")
"""What callers change of a job, as paths of the mask."""


def value_of(job: pb.Job, field: str) -> Any:
    """What a job has in a field; of `PAUSED`, whether it is."""
    if field == PAUSED:
        return job.state == pb.JOB_STATE_PAUSED
    parent, _, name = field.rpartition(".")
    value = getattr(getattr(job, parent) if parent else job, name)
    return round(value, 3) if isinstance(value, float) else value


def set_value(job: pb.Job, field: str, value: Any) -> None:
    parent, _, name = field.rpartition(".")
    setattr(getattr(job, parent) if parent else job, name, value)


class KnownJob:
    """What callers know of one job.

    Attributes:
        name, tenant: of the job.
        lingers: whether it is cancelled when nobody watches it.
        cancels: calls that asked for its being cancelled.
        deletes: calls that asked for its being deleted, and were not refused.
        deleted: whether that was acknowledged, and when.
        final: the state that was shown as its final one; None if none was.
        result: digest of its picture, once shown.
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
        """It was made, between the two times, as asked."""
        for field in FIELDS:
            self.registers[field] = Register(value_of(asked, field), start, end)
        self.registers[PAUSED] = Register(False, start, end)

    def server_died(self, now: float) -> None:
        for register in self.registers.values():
            register.server_died(now)

    def faults(self, job: pb.Job, start: float = math.inf, end: float = math.inf) -> list[str]:
        """What of a job, read between the two times, contradicts what is known of it."""
        faults = []
        final = job.state in FINAL_STATES
        if self._final_since < start and self.final is not None and job.state != self.final:
            was, is_ = pb.JobState.Name(self.final), pb.JobState.Name(job.state)
            faults.append(f"{self.name} was shown as {was} and is {is_}")
        if final and self.result and job.result.sha256 != self.result:
            faults.append(f"{self.name} was shown with another result")
        if job.state == pb.JOB_STATE_CANCELLED and not self.cancels and not self.lingers:
            faults.append(f"{self.name} is CANCELLED and nobody asked for that")
        for field, register in self.registers.items():
            if field == PAUSED and final:
                continue
            value, allowed = value_of(job, field), register.allowed(start, end)
            if value not in allowed:
                faults.append(f"{self.name} has {field} {value!r}; it can only be one of {allowed}")
        return faults

    def observe(self, job: pb.Job, start: float, end: float) -> None:
        """A reader found it so, at some moment between the two."""
        final = self._see_final(job, end)
        for field, register in self.registers.items():
            if not (final and field == PAUSED):
                register.observe(value_of(job, field), start, end)

    def show(self, job: pb.Job, now: float) -> None:
        """A watcher was told that it is so."""
        self._see_final(job, now)
        for field, register in self.registers.items():
            # Whether it is PAUSED has two values only: an event may be older than a call for the same one.
            if field != PAUSED:
                register.show(value_of(job, field), now)

    def _see_final(self, job: pb.Job, now: float) -> bool:
        final = job.state in FINAL_STATES
        if final:
            self.final, self.result = job.state, job.result.sha256
            self._final_since = min(self._final_since, now)
        return final
