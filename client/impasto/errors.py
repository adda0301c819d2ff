"""All errors, as one tree under `ImpastoError`, and their conversion from messages.

The conversion takes plain values and bytes, so that every transport can use it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.rpc.status_pb2 import Status

DETAILS_KEY = "grpc-status-details-bin"
"""The trailer with a call's `google.rpc.Status`."""


class ImpastoError(Exception):
    """An error of a call or a job.

    Attributes:
        message: a sentence for people.
        code: the name of the canonical gRPC code, for example "INVALID_ARGUMENT".
        fields: pairs of a field's path in the request ("spec.recipe.longest_side") and a clause that says
            what is wrong with it and what to do.
        violations: pairs of a subject ("job", an image's digest, a quota's name) and a sentence, for a
            precondition that is not met or a quota that is full.
        reason: the server's code for the cause, for example "WORKER_DIED"; empty if the error did not come
            from an Impasto server.
        retry_after: seconds after which to try again; None if unknown.
    """

    default_code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        fields: Sequence[tuple[str, str]] = (),
        violations: Sequence[tuple[str, str]] = (),
        reason: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.fields = tuple(fields)
        self.violations = tuple(violations)
        self.reason = reason
        self.retry_after = retry_after


class InvalidRequest(ImpastoError):
    """A field is missing or out of range, or an image cannot be read. The same request will fail again."""

    default_code = "INVALID_ARGUMENT"

    @property
    def field(self) -> str:
        """The path of the first wrong field; empty if none is named."""
        return self.fields[0][0] if self.fields else ""

    @property
    def remedy(self) -> str:
        """What is wrong with it and what to do, as a clause that follows the field's name."""
        return self.fields[0][1] if self.fields else self.message

    def __str__(self) -> str:
        """The message; where Python has another name for a field than the contract, that name too."""
        from impasto.recipe_table import FIELDS

        renamed = {field.wire_name: field.name for field in FIELDS.values() if field.wire_name != field.name}
        paths = [path for path, _ in self.fields if path.rpartition(".")[2] in renamed]
        notes = [f"{path} is {renamed[path.rpartition('.')[2]]!r} in Python" for path in paths]
        return f"{self.message} ({', '.join(notes)})" if notes else self.message


class FailedPrecondition(ImpastoError):
    """The job or the server is in the wrong state for the call, or an image is missing."""

    default_code = "FAILED_PRECONDITION"


class NotFound(ImpastoError):
    """The server has no such job, image or style, or the caller has no access to it."""

    default_code = "NOT_FOUND"


class Unauthenticated(ImpastoError):
    """The server needs a token, or does not know the one that was sent."""

    default_code = "UNAUTHENTICATED"


class PermissionDenied(ImpastoError):
    """The caller may not do this."""

    default_code = "PERMISSION_DENIED"


class ResourceExhausted(ImpastoError):
    """A quota or the queue is full, the request is too large, or the job needs too much memory."""

    default_code = "RESOURCE_EXHAUSTED"


class Unavailable(ImpastoError):
    """The server cannot be reached or shuts down, or its worker died. The same request may succeed later."""

    default_code = "UNAVAILABLE"


class Unreachable(Unavailable):
    """No server answers at the address, or this client cannot connect to it.

    Attributes:
        cause: the cause, as a clause; empty if unknown.
        remedy: what to do, as a clause; empty if unknown, for example if no server is running.
        kind: the cause as a key: one of `impasto.diagnosis.KINDS`; empty if unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        cause: str = "",
        remedy: str = "",
        kind: str = "",
        retry_after: float | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, retry_after=retry_after, **details)
        self.cause = cause
        self.remedy = remedy
        self.kind = kind


class DeadlineExceeded(ImpastoError):
    """The call or the painting took longer than its timeout."""

    default_code = "DEADLINE_EXCEEDED"


class JobCancelled(ImpastoError):
    """The job was cancelled, by this caller or another."""

    default_code = "CANCELLED"


class JobFailed(ImpastoError):
    """The job failed for a reason without a class of its own."""


class ServerError(ImpastoError):
    """An error inside the server, or the server does not know the call."""

    default_code = "INTERNAL"


class DataLoss(ServerError):
    """A picture is damaged: its stream ended early, or its file on the server is damaged."""

    default_code = "DATA_LOSS"


class PrivateServerError(ImpastoError):
    """The private server is not installed, did not start, or ended.

    Attributes:
        exit_code: its exit code, negative for a signal; None if it never ran.
    """

    default_code = "UNAVAILABLE"

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ClientClosed(ImpastoError, ValueError):
    """The client was closed before the call, or during it."""

    default_code = "FAILED_PRECONDITION"

    def __init__(self, message: str = "the client is closed; make a new one", **details: Any) -> None:
        super().__init__(message, **details)


class TransportMissing(ImpastoError, ImportError):
    """The gRPC library that should carry the calls is not installed."""

    default_code = "FAILED_PRECONDITION"


_BY_CODE: dict[str, type[ImpastoError]] = {
    error.default_code: error
    for error in (
        InvalidRequest,
        FailedPrecondition,
        NotFound,
        Unauthenticated,
        PermissionDenied,
        ResourceExhausted,
        Unavailable,
        DeadlineExceeded,
        JobCancelled,
        DataLoss,
    )
}


def invalid_field(field: str, remedy: str) -> InvalidRequest:
    """Return the error for a wrong field of a request.

    Args:
        field: the field's path.
        remedy: what is wrong with it and what to do, as a clause that follows the path.
    """
    return InvalidRequest(f"{field} {remedy}", fields=[(field, remedy)])


def from_call(code: str, message: str, details: bytes | None = None) -> ImpastoError:
    """Return the error of a call that ended with a code other than OK.

    Args:
        code: the name of the canonical code.
        message: the status message.
        details: the trailer `DETAILS_KEY`, a serialized `google.rpc.Status`. Unreadable parts are ignored.
    """
    from google.protobuf.message import DecodeError
    from google.rpc.status_pb2 import Status

    status = Status()
    with contextlib.suppress(DecodeError):
        status = Status.FromString(details or b"")
    return _error(_BY_CODE.get(code, ServerError), code, message or status.message, status)


def from_job(status: Status) -> ImpastoError:
    """Return the error of a failed job from its `Job.error`."""
    from google.rpc.code_pb2 import Code

    code = Code.Name(status.code) if status.code in Code.values() else "UNKNOWN"
    return _error(_BY_CODE.get(code, JobFailed), code, status.message, status)


def _error(kind: type[ImpastoError], code: str, message: str, status: Status) -> ImpastoError:
    from google.protobuf.message import DecodeError
    from google.rpc.error_details_pb2 import (
        BadRequest,
        ErrorInfo,
        PreconditionFailure,
        QuotaFailure,
        RetryInfo,
    )

    fields: list[tuple[str, str]] = []
    violations: list[tuple[str, str]] = []
    reason, retry_after = "", None
    for detail in status.details:
        bad, info, retry = BadRequest(), ErrorInfo(), RetryInfo()
        unmet, full = PreconditionFailure(), QuotaFailure()
        try:
            if detail.Unpack(bad):
                fields += [(violation.field, violation.description) for violation in bad.field_violations]
            elif detail.Unpack(unmet):
                violations += [(violation.subject, violation.description) for violation in unmet.violations]
            elif detail.Unpack(full):
                violations += [(violation.subject, violation.description) for violation in full.violations]
            elif detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(retry) and retry.HasField("retry_delay"):
                retry_after = max(0.0, retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9)
        except DecodeError:
            continue
    if not message:
        said = [f"{subject}: {sentence}" for subject, sentence in (*fields, *violations)]
        message = "; ".join(said) or f"the server says {code}"
    return kind(
        message, code=code, fields=fields, violations=violations, reason=reason, retry_after=retry_after
    )
