"""Errors as callers see them: `google.rpc.Status` with details of the standard kinds."""

from __future__ import annotations

import math
from collections.abc import Iterable

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from impasto_server.contract.texts import counted, shown

DOMAIN = "impasto"

# A status is sent in the trailer, for which common clients allow 8 KiB. The trailer has the message in plain
# text, where each byte can become three, and the whole status in base64.
_MAX_VIOLATIONS = 20
_MAX_TOLD = 3
_MAX_SENTENCE = 800
_MAX_FIELD = 200
_MAX_QUOTED = 100
_MAX_STATUS_BYTES = 3500

RESTART_RETRY_SECONDS = 5.0
"""Seconds after which a caller can try a server again that was shutting down."""


class CallError(Exception):
    """Ends a call with a status.

    Attributes:
        status: the `google.rpc.Status`: code, message for people, details.
    """

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


def invalid_argument(faults: Iterable[tuple[str, str]]) -> status_pb2.Status:
    """INVALID_ARGUMENT with a `BadRequest`.

    Args:
        faults: pairs of a field's path and what is wrong with it, such as ("offset", "is 9; give 0 to 5").
    """
    faults = list(faults)
    message = "; ".join(f"{field} {remedy}" for field, remedy in faults[:_MAX_TOLD])
    if len(faults) > _MAX_TOLD:
        message += f"; and {len(faults) - _MAX_TOLD} more"
    details = _bad_request(faults[:_MAX_VIOLATIONS])
    return status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, details)


def does_not_fit(field: str, remedy: str) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED: the job needs more memory than its device has. Names the field to change."""
    message = f"{field} {remedy}"
    details = _bad_request([(field, remedy)])
    return status(grpc.StatusCode.RESOURCE_EXHAUSTED, "DOES_NOT_FIT", message, details)


def unavailable(reason: str, message: str, retry_after: float) -> status_pb2.Status:
    """UNAVAILABLE; the same call may succeed after `retry_after` seconds."""
    return status(grpc.StatusCode.UNAVAILABLE, reason, message, _retry_info(retry_after))


def shutting_down() -> status_pb2.Status:
    """UNAVAILABLE: the server is shutting down."""
    message = "the server is shutting down; try again when it is back"
    return unavailable("SHUTTING_DOWN", message, RESTART_RETRY_SECONDS)


def too_many_jobs(limit: int, tenant: str, retry_after: float) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED: the tenant has the maximum of unfinished jobs."""
    message = f"you have {counted(limit, 'unfinished job')}, the maximum; try again when a job has finished"
    return exhausted("TOO_MANY_JOBS", f"tenant:{tenant}", message, retry_after)


def queue_full(limit: int, retry_after: float) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED: the server has the maximum of unfinished jobs."""
    message = (
        f"the server has {counted(limit, 'unfinished job')}, the maximum; try again when a job has finished"
    )
    return exhausted("QUEUE_FULL", "server", message, retry_after)


def exhausted(reason: str, subject: str, message: str, retry_after: float | None = None) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED with a `QuotaFailure`.

    Args:
        reason: for the `ErrorInfo`.
        subject: whose quota it is: "server" or "tenant:NAME".
        message: what is exhausted, and what to do.
        retry_after: seconds after which the call may succeed; None if waiting does not help.
    """
    quota = error_details_pb2.QuotaFailure()
    quota.violations.add(subject=subject, description=message)
    details: list[Message] = [quota]
    if retry_after is not None:
        details.append(_retry_info(retry_after))
    return status(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, message, *details)


def internal(
    reason: str = "INTERNAL", message: str = "internal server error; see the server log"
) -> status_pb2.Status:
    """INTERNAL: an error of the server itself."""
    return status(grpc.StatusCode.INTERNAL, reason, message)


def reason_of(status: status_pb2.Status) -> str:
    """Returns the reason in a status's `ErrorInfo`; empty if there is none."""
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in status.details if detail.Unpack(info)), "")


def not_found(name: str) -> status_pb2.Status:
    """NOT_FOUND: nothing has this name, or it belongs to another tenant."""
    message = f"{quoted(name)} does not exist" if name else "the name is empty; give one"
    return status(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", message)


def damaged(name: str, message: str) -> status_pb2.Status:
    """DATA_LOSS: stored data is damaged. The message says what to do."""
    return status(grpc.StatusCode.DATA_LOSS, "DAMAGED", f"{quoted(name)} {message}")


def quoted(text: str) -> str:
    """Shortens text from a caller so that it can be quoted in a message."""
    return _cut(text, _MAX_QUOTED)


def failed_precondition(reason: str, subject: str, message: str) -> status_pb2.Status:
    """FAILED_PRECONDITION with a `PreconditionFailure`.

    Args:
        reason: for the `ErrorInfo` and the type of the failure.
        subject: the thing that is in the wrong state.
        message: what is wrong, and what to do.
    """
    failure = error_details_pb2.PreconditionFailure()
    failure.violations.add(type=reason, subject=quoted(subject), description=_cut(message, _MAX_SENTENCE))
    return status(grpc.StatusCode.FAILED_PRECONDITION, reason, message, failure)


def status(code: grpc.StatusCode, reason: str, message: str, *details: Message) -> status_pb2.Status:
    """A status with an `ErrorInfo` (reason in UPPER_SNAKE_CASE) and further details.

    A message that is too long for a trailer is cut.
    """
    result = status_pb2.Status(code=code.value[0], message=_cut(message, _MAX_SENTENCE))
    result.details.add().Pack(error_details_pb2.ErrorInfo(domain=DOMAIN, reason=reason))
    for detail in details:
        result.details.add().Pack(detail)
    return result


def _cut(text: str, most_bytes: int) -> str:
    # The text can come from a caller and be very long. Cut first: the rest would be cut off below anyway.
    text = shown(text[: most_bytes + 1])
    data = text.encode(errors="replace")
    if len(data) <= most_bytes:
        return text
    return data[: most_bytes - 3].decode(errors="ignore") + "…"


def _bad_request(faults: Iterable[tuple[str, str]]) -> error_details_pb2.BadRequest:
    details = error_details_pb2.BadRequest()
    for field, remedy in faults:
        details.field_violations.add(field=_cut(field, _MAX_FIELD), description=_cut(remedy, _MAX_SENTENCE))
    # The first fault always fits.
    while details.ByteSize() > _MAX_STATUS_BYTES and len(details.field_violations) > 1:
        del details.field_violations[-1]
    return details


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(math.ceil(seconds * 1000))
    return retry
