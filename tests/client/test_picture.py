"""Pictures from a server: they are decoded with all their bits, whatever else their files contain."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

import impasto
from impasto import png
from impasto.cli.film import Film, in_srgb
from impasto.job import Preview
from impasto.picture import CodedImage, Picture
from impasto.v1 import style_transfer_pb2 as pb
from support.fake_server import FakeServer

RANDOM = np.random.default_rng(1)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def coded(data: bytes, format: str, width: int = 5, height: int = 7) -> CodedImage:
    return CodedImage(data, format, width, height, hashlib.sha256(data).hexdigest())


def wide_profile() -> bytes:
    """A profile with the primaries of Display P3 and the tone curve of sRGB."""
    profile = bytearray(SRGB)
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for i in range(struct.unpack_from(">I", profile, 128)[0]):
        tag, offset = struct.unpack_from(">4sI", profile, 132 + 12 * i)
        for j, value in enumerate(primaries.get(tag, ())):
            struct.pack_into(">i", profile, offset + 8 + 4 * j, round(value * 65536))
    return bytes(profile)


def large_profile() -> bytes:
    profile = bytearray(SRGB) + os.urandom(1_300_000)
    struct.pack_into(">I", profile, 0, len(profile))
    return bytes(profile)


def file(image: Image.Image, **options: Any) -> bytes:
    output = io.BytesIO()
    image.save(output, "PNG", **options)
    return output.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_the_array_of_a_png_has_all_its_bits(channels: int, bits: int) -> None:
    values = RANDOM.integers(0, 2**bits, (7, 5, channels), dtype=f"u{bits // 8}")
    image = coded(png.write(5, 7, channels, bits, values.astype(f"<u{bits // 8}").tobytes()), "png")
    assert image.array.dtype == values.dtype
    assert (image.array.reshape(values.shape) == values).all()


@pytest.mark.parametrize(("format", "kind"), [("rgba8", "u1"), ("rgba16", "<u2")])
def test_bare_pixels_become_an_image(format: str, kind: str) -> None:
    values = RANDOM.integers(0, np.iinfo(kind).max, (7, 5, 4), dtype=np.dtype(kind), endpoint=True)
    image = coded(values.tobytes(), format)
    assert (image.array == values).all()
    assert (np.asarray(image.image) == (values if kind == "u1" else values >> 8)).all()


def test_the_array_of_other_files() -> None:
    picture = Image.fromarray(RANDOM.integers(0, 256, (7, 5, 3), dtype=np.uint8))
    for format in ("tiff", "webp"):
        output = io.BytesIO()
        picture.save(output, format, **({"lossless": True} if format == "webp" else {}))
        assert (coded(output.getvalue(), format).array == np.asarray(picture)).all()


def test_a_16_bit_tiff_is_refused_with_the_formats_to_download() -> None:
    output = io.BytesIO()
    Image.fromarray(np.zeros((7, 5), np.uint16)).save(output, "TIFF")
    with pytest.raises(impasto.InvalidRequest, match="rgba16"):
        _ = coded(output.getvalue(), "tiff").array


def test_a_png_with_faulty_other_chunks_is_opened() -> None:
    picture = Image.fromarray(RANDOM.integers(0, 256, (7, 5, 3), dtype=np.uint8))
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 2_000_000, zip=True)
    text.add_text("Raw", "y" * 2_000_000)
    profile = large_profile()
    data = file(picture, icc_profile=profile, pnginfo=text)
    opened = coded(data, "png").image
    assert (np.asarray(opened) == np.asarray(picture)).all()
    assert opened.info["icc_profile"] == profile
    assert (coded(data, "png").array == np.asarray(picture)).all()


@pytest.mark.parametrize("body", [b"", b"name\0\0", b"name\0\0junk", b"name\0\0" + zlib.compress(b"")])
def test_a_damaged_profile_is_ignored(body: bytes) -> None:
    plain = file(Image.new("RGB", (5, 7), "red"))
    damaged = plain[:33] + png._chunk(b"iCCP", body) + plain[33:]
    opened = coded(damaged, "png").image
    assert "icc_profile" not in opened.info
    assert opened.getpixel((0, 0)) == (255, 0, 0)


def film_ends(picture: Image.Image, preview: Image.Image, **options: Any) -> float:
    """Returns by how many levels, on average, the last frame of a film differs from the one before."""
    output = io.BytesIO()
    preview.save(output, "PNG")
    film = Film()
    film.add(Preview(output.getvalue(), "png", *preview.size, 1, 1))
    data = file(picture, **options)
    job: Any = None
    webp = Image.open(io.BytesIO(film.webp(Picture(data, "png", *picture.size, "", job))))
    webp.seek(0)
    first = np.asarray(webp.convert("RGB")).astype(int)
    webp.seek(webp.n_frames - 1)
    return float(np.abs(np.asarray(webp.convert("RGB")) - first).mean())


def test_a_film_does_not_jump_in_colour_at_its_end() -> None:
    blocks = Image.fromarray(RANDOM.integers(30, 220, (3, 4, 3), dtype=np.uint8)).resize((64, 48), 0)
    profile = wide_profile()
    own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    preview = ImageCms.profileToProfile(blocks, own, srgb)
    assert preview is not None
    assert film_ends(blocks, blocks, icc_profile=profile) > 4
    assert film_ends(blocks, preview, icc_profile=profile) < 2
    assert film_ends(blocks.convert("RGBA"), preview, icc_profile=profile) < 2
    assert film_ends(blocks, blocks) < 2


def test_a_film_of_16_bit_grey_does_not_turn_white() -> None:
    grey = Image.linear_gradient("L").resize((64, 48))
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert film_ends(sixteen, grey.convert("RGB")) < 2


@pytest.mark.parametrize("profile", [b"junk", SRGB[:200], SRGB])
def test_an_unusable_profile_leaves_the_colours_unchanged(profile: bytes) -> None:
    image = Image.new("L", (4, 4), 100)
    image.info["icc_profile"] = profile
    assert in_srgb(image).getpixel((0, 0)) == (100, 100, 100)


def test_a_16_bit_result_has_16_bits(client: impasto.Client, fake: FakeServer) -> None:
    values = RANDOM.integers(0, 65536, (32, 48, 3), dtype=np.uint16)
    fake.result = png.write(48, 32, 3, 16, values.astype("<u2").tobytes())
    client.create_job(b"-", b"style", format="png16")
    assert fake.called("CreateJob")[0].spec.result_format == pb.IMAGE_FORMAT_PNG_16
    image = client.download(result_of="jobs/0000fake", format="png16")
    assert (image.format, image.array.dtype) == ("png16", np.uint16)
    assert (image.array == values).all()
    client.stylize(b"content", b"style").result()
    client.stylize(b"content", b"style", format="png16").result()
    assert [request.spec.result_format for request in fake.requests] == [0, pb.IMAGE_FORMAT_PNG_16]


def test_unknown_formats_are_refused(client: impasto.Client, fake: FakeServer) -> None:
    with pytest.raises(impasto.InvalidRequest, match="give one of png, png16"):
        client.stylize(b"content", b"style", format="tiff")  # type: ignore[arg-type]
    with pytest.raises(impasto.InvalidRequest, match="rgba16"):
        client.download(result_of="jobs/1", format="gif")
    assert not fake.calls


@pytest.mark.parametrize(
    ("format", "name", "words"),
    [
        (
            "png",
            "x.jpg",
            "ends in .jpg, but the picture is a PNG: give a name that ends in .png, or get it as",
        ),
        ("png16", "a.b/x.TIF", "download\\(result_of=…, format='tiff'\\)"),
        ("jpeg", "x.png", "a JPEG: give a name that ends in .jpg or .jpeg, or get it .* format='png'"),
        ("webp", "x.tiff", "a WebP"),
        ("tiff", "x.webp", "ends in .tif or .tiff"),
        ("png", "x.gif", "give a name that ends in .png$"),
        ("png", "x.png.bmp", "ends in .bmp"),
        ("rgba8", "x.png", "bare pixels: get it as one with .* format='png'"),
        ("rgba16", "x.bmp", "bare pixels: get it as a PNG with"),
    ],
)
def test_a_picture_is_not_saved_under_the_name_of_another_format(
    tmp_path: Path, format: str, name: str, words: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    with pytest.raises(impasto.InvalidRequest, match=words):
        coded(b"data", format).save(path)
    with pytest.raises(impasto.InvalidRequest, match=r"^path ends in"):
        coded(b"data", format).save(os.fspath(path))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("png", "x.png"),
        ("png16", "x.PNG"),
        ("jpeg", "x.jpg"),
        ("jpeg", "x.JPEG"),
        ("tiff", "x.tif"),
        ("tiff", "x.tiff"),
        ("webp", "x.jpg.webp"),
        ("png", "x"),
        ("png", ".jpg"),
        ("jpeg", "x.part"),
        ("png", "x.2026-11-26"),
        ("rgba8", "x.rgba8"),
    ],
)
def test_a_picture_is_saved_unchanged(tmp_path: Path, format: str, name: str) -> None:
    coded(b"data", format).save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"data"
