"""The states of a job: names, words, and the changes that make a job final."""

from __future__ import annotations

import secrets
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.records import FINAL_STATES


def new_name() -> str:
    """A name that cannot be guessed."""
    return f"jobs/{secrets.token_urlsafe(16)}"


def is_final(message: pb.Job) -> bool:
    """Whether a job SUCCEEDED, FAILED or was CANCELLED: it never changes again."""
    return message.state in FINAL_STATES


def state_word(message: pb.Job) -> str:
    """The state as people write it, such as "running"."""
    return pb.JobState.Name(message.state).removeprefix("JOB_STATE_").lower()


def copied(message: Any) -> Any:
    """A message of its own with the same content."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def failed(error: status_pb2.Status, stop_reason: pb.StopReason = pb.STOP_REASON_UNSPECIFIED) -> pb.Job:
    """What changes of a job when it fails."""
    assert error.code != code_pb2.OK
    return pb.Job(state=pb.JOB_STATE_FAILED, error=error, stop_reason=stop_reason)


def cancelled() -> pb.Job:
    """What changes of a job when it is cancelled."""
    return pb.Job(
        state=pb.JOB_STATE_CANCELLED,
        stop_reason=pb.STOP_REASON_CANCELLED,
        stop_message="The job was cancelled.",
    )


def now() -> Timestamp:
    """The time of the wall clock, as the contract has it."""
    moment = Timestamp()
    moment.GetCurrentTime()
    return moment


def end_time(message: pb.Job) -> Timestamp:
    """The time at which a job becomes final: now, but never before it was created or started. The clock may
    have been set back meanwhile."""
    return max(now(), message.create_time, message.start_time, key=Timestamp.ToNanoseconds)
