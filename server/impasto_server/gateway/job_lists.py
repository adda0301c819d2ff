"""What the calls that show jobs have in common."""

from __future__ import annotations

from collections.abc import Iterable

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, invalid_argument
from impasto_server.contract.texts import shown
from impasto_server.jobs.registry import Registry
from impasto_server.jobs.states import is_final
from impasto_server.store.records import Record

MAX_PAGE = 200
"""Maximum number of jobs on a page."""

_DEFAULT_PAGE = 50
_STATES = frozenset(pb.JobState.values()) - {pb.JOB_STATE_UNSPECIFIED}


def page_size(wanted: int, most: int) -> int:
    """Returns the size of a page of a list.

    Args:
        wanted: as the caller wants it; 0 for the default.
        most: maximum.

    Raises:
        CallError: INVALID_ARGUMENT.
    """
    if not 0 <= wanted <= most:
        remedy = f"is {wanted}; give 1 to {most}, or 0 for the default"
        raise CallError(invalid_argument([("page_size", remedy)]))
    return wanted or min(_DEFAULT_PAGE, most)


def wanted_states(states: Iterable[int]) -> list[int]:
    """Returns the states that a caller wants jobs of, sorted.

    Raises:
        CallError: INVALID_ARGUMENT: one of them is unknown.
    """
    wanted = set(states)
    if unknown := wanted - _STATES:
        names = ", ".join(pb.JobState.Name(state) for state in sorted(_STATES))
        remedy = f"has the unknown state {min(unknown)}; give states of {names}"
        raise CallError(invalid_argument([("states", remedy)]))
    return sorted(wanted)


def as_it_is_now(record: Record, registry: Registry) -> pb.Job:
    """Returns a stored job with its latest progress and position, without `spec`."""
    job = registry.find(record.job.name)
    return record.job if job is None else job.message()


def shown_job(message: pb.Job, keep_results_for: float) -> pb.Job:
    """Adds the time at which a job will be deleted, and makes its title safe to print.

    Args:
        message: the job; it is changed.
        keep_results_for: how long a final job is kept, in seconds.
    """
    message.title = shown(message.title)
    if is_final(message):
        keep_ns = round(keep_results_for * 1e9)
        message.expire_time.FromNanoseconds(message.end_time.ToNanoseconds() + keep_ns)
    return message
