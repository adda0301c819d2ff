"""The states of a job: their names, and the changes that make a job final."""

from __future__ import annotations

import secrets
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, status_pb2

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.store.records import FINAL_STATES


def new_name() -> str:
    """Returns a new name that cannot be guessed."""
    return f"jobs/{secrets.token_urlsafe(16)}"


def is_final(message: pb.Job) -> bool:
    """Whether a job has succeeded, failed or been cancelled. It never changes again."""
    return message.state in FINAL_STATES


def state_word(message: pb.Job) -> str:
    """Returns the state as a word, such as "running"."""
    return pb.JobState.Name(message.state).removeprefix("JOB_STATE_").lower()


def copied(message: Any) -> Any:
    """Returns a copy of a message."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def failed(error: status_pb2.Status, stop_reason: pb.StopReason = pb.STOP_REASON_UNSPECIFIED) -> pb.Job:
    """Returns the fields that change when a job fails."""
    assert error.code != code_pb2.OK
    return pb.Job(state=pb.JOB_STATE_FAILED, error=error, stop_reason=stop_reason)


def cancelled() -> pb.Job:
    """Returns the fields that change when a job is cancelled."""
    return pb.Job(
        state=pb.JOB_STATE_CANCELLED,
        stop_reason=pb.STOP_REASON_CANCELLED,
        stop_message="The job was cancelled.",
    )


def now() -> Timestamp:
    """Returns the current time."""
    moment = Timestamp()
    moment.GetCurrentTime()
    return moment


def end_time(message: pb.Job) -> Timestamp:
    """Returns the time at which a job becomes final: now, but never before it was created or started, because
    the clock can have been set back."""
    return max(now(), message.create_time, message.start_time, key=Timestamp.ToNanoseconds)
