"""An upload that was interrupted after its last byte, before it became an image."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.errors import CallError, reason_of
from impasto_server.fleet.intake import IntakeProcess
from impasto_server.gateway.uploading import take_upload
from impasto_server.store.facade import AsyncStore
from impasto_server.store.store import Store
from support.samples import coded, photo
from support.stored_jobs import image_bytes

IMAGE = coded(photo())
DIGEST = hashlib.sha256(IMAGE).hexdigest()


async def pieces(*requests: pb.UploadImageRequest) -> AsyncIterator[pb.UploadImageRequest]:
    for request in requests:
        yield request


def request(data: bytes = b"", offset: int = 0, sha256: str = DIGEST) -> pb.UploadImageRequest:
    return pb.UploadImageRequest(sha256=sha256, size_bytes=len(IMAGE), data=data, offset=offset)


@pytest.mark.parametrize(
    "again",
    [
        [request()],
        [request(IMAGE)],
        [request(IMAGE[:9]), request(IMAGE[9:], 9)],
        [request(offset=len(IMAGE))],
    ],
    ids=["asked for", "sent again", "sent again in pieces", "gone on with"],
)
def test_the_next_call_completes_the_upload(tmp_path: Path, again: list[pb.UploadImageRequest]) -> None:
    async def run() -> None:
        store = Store(tmp_path)
        try:
            assert store.uploads.append("anna", DIGEST, len(IMAGE), 0, IMAGE) == len(IMAGE)
            assert store.images.get("anna", DIGEST) is None
            async with IntakeProcess() as intake:
                answer = await take_upload(pieces(*again), "anna", AsyncStore(store), intake)
            assert answer == pb.UploadImageResponse(committed_bytes=len(IMAGE), complete=True)
            assert image_bytes(store, "anna", DIGEST) == IMAGE
            assert store.stored_bytes("anna") == len(IMAGE)
        finally:
            store.close()

    asyncio.run(run())


def test_an_upload_with_wrong_bytes_is_refused_and_can_be_sent_again(tmp_path: Path) -> None:
    async def run() -> None:
        store = Store(tmp_path)
        try:
            store.uploads.append("anna", DIGEST, len(IMAGE), 0, bytes(len(IMAGE)))
            async with IntakeProcess() as intake:
                with pytest.raises(CallError) as caught:
                    await take_upload(pieces(request()), "anna", AsyncStore(store), intake)
                assert reason_of(caught.value.status) == "INVALID_FIELD"
                answer = await take_upload(pieces(request(IMAGE)), "anna", AsyncStore(store), intake)
                assert answer.complete
        finally:
            store.close()

    asyncio.run(run())
