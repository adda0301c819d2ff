"""Results of 16 bits per channel, and pixels outside a selection, from the real server."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import PIL.Image
import pytest
import pyvips
from PIL import ImageCms

from impasto.v1 import style_transfer_pb2 as pb
from support.samples import coded, mask, photo, still_recipe, stylize_request
from support.server_process import PATIENCE, ServerProcess

SIZE = 48, 32
Samples = np.ndarray[Any, Any]


def gradient() -> Samples:
    """An array (32, 48, 3) of 16 bits in which nearly every sample has a different level."""
    rng = np.random.default_rng(3)
    smooth = np.add.outer(np.arange(32) * 700, np.arange(48) * 900)[..., None] + np.arange(3) * 40
    return (smooth + rng.integers(0, 97, (32, 48, 3))).astype(np.uint16)


def saved(samples: Samples, suffix: str, **options: Any) -> bytes:
    interpretation = "rgb16" if samples.shape[2] > 2 else "grey16"
    image = pyvips.Image.new_from_array(samples).copy(interpretation=interpretation)
    data: bytes = image.write_to_buffer(suffix, **options)
    return data


def samples_of(data: bytes) -> Samples:
    found: Samples = pyvips.Image.new_from_buffer(data, "").numpy()
    return found


def result_of(server: ServerProcess, request: pb.StylizeRequest) -> tuple[pb.Job, bytes]:
    responses = list(server.stub.Stylize(request, timeout=PATIENCE))
    jobs = [response.event.job for response in responses if response.event.HasField("job")]
    assert jobs[-1].state == pb.JOB_STATE_SUCCEEDED, jobs[-1].error
    return jobs[-1], b"".join(response.result.data for response in responses)


def download(server: ServerProcess, **request: Any) -> tuple[pb.ImageInfo, bytes]:
    chunks = list(server.stub.DownloadImage(pb.DownloadImageRequest(**request), timeout=PATIENCE))
    return chunks[0].info, b"".join(chunk.data for chunk in chunks)


def raw16(samples: Samples) -> pb.RawPixels:
    height, width = samples.shape[:2]
    rgba = np.full((height, width, 4), 65535, "<u2")
    rgba[..., :3] = samples
    return pb.RawPixels(width=width, height=height, rgba=rgba.tobytes(), bits_per_channel=16)


@pytest.mark.parametrize("kind", ["png", "tiff", "float tiff", "raw"])
def test_a_16_bit_content_gives_a_16_bit_result_if_requested(server: ServerProcess, kind: str) -> None:
    samples = gradient()
    request = stylize_request(recipe=still_recipe())
    request.spec.result_format = pb.IMAGE_FORMAT_PNG_16
    if kind == "raw":
        request.spec.content.raw.CopyFrom(raw16(samples))
    elif kind == "float tiff":
        image = pyvips.Image.new_from_array((samples / 65535).astype(np.float32))
        request.spec.content.encoded = image.copy(interpretation="scrgb").write_to_buffer(".tif")
    else:
        request.spec.content.encoded = saved(samples, f".{kind[:3]}")
    job, data = result_of(server, request)
    assert job.result.format == pb.IMAGE_FORMAT_PNG_16
    found = samples_of(data)
    assert found.dtype == np.uint16
    # With a learning rate of 1e-9, only rounding changes the picture.
    found = found[..., :3]
    assert np.abs(found.astype(int) - samples).max() <= 1
    info, raw = download(server, result_of=job.name, format=pb.IMAGE_FORMAT_RGBA16)
    assert (info.format, info.width, info.height) == (pb.IMAGE_FORMAT_RGBA16, *SIZE)
    assert (np.frombuffer(raw, "<u2").reshape(32, 48, 4)[..., :3] == found).all()
    info, tiff = download(server, result_of=job.name, format=pb.IMAGE_FORMAT_TIFF)
    assert info.format == pb.IMAGE_FORMAT_TIFF
    assert (samples_of(tiff)[..., :3] == found).all()
    info, png = download(server, result_of=job.name, format=pb.IMAGE_FORMAT_PNG)
    assert samples_of(png).dtype == np.uint8


def test_a_16_bit_content_can_also_be_the_style_and_the_start_image(server: ServerProcess) -> None:
    data = saved(gradient(), ".png")
    request = stylize_request(data, style=data, recipe=pb.Recipe(evaluations=1, start=pb.START_IMAGE))
    request.spec.start_image.encoded = data
    request.spec.regions.add(content_mask=pb.Image(encoded=data), style_mask=pb.Image(encoded=data))
    request.spec.result_format = pb.IMAGE_FORMAT_PNG_16
    job, _ = result_of(server, request)
    assert job.result.format == pb.IMAGE_FORMAT_PNG_16


def test_a_16_bit_content_gives_an_8_bit_result_by_default(server: ServerProcess) -> None:
    job, data = result_of(server, stylize_request(saved(gradient(), ".png"), recipe=still_recipe()))
    assert job.result.format == pb.IMAGE_FORMAT_PNG
    assert np.abs(samples_of(data).astype(int) - gradient() / 257).max() <= 1


def test_other_formats_for_stored_results_are_refused(server: ServerProcess) -> None:
    request = stylize_request()
    request.spec.result_format = pb.IMAGE_FORMAT_JPEG
    with pytest.raises(grpc.RpcError) as caught:
        list(server.stub.Stylize(request, timeout=PATIENCE))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "result_format" in caught.value.details()


def test_raw_pixels_of_other_depths_are_refused(server: ServerProcess) -> None:
    request = stylize_request()
    request.spec.content.raw.CopyFrom(pb.RawPixels(width=4, height=4, rgba=bytes(64), bits_per_channel=12))
    with pytest.raises(grpc.RpcError) as caught:
        list(server.stub.Stylize(request, timeout=PATIENCE))
    assert "spec.content.raw.bits_per_channel" in caught.value.details()


def with_left_half(content: bytes) -> pb.StylizeRequest:
    """A request that paints the left half of a content, with evaluations that change it."""
    request = stylize_request(content, recipe=pb.Recipe(evaluations=3))
    request.spec.selection.encoded = coded(mask(*SIZE))
    return request


RIGHT = slice(SIZE[0] // 2 + 1, None)


def test_16_bit_pixels_outside_a_selection_do_not_change(server: ServerProcess) -> None:
    samples = gradient()
    job, data = result_of(server, with_left_half(saved(samples, ".png")))
    assert job.result.format == pb.IMAGE_FORMAT_PNG_16
    found = samples_of(data)
    assert (found[:, RIGHT] == samples[:, RIGHT]).all()
    assert (found[:, :20] != samples[:, :20]).mean() > 0.9


def test_16_bit_grey_pixels_outside_a_selection_do_not_change(server: ServerProcess) -> None:
    grey = gradient()[..., :1]
    _, data = result_of(server, with_left_half(saved(grey, ".png")))
    found = samples_of(data)
    assert found.shape == (32, 48, 3)
    assert (found[:, RIGHT] == grey[:, RIGHT]).all()


def test_transparent_pixels_outside_a_selection_do_not_change(server: ServerProcess) -> None:
    image = photo(*SIZE).convert("RGBA")
    alpha = np.zeros((32, 48), np.uint8)
    alpha[::2] = 255
    image.putalpha(PIL.Image.fromarray(alpha))
    _, data = result_of(server, with_left_half(coded(image)))
    found = samples_of(data)
    assert (found[:, RIGHT] == np.asarray(image)[:, RIGHT]).all()
    assert (found[..., 3] == alpha).all()


def test_pixels_of_another_profile_outside_a_selection_do_not_change(server: ServerProcess) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = srgb.replace(b"rXYZ", b"temp").replace(b"bXYZ", b"rXYZ").replace(b"temp", b"bXYZ")
    image = photo(*SIZE)
    _, data = result_of(server, with_left_half(coded(image, icc_profile=profile)))
    assert (samples_of(data)[:, RIGHT] == np.asarray(image)[:, RIGHT]).all()
    assert pyvips.Image.new_from_buffer(data, "").get("icc-profile-data") == profile
