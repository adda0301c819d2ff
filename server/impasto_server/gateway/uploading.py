"""`UploadImage`: an image that comes in pieces, and may be gone on with after any break."""

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
    pieces: AsyncIterator[pb.UploadImageRequest], tenant: str, store: AsyncStore, intake: Intake
) -> pb.UploadImageResponse:
    """Takes the pieces of one image, and says how far it has come.

    Raises:
        CallError: a piece is at fault, or the image is.
        QuotaExceeded, TooManyUploads, StoreError: it cannot be stored.
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
        # An earlier call may have brought all the bytes, and been left before the image was made of them.
        if piece.data and committed < size:
            try:
                committed = await store.files(uploads.append, tenant, sha256, size, piece.offset, piece.data)
            except DigestMismatch as error:
                raise CallError(invalid_argument([("data", str(error))])) from None
            except WrongOffset as error:
                message = (
                    f"the upload has come to byte {error.committed}, not {piece.offset}; go on from there"
                )
                raise CallError(failed_precondition("WRONG_OFFSET", sha256, message)) from None
        if committed >= size:
            await _finish(tenant, sha256, size, store, intake)
            return pb.UploadImageResponse(committed_bytes=size, complete=True)
    if not sha256:
        raise CallError(invalid_argument([("sha256", "is missing; the first message gives it")]))
    return pb.UploadImageResponse(committed_bytes=committed, complete=False)


def _check(sha256: str, size: int) -> None:
    faults = []
    if not DIGEST.fullmatch(sha256):
        faults.append(("sha256", "is no SHA-256; give 64 lower-case hexadecimal digits"))
    if not 0 < size <= MAX_UPLOAD_BYTES:
        faults.append(("size_bytes", f"is {size}; give 1 to {MAX_UPLOAD_BYTES}"))
    if faults:
        raise CallError(invalid_argument(faults))


async def _finish(tenant: str, sha256: str, size: int, store: AsyncStore, intake: Intake) -> None:
    """Makes an image of an upload that has all its bytes.

    Raises:
        CallError: INVALID_ARGUMENT: they are others than announced, or not an image that is accepted; the
            upload is forgotten.
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
        # Another call of the same upload was quicker, or has had it forgotten.
        _, complete = await store.files(uploads.offset, tenant, sha256, size)
        if complete:
            return
        message = "the upload was changed by another call meanwhile; look how far it has come, and go on"
        raise CallError(failed_precondition("WRONG_OFFSET", sha256, message)) from None
