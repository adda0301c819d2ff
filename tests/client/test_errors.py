from __future__ import annotations

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

import impasto
from impasto.errors import from_call, from_job
from support.fake_server import bad_request, status

CODES = [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INVALID_ARGUMENT", impasto.InvalidRequest),
        ("FAILED_PRECONDITION", impasto.FailedPrecondition),
        ("NOT_FOUND", impasto.NotFound),
        ("UNAUTHENTICATED", impasto.Unauthenticated),
        ("PERMISSION_DENIED", impasto.PermissionDenied),
        ("RESOURCE_EXHAUSTED", impasto.ResourceExhausted),
        ("UNAVAILABLE", impasto.Unavailable),
        ("DEADLINE_EXCEEDED", impasto.DeadlineExceeded),
        ("CANCELLED", impasto.JobCancelled),
        ("INTERNAL", impasto.ServerError),
        ("UNIMPLEMENTED", impasto.ServerError),
        ("DATA_LOSS", impasto.DataLoss),
    ],
)
def test_each_code_has_an_error_class(code: str, kind: type[impasto.ImpastoError]) -> None:
    error = from_call(code, "because")
    assert type(error) is kind
    assert (error.code, str(error), error.fields, error.reason, error.retry_after) == (
        code,
        "because",
        (),
        "",
        None,
    )


def test_error_details_are_read() -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(2500)
    info = error_details_pb2.ErrorInfo(domain="impasto", reason="INVALID_FIELD")
    told = status(
        grpc.StatusCode.INVALID_ARGUMENT,
        "no",
        info,
        bad_request(spec__recipe__seed="is -1; give 0 or more", spec__content="is missing"),
        retry,
    )
    error = from_call("INVALID_ARGUMENT", "no", told.SerializeToString())
    assert isinstance(error, impasto.InvalidRequest)
    assert error.fields == (
        ("spec.recipe.seed", "is -1; give 0 or more"),
        ("spec.content", "is missing"),
    )
    assert (error.field, error.remedy) == ("spec.recipe.seed", "is -1; give 0 or more")
    assert error.reason == "INVALID_FIELD"
    assert error.retry_after == 2.5


def test_unknown_details_are_ignored() -> None:
    told = status_pb2.Status(details=[Any(type_url="type.googleapis.com/future.Detail", value=b"\xff\xff")])
    told.details.add().Pack(error_details_pb2.ErrorInfo(reason="KNOWN"))
    assert from_call("UNAVAILABLE", "", told.SerializeToString()).reason == "KNOWN"


def test_a_detail_that_cannot_be_read_does_not_hide_the_others() -> None:
    told = status_pb2.Status(
        details=[Any(type_url="type.googleapis.com/google.rpc.BadRequest", value=b"\xff")]
    )
    told.details.add().Pack(error_details_pb2.ErrorInfo(reason="KNOWN"))
    assert from_call("UNAVAILABLE", "", told.SerializeToString()).reason == "KNOWN"


DETAIL_TYPES = ["BadRequest", "ErrorInfo", "RetryInfo", "QuotaFailure", "PreconditionFailure", ""]


@given(
    code=st.sampled_from([*CODES, "", "NOT_A_CODE"]),
    message=st.text(),
    details=st.none()
    | st.binary()
    | st.lists(st.tuples(st.sampled_from(DETAIL_TYPES), st.binary())).map(
        lambda details: status_pb2.Status(
            details=[
                Any(type_url=f"type.googleapis.com/google.rpc.{name}", value=value) for name, value in details
            ]
        ).SerializeToString()
    ),
)
def test_reading_an_error_never_fails(code: str, message: str, details: bytes | None) -> None:
    error = from_call(code, message, details)
    assert isinstance(error, impasto.ImpastoError)
    assert str(error)
    assert error.retry_after is None or error.retry_after >= 0


@given(st.integers(-(2**31), 2**31 - 1), st.text())
def test_reading_a_failed_job_never_fails(code: int, message: str) -> None:
    assert isinstance(from_job(status_pb2.Status(code=code, message=message)), impasto.ImpastoError)


def test_the_error_of_a_failed_job_has_the_same_classes() -> None:
    told = status(grpc.StatusCode.INVALID_ARGUMENT, "no", bad_request(spec__content="cannot be decoded"))
    assert isinstance(from_job(told), impasto.InvalidRequest)
    assert isinstance(
        from_job(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "memory")), impasto.ResourceExhausted
    )
    assert type(from_job(status(grpc.StatusCode.INTERNAL, "bug"))) is impasto.JobFailed
