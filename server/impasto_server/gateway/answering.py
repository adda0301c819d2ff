"""How a call ends that fails: with a status that its caller can use."""

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

_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
_STORE_RETRY_SECONDS = 10.0
_BUSY_RETRY_SECONDS = 2.0


async def abort(context: Any, error: status_pb2.Status) -> NoReturn:
    """Ends a call with an error. Not to be called while an exception is handled, which would be kept."""
    told = rpc_status.to_status(error)
    task = asyncio.current_task()
    assert task is not None
    try:
        await context.abort(told.code, told.details, told.trailing_metadata)
    except grpc.aio.InternalError:
        # What could not be sent: the caller is gone, and its cancellation on the way.
        raise asyncio.CancelledError from None
    except grpc.aio.AbortError as aborted:
        # gRPC keeps the error with the call, and its traceback keeps the call: megabytes that had come for it
        # would wait for the garbage collector.
        task.add_done_callback(functools.partial(_forget_traceback, aborted))
        raise
    raise AssertionError("abort raises")


def _forget_traceback(error: BaseException, _: object) -> None:
    error.with_traceback(None)


def status_of(error: Exception, method: str) -> status_pb2.Status:
    """What a caller of a method is told of an error."""
    if isinstance(error, CallError):
        return error.status
    if isinstance(error, RequestIdTaken):
        remedy = "was used for another request; give one that was never used"
        return invalid_argument([("request_id", remedy)])
    if isinstance(error, BadPageToken):
        return bad_page_token()
    if isinstance(error, MissingImage):
        return image_missing(error.sha256)
    if isinstance(error, QuotaExceeded):
        message = (
            f"your images and results would take {error.needed_bytes:,} bytes, more than the "
            f"{error.quota_bytes:,} kept for you; delete some jobs (their images make room 10 minutes after "
            "their last use), or give smaller images"
        )
        return exhausted("TOO_MANY_BYTES", f"tenant:{error.tenant}", message)
    if isinstance(error, TooManyUploads):
        return exhausted("TOO_MANY_UPLOADS", f"tenant:{error.tenant}", str(error))
    if isinstance(error, IntakeUnable) or (isinstance(error, OSError) and error.errno in _SHORTAGES):
        _log.error("picture not read method=%s error=%r", method, str(error))
        message = "the server cannot read pictures just now; try again"
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
    """INVALID_ARGUMENT: a page token that this server did not give for this list."""
    remedy = "was not issued for this request; leave it out to start over"
    return invalid_argument([("page_token", remedy)])


def image_missing(sha256: str) -> status_pb2.Status:
    """FAILED_PRECONDITION: an image that was named is not there."""
    message = f"the image {quoted(sha256)} is not on the server; upload it first"
    return failed_precondition("IMAGE_MISSING", sha256, message)
