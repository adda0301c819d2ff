"""Ends a failed call with a status that says what to do."""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
from typing import Any, NoReturn

import grpc.aio
from google.rpc import status_pb2
from grpc_status import rpc_status

from impasto_server.contract.errors import (
    CallError,
    exhausted,
    failed_precondition,
    internal,
    invalid_argument,
    quoted,
    shutting_down,
    unavailable,
)
from impasto_server.contract.pictures import IntakeUnable
from impasto_server.store.errors import (
    BadPageToken,
    MissingImage,
    QuotaExceeded,
    RequestIdTaken,
    StoreBusy,
    StoreClosed,
    StoreError,
    TooManyUploads,
)

_log = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the system's errors that mean a full disk."""

_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_STORE_RETRY_SECONDS = 10.0
_BUSY_RETRY_SECONDS = 2.0


async def abort(context: Any, error: status_pb2.Status) -> NoReturn:
    """Ends a call with an error. Call it outside of `except` blocks: the handled exception would be kept."""
    told = rpc_status.to_status(error)
    task = asyncio.current_task()
    assert task is not None
    try:
        await context.abort(told.code, told.details, told.trailing_metadata)
    except grpc.aio.InternalError:
        # The error cannot be sent: the caller is gone, and the cancellation will follow.
        raise asyncio.CancelledError from None
    except grpc.aio.AbortError as aborted:
        # gRPC keeps the error with the call, and the traceback refers to the call: the request, which can
        # have megabytes, would stay in memory until the garbage collector runs.
        task.add_done_callback(functools.partial(_forget_traceback, aborted))
        raise
    raise AssertionError("abort raises")


def _forget_traceback(error: BaseException, _: object) -> None:
    error.with_traceback(None)


def status_of(error: Exception, method: str) -> status_pb2.Status:
    """Returns the status with which a call of a method ends after an error."""
    if isinstance(error, CallError):
        return error.status
    if isinstance(error, RequestIdTaken):
        remedy = "was used for another request; give a new one"
        return invalid_argument([("request_id", remedy)])
    if isinstance(error, BadPageToken):
        return bad_page_token()
    if isinstance(error, MissingImage):
        return image_missing(error.sha256)
    if isinstance(error, QuotaExceeded):
        message = (
            f"your images and results would need {error.needed_bytes:,} bytes, and your quota is "
            f"{error.quota_bytes:,}; delete jobs (their images are deleted 10 minutes after their last use), "
            "or send smaller images"
        )
        return exhausted("TOO_MANY_BYTES", f"tenant:{error.tenant}", message)
    if isinstance(error, TooManyUploads):
        return exhausted("TOO_MANY_UPLOADS", f"tenant:{error.tenant}", str(error))
    if isinstance(error, OSError) and error.errno in FULL:
        _log.error("no room for a temporary file method=%s error=%r", method, str(error))
        message = "the server has no room for temporary files; try again when its disk has room"
        return exhausted("STORAGE", "server", message, _STORE_RETRY_SECONDS)
    if isinstance(error, IntakeUnable) or (isinstance(error, OSError) and error.errno in _SHORTAGES):
        _log.error("picture not read method=%s error=%r", method, str(error))
        message = "the server cannot read pictures at the moment; try again"
        return unavailable("INTAKE", message, _BUSY_RETRY_SECONDS)
    if isinstance(error, StoreClosed):
        return shutting_down()
    if isinstance(error, StoreBusy):
        _log.error("store busy method=%s error=%r", method, str(error))
        message = "the server's database is in use by another program; try again"
        return unavailable("STORAGE_BUSY", message, _BUSY_RETRY_SECONDS)
    if isinstance(error, StoreError):
        _log.error("store failed method=%s error=%r", method, str(error))
        return exhausted("STORAGE", "server", str(error), _STORE_RETRY_SECONDS)
    _log.error("call failed method=%s", method, exc_info=error)
    return internal()


def bad_page_token() -> status_pb2.Status:
    """INVALID_ARGUMENT: the page token does not belong to this list."""
    remedy = "was not issued for this request; leave it out to start over"
    return invalid_argument([("page_token", remedy)])


def image_missing(sha256: str) -> status_pb2.Status:
    """FAILED_PRECONDITION: an image that the request names by its SHA-256 is not stored."""
    message = f"the image {quoted(sha256)} is not on the server; upload it first"
    return failed_precondition("IMAGE_MISSING", sha256, message)
