"""Receives an image in pieces, for `UploadImage` and `UploadImagePiece`. An upload can be continued."""

from __future__ import annotations

from collections.abc import AsyncIterator

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, failed_precondition, invalid_argument
from impasto_server.contract.pictures import Intake, PictureFault, Source
from impasto_server.gateway.submission import DIGEST
from impasto_server.store.errors import DigestMismatch, WrongOffset
from impasto_server.store.facade import AsyncStore

MAX_UPLOAD_BYTES = 256 * 1024 * 1024


async def take_upload(
    pieces: AsyncIterator[pb.UploadImageRequest | pb.UploadImagePieceRequest],
    tenant: str,
    store: AsyncStore,
    intake: Intake,
) -> pb.UploadImageResponse:
    """Stores the pieces of one image, and returns how many bytes are stored.

    Raises:
        CallError: a piece or the image is invalid.
        QuotaExceeded, TooManyUploads, StoreError: the image cannot be stored.
    """
    uploads = store.store.uploads
    sha256, size, committed = "", 0, 0
    async for piece in pieces:
        if not sha256:
            sha256, size = piece.sha256, piece.size_bytes
            _check(sha256, size)
            committed, complete = await store.files(uploads.offset, tenant, sha256, size)
            if complete:
                return pb.UploadImageResponse(committed_bytes=size, complete=True)
        # An earlier call may have sent all bytes, and been cancelled before the upload became an image.
        if piece.data and committed < size:
            try:
                committed = await store.files(uploads.append, tenant, sha256, size, piece.offset, piece.data)
            except DigestMismatch as error:
                raise CallError(invalid_argument([("data", str(error))])) from None
            except WrongOffset as error:
                message = f"the offset is {piece.offset}, but the upload continues at {error.committed}"
                raise CallError(failed_precondition("WRONG_OFFSET", sha256, message)) from None
        if committed >= size:
            await _finish(tenant, sha256, size, store, intake)
            return pb.UploadImageResponse(committed_bytes=size, complete=True)
    if not sha256:
        raise CallError(invalid_argument([("sha256", "is missing; give it in the first message")]))
    return pb.UploadImageResponse(committed_bytes=committed, complete=False)


async def only(piece: pb.UploadImagePieceRequest) -> AsyncIterator[pb.UploadImagePieceRequest]:
    """An upload of a single piece."""
    yield piece


def _check(sha256: str, size: int) -> None:
    faults = []
    if not DIGEST.fullmatch(sha256):
        faults.append(("sha256", "is not a SHA-256; give 64 lower-case hexadecimal digits"))
    if not 0 < size <= MAX_UPLOAD_BYTES:
        faults.append(("size_bytes", f"is {size:,} bytes; give 1 to {MAX_UPLOAD_BYTES:,}"))
    if faults:
        raise CallError(invalid_argument(faults))


async def _finish(tenant: str, sha256: str, size: int, store: AsyncStore, intake: Intake) -> None:
    """Makes an upload that has all its bytes an image.

    Raises:
        CallError: INVALID_ARGUMENT: the bytes do not have the announced digest, or are not an image that is
            accepted; the upload is deleted.
    """
    uploads = store.store.uploads
    try:
        path = await store.files(uploads.whole, tenant, sha256, size)
        about = None if path is None else await intake.describe(tenant, Source(path))
        await store.files(uploads.finish, tenant, sha256, size, None if about is None else about.size)
    except DigestMismatch as error:
        raise CallError(invalid_argument([("sha256", str(error))])) from None
    except PictureFault as fault:
        await store.files(uploads.forget, tenant, sha256, size)
        raise CallError(invalid_argument([("data", str(fault))])) from None
    except FileNotFoundError:
        # Another call has finished or deleted the same upload.
        _, complete = await store.files(uploads.offset, tenant, sha256, size)
        if complete:
            return
        message = "another call has changed this upload; ask for its committed bytes, and continue there"
        raise CallError(failed_precondition("WRONG_OFFSET", sha256, message)) from None
