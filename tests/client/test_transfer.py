"""Uploads and downloads in pieces, over connections that break."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import grpc
import pytest
from PIL import Image

import impasto
from impasto import calls
from impasto.v1 import style_transfer_pb2 as pb
from support.fake_server import FakeServer, png, status

pytestmark = pytest.mark.usefixtures("way")

BIG = os.urandom(1_000_000)
SHA = hashlib.sha256(BIG).hexdigest()


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "UPLOAD_STRETCH", 600_000)


def sent(fake: FakeServer) -> int:
    """Returns the number of bytes of images that the server received."""
    return sum(len(message.data) for messages in fake.called("UploadImage") for message in messages)


def test_an_image_is_uploaded(client: impasto.Client, fake: FakeServer) -> None:
    assert client.upload(BIG) == impasto.UploadedImage(SHA)
    assert fake.images == {SHA: BIG}
    asked, *stretches = fake.called("UploadImage")
    assert asked == [pb.UploadImageRequest(sha256=SHA, size_bytes=len(BIG))]
    assert [messages[0].offset for messages in stretches] == [0, 600_000]
    assert max(len(message.data) for messages in stretches for message in messages) == 256 * 1024
    assert all(not message.sha256 for messages in stretches for message in messages[1:])


def test_an_image_on_the_server_is_not_sent_again(client: impasto.Client, fake: FakeServer) -> None:
    client.upload(BIG)
    before = sent(fake)
    client.upload(BIG)
    assert sent(fake) == before == len(BIG)


def test_an_upload_resumes_where_it_stopped(client: impasto.Client, fake: FakeServer) -> None:
    fake.breaks = [300_000, 700_000]
    client.upload(BIG)
    assert fake.images == {SHA: BIG}
    # The client asks how much arrived before a break, and does not send that again.
    assert len(BIG) <= sent(fake) <= len(BIG) + 2 * 256 * 1024


def test_an_upload_continues_one_of_another_client(client: impasto.Client, fake: FakeServer) -> None:
    fake.parts[SHA] = bytearray(BIG[:900_000])
    client.upload(BIG)
    assert fake.images == {SHA: BIG}
    assert sent(fake) == 100_000


def test_a_wrong_offset_is_corrected(client: impasto.Client, fake: FakeServer) -> None:
    # After the first question and one stretch, another client sends a part.
    real, count = fake._enter, [0]

    def meddle(name: str, request: object, context: grpc.ServicerContext) -> None:
        real(name, request, context)
        count[0] += 1
        if count[0] == 3:
            fake.parts[SHA] = bytearray(BIG[:700_000])

    fake._enter = meddle  # type: ignore[method-assign]
    client.upload(BIG)
    assert fake.images == {SHA: BIG}


def test_a_refused_upload(client: impasto.Client, fake: FakeServer) -> None:
    fake.faults["UploadImage"] = [status(grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full")]
    with pytest.raises(impasto.ResourceExhausted, match="disk is full"):
        client.upload(BIG)


def test_an_upload_without_progress_raises_an_error(fake: FakeServer) -> None:
    fake.faults["UploadImage"] = [status(grpc.StatusCode.FAILED_PRECONDITION, "not there")] * 100
    with (
        impasto.Client(fake.address, patience=0.5) as client,
        pytest.raises(impasto.FailedPrecondition, match="not there"),
    ):
        client.upload(BIG)


def test_large_images_are_uploaded_before_the_request(client: impasto.Client, fake: FakeServer) -> None:
    large = os.urandom(calls.INLINE_BYTES)
    client.stylize(large, [large, png()], selection=impasto.RawPixels(2, 1, bytes(8))).result()
    (request,) = fake.requests
    digest = hashlib.sha256(large).hexdigest()
    assert fake.images == {digest: large}
    assert request.spec.content.sha256 == request.spec.styles[0].image.sha256 == digest
    assert request.spec.styles[1].image.encoded == png()
    assert request.spec.selection.raw.width == 2
    client.create_job(large, png())
    assert fake.called("CreateJob")[0].spec.content.sha256 == digest
    client.estimate(large, png())
    assert fake.called("EstimateJob")[0].spec.content.sha256 == digest
    assert sent(fake) == len(large)


def test_large_raw_pixels_are_uploaded_as_a_png(client: impasto.Client, fake: FakeServer) -> None:
    rgba = os.urandom(1000 * 1000 * 4)
    client.stylize(impasto.RawPixels(1000, 1000, rgba), png()).result()
    (file,) = fake.images.values()
    assert Image.open(io.BytesIO(file)).tobytes() == rgba
    assert fake.requests[0].spec.content.sha256 == hashlib.sha256(file).hexdigest()


def test_images_on_the_server_are_named_in_the_request(client: impasto.Client, fake: FakeServer) -> None:
    named = impasto.StyleName("styles/starry-night")
    client.stylize(client.upload(png()), [named, (named, 2.0)]).result()
    spec = fake.requests[0].spec
    assert spec.content.sha256 == hashlib.sha256(png()).hexdigest()
    assert [style.image.style for style in spec.styles] == ["styles/starry-night"] * 2
    with pytest.raises(impasto.InvalidRequest, match="on the server already"):
        client.upload(named)


@pytest.mark.parametrize("name", [impasto.StyleName("starry night"), impasto.UploadedImage("ABC")])
def test_an_invalid_style_name_or_digest_is_refused(
    client: impasto.Client, fake: FakeServer, name: object
) -> None:
    with pytest.raises(impasto.InvalidRequest) as caught:
        client.stylize(png(), name)  # type: ignore[arg-type]
    assert caught.value.field == "spec.styles[0].image"
    assert not fake.calls


def test_an_image_is_downloaded(client: impasto.Client, fake: FakeServer, tmp_path: Path) -> None:
    fake.result = png(300, 200)
    image = client.download(result_of="jobs/fake")
    assert image.data == fake.result
    assert image.metadata["weights"] == "builtin"
    assert image.image.size == (300, 200)
    image.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == fake.result
    assert client.download(preview_of="jobs/fake", format=None).sha256 == image.sha256
    assert client.download(result_of="jobs/fake", format="webp").format == "webp"
    fake.images["0" * 64] = png()
    assert client.download(sha256="0" * 64).data == png()


@pytest.mark.parametrize("breaks", [[0], [500], [1000, 1500], [0, 0, 2000]])
def test_a_download_resumes_where_it_stopped(
    client: impasto.Client, fake: FakeServer, breaks: list[int]
) -> None:
    fake.result, fake.breaks = BIG[:5000], list(breaks)
    assert client.download(result_of="jobs/fake").data == fake.result
    assert [request.offset for request in fake.called("DownloadImage")] == [0, *breaks]


def test_a_download_of_a_changed_image_starts_over(client: impasto.Client, fake: FakeServer) -> None:
    fake.result, fake.breaks = BIG[:5000], [2000]
    real = fake._enter

    def newer(name: str, request: object, context: grpc.ServicerContext) -> None:
        real(name, request, context)
        if len(fake.called("DownloadImage")) == 2:
            fake.result = BIG[5000:9000]

    fake._enter = newer  # type: ignore[method-assign]
    assert client.download(preview_of="jobs/fake").data == BIG[5000:9000]
    assert [request.offset for request in fake.called("DownloadImage")] == [0, 2000, 0]


def test_a_download_of_a_changed_shorter_image_starts_over(client: impasto.Client, fake: FakeServer) -> None:
    fake.result, fake.breaks = BIG[:5000], [4000]
    real = fake._enter

    def newer(name: str, request: object, context: grpc.ServicerContext) -> None:
        real(name, request, context)
        if len(fake.called("DownloadImage")) == 2:
            fake.result = png()

    fake._enter = newer  # type: ignore[method-assign]
    assert client.download(preview_of="jobs/fake").data == png()


@pytest.mark.parametrize("sources", [{}, {"result_of": "jobs/a", "sha256": "0" * 64}])
def test_a_download_needs_exactly_one_source(client: impasto.Client, sources: dict[str, str]) -> None:
    with pytest.raises(impasto.InvalidRequest, match="give one of result_of"):
        client.download(**sources)  # type: ignore[arg-type]


def test_too_few_raw_pixels_are_refused(client: impasto.Client) -> None:
    with pytest.raises(impasto.InvalidRequest, match="has 8 bytes for 2 × 2 pixels"):
        client.upload(impasto.RawPixels(2, 2, bytes(8)))
