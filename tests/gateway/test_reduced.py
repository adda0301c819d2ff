"""Reduced pictures, over a real server, and how they are kept."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Iterator

import grpc
import PIL.Image
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.contract.pictures import Source
from impasto_server.gateway import reduced
from impasto_server.gateway.reduced import ReducedPictures, most_bytes
from impasto_server.temporary import anonymous_file
from support.samples import coded, photo
from support.server_process import PATIENCE, ServerProcess, running_server

JPEG = pb.IMAGE_FORMAT_JPEG


@pytest.fixture(scope="module")
def mock() -> Iterator[ServerProcess]:
    with running_server("--mock", "--port", "0") as server:
        yield server


def upload(server: ServerProcess, data: bytes, step: int = 1 << 20) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    for offset in range(0, len(data), step):
        answer = server.stub.UploadImagePiece(
            pb.UploadImagePieceRequest(
                sha256=sha256, size_bytes=len(data), offset=offset, data=data[offset : offset + step]
            ),
            timeout=PATIENCE,
        )
        assert answer.committed_bytes == min(len(data), offset + step)
    assert answer.complete
    return sha256


def download(server: ServerProcess, **fields: object) -> tuple[pb.ImageInfo, PIL.Image.Image]:
    request = pb.DownloadImageRequest(**fields)  # type: ignore[arg-type]
    chunks = list(server.stub.DownloadImage(request, timeout=PATIENCE))
    data = b"".join(chunk.data for chunk in chunks)
    info = chunks[0].info
    assert (info.size_bytes, info.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    return info, PIL.Image.open(io.BytesIO(data))


def test_an_image_is_uploaded_in_single_calls_that_can_be_repeated(mock: ServerProcess) -> None:
    data = coded(photo(70, 50))
    sha256 = hashlib.sha256(data).hexdigest()

    def send(offset: int, piece: bytes) -> pb.UploadImageResponse:
        request = pb.UploadImagePieceRequest(sha256=sha256, size_bytes=len(data), offset=offset, data=piece)
        return mock.stub.UploadImagePiece(request, timeout=PATIENCE)

    assert send(0, b"").committed_bytes == 0
    assert send(0, data[:100]).committed_bytes == 100
    with pytest.raises(grpc.RpcError) as caught:
        send(50, data[50:])
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    asked = send(0, b"")
    assert (asked.committed_bytes, asked.complete) == (100, False)
    assert send(100, data[100:]).complete
    assert send(0, b"").complete


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_reduced_and_upright(mock: ServerProcess, format: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    sha256 = upload(mock, coded(photo(80, 40), "JPEG", exif=exif), step=1000)
    number = pb.ImageFormat.Value(f"IMAGE_FORMAT_{format}")
    info, image = download(mock, sha256=sha256, max_side=16, format=number)
    assert (info.format, info.width, info.height) == (number, 8, 16)
    assert (image.format, image.size) == (format, (8, 16))
    _, whole = download(mock, sha256=sha256, max_side=2048)
    assert (whole.format, whole.size) == ("JPEG", (40, 80))


def test_transparent_pixels_are_white_in_a_jpeg_and_stay_in_the_others(mock: ServerProcess) -> None:
    sha256 = upload(mock, coded(PIL.Image.new("RGBA", (64, 64), (255, 0, 0, 0))))
    _, jpeg = download(mock, sha256=sha256, max_side=32)
    assert min(jpeg.getpixel((9, 9))) > 250  # type: ignore[type-var, arg-type]
    for number in (pb.IMAGE_FORMAT_PNG, pb.IMAGE_FORMAT_WEBP):
        _, image = download(mock, sha256=sha256, max_side=32, format=number)
        assert image.convert("RGBA").getpixel((9, 9))[3] == 0  # type: ignore[index]


@pytest.mark.parametrize(
    "fields",
    [
        {"sha256": "f" * 64, "max_side": 15},
        {"sha256": "f" * 64, "max_side": 2049},
        {"sha256": "f" * 64, "max_side": 64, "format": pb.IMAGE_FORMAT_TIFF},
        {"preview_of": "jobs/a", "max_side": 64},
        {"result_of": "jobs/a", "max_side": 64, "format": pb.IMAGE_FORMAT_RGBA8},
    ],
)
def test_what_cannot_be_reduced_is_refused(mock: ServerProcess, fields: dict[str, object]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        download(mock, **fields)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


class Reducer:
    """An intake that counts what it reduces."""

    def __init__(self, size: int = 10) -> None:
        self.made = 0
        self.size = size

    async def reduce(self, *_: object) -> tuple[bytes, int, int]:
        self.made += 1
        await asyncio.sleep(0)
        return bytes(self.size), 4, 3


def source() -> Source:
    return Source(anonymous_file())


def test_a_picture_is_made_once_even_if_its_first_caller_leaves() -> None:
    async def run() -> None:
        reducer = Reducer()
        pictures = ReducedPictures(reducer)  # type: ignore[arg-type]
        key = "a" * 64, 256, JPEG
        calls = [asyncio.create_task(pictures.made(key, source())) for _ in range(5)]
        await asyncio.sleep(0)
        calls[0].cancel()
        first, *others = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert len({id(other) for other in others}) == 1
        assert pictures.kept(key) is others[0]
        assert reducer.made == 1

    asyncio.run(run())


def test_the_pictures_used_last_are_kept_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduced, "KEPT_BYTES", 35)

    async def run() -> None:
        pictures = ReducedPictures(Reducer())  # type: ignore[arg-type]
        for digest in "abc":
            await pictures.made((digest, 256, JPEG), source())
        assert pictures.kept(("a", 256, JPEG))
        await pictures.made(("d", 256, JPEG), source())
        assert [digest for digest in "abcd" if pictures.kept((digest, 256, JPEG))] == ["a", "c", "d"]

    asyncio.run(run())


def test_the_size_of_a_reduced_picture_is_bounded_before_it_is_made() -> None:
    assert most_bytes(4000, 3000, 256) == 65536 + 256 * 192 * 4
    assert most_bytes(100, 50, 256) == 65536 + 100 * 50 * 4
