"""Errors as callers see them: `google.rpc.Status` with details of the standard kinds."""

from __future__ import annotations

import math
from collections.abc import Iterable

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from impasto_server.contract.texts import shown

DOMAIN = "impasto"

# A status travels in the trailer, of which common clients take 8 KiB: its sentence in the clear, where each
# byte may become three, and the whole of it in base64.
_MAX_VIOLATIONS = 20
_MAX_TOLD = 3
_MAX_SENTENCE = 800
_MAX_FIELD = 200
_MAX_QUOTED = 100
_MAX_STATUS_BYTES = 3500

RESTART_RETRY_SECONDS = 5.0
"""After so long it is worth asking a server again that is shutting down."""


class CallError(Exception):
    """A call that ends with a status.

    Attributes:
        status: the `google.rpc.Status`: code, sentence for people, details.
    """

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


def invalid_argument(faults: Iterable[tuple[str, str]]) -> status_pb2.Status:
    """INVALID_ARGUMENT with a `BadRequest`, from (path of the field, sentence on what to do) pairs."""
    faults = list(faults)
    message = "; ".join(f"{field} {remedy}" for field, remedy in faults[:_MAX_TOLD])
    if len(faults) > _MAX_TOLD:
        message += f"; and {len(faults) - _MAX_TOLD} more"
    details = _bad_request(faults[:_MAX_VIOLATIONS])
    return status(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, details)


def does_not_fit(field: str, remedy: str) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED: the job needs more memory than its device has; what to do about which field."""
    message = f"{field} {remedy}"
    details = _bad_request([(field, remedy)])
    return status(grpc.StatusCode.RESOURCE_EXHAUSTED, "DOES_NOT_FIT", message, details)


def unavailable(reason: str, message: str, retry_after: float) -> status_pb2.Status:
    """UNAVAILABLE; the same call may succeed after `retry_after` seconds."""
    return status(grpc.StatusCode.UNAVAILABLE, reason, message, _retry_info(retry_after))


def shutting_down() -> status_pb2.Status:
    """UNAVAILABLE: the server is ending."""
    message = "the server is shutting down; try again when it is back"
    return unavailable("SHUTTING_DOWN", message, RESTART_RETRY_SECONDS)


def too_many_jobs(limit: int, tenant: str, retry_after: float) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED: the tenant has as many unfinished jobs as it may."""
    message = f"you have {limit} unfinished jobs, as many as you may; try again when some are done"
    return exhausted("TOO_MANY_JOBS", f"tenant:{tenant}", message, retry_after)


def queue_full(limit: int, retry_after: float) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED: the server has as many jobs as it accepts."""
    message = f"the server has {limit} jobs and accepts no more; try again when some are done"
    return exhausted("QUEUE_FULL", "server", message, retry_after)


def exhausted(reason: str, subject: str, message: str, retry_after: float | None = None) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED with a `QuotaFailure`: whose quota, and what to do.

    Args:
        subject: "server", or "tenant:NAME".
        retry_after: seconds after which waiting helps; None if it does not.
    """
    quota = error_details_pb2.QuotaFailure()
    quota.violations.add(subject=subject, description=message)
    details: list[Message] = [quota]
    if retry_after is not None:
        details.append(_retry_info(retry_after))
    return status(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, message, *details)


def internal(
    reason: str = "INTERNAL", message: str = "the server met an error of its own; its log says more"
) -> status_pb2.Status:
    """INTERNAL."""
    return status(grpc.StatusCode.INTERNAL, reason, message)


def reason_of(status: status_pb2.Status) -> str:
    """The reason in a status's `ErrorInfo`; empty if it has none."""
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in status.details if detail.Unpack(info)), "")


def not_found(name: str) -> status_pb2.Status:
    """NOT_FOUND: there is no such thing, or it is another tenant's."""
    message = f"there is no {quoted(name)}" if name else "the name is missing"
    return status(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", message)


def damaged(name: str, message: str) -> status_pb2.Status:
    """DATA_LOSS: something that was stored is damaged. The message says what to do."""
    return status(grpc.StatusCode.DATA_LOSS, "DAMAGED", f"{quoted(name)} {message}")


def quoted(text: str) -> str:
    """What a caller sent, short enough to be sent back within a sentence."""
    return _cut(text, _MAX_QUOTED)


def failed_precondition(reason: str, subject: str, message: str) -> status_pb2.Status:
    """FAILED_PRECONDITION with a `PreconditionFailure`: what about which thing is not as it needs to be."""
    failure = error_details_pb2.PreconditionFailure()
    failure.violations.add(type=reason, subject=quoted(subject), description=_cut(message, _MAX_SENTENCE))
    return status(grpc.StatusCode.FAILED_PRECONDITION, reason, message, failure)


def status(code: grpc.StatusCode, reason: str, message: str, *details: Message) -> status_pb2.Status:
    """A status with `ErrorInfo` (its reason in UPPER_SNAKE_CASE) and further details.

    Sentences that are too long for a trailer are cut, whatever a caller had them say.
    """
    result = status_pb2.Status(code=code.value[0], message=_cut(message, _MAX_SENTENCE))
    result.details.add().Pack(error_details_pb2.ErrorInfo(domain=DOMAIN, reason=reason))
    for detail in details:
        result.details.add().Pack(detail)
    return result


def _cut(text: str, most_bytes: int) -> str:
    # A caller may have sent all of it. What is left out here is left out below, too.
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
