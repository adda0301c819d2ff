"""Pillow images of every mode and NumPy arrays: sent with their colours, or refused with what to do."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

import impasto
from impasto import images, png
from support.fake_server import FakeServer

GRADIENT = Image.linear_gradient("L").resize((8, 6))
PICTURE = Image.merge("RGB", (GRADIENT, GRADIENT.rotate(180), Image.radial_gradient("L").resize((8, 6))))


def sent(source: Any) -> bytes:
    return images.image_message(source).encoded


def seen(source: Any) -> Image.Image:
    """Returns the sent image, decoded."""
    return Image.open(io.BytesIO(sent(source)))


def samples(source: Any) -> Any:
    """Returns the samples of the sent image, with all their bits."""
    data = sent(source)
    high, low = (np.asarray(half).astype(int) for half in png.halves(data))
    return high * 256 + low if png.depth(data) == 16 else high


def refusal(source: Any) -> str:
    with pytest.raises(impasto.InvalidRequest) as refused:
        images.image_message(source, "spec.content")
    assert refused.value.field == "spec.content"
    return refused.value.remedy


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "RGBX", "LAB"])
def test_modes_without_a_file_format_keep_their_colours(mode: str) -> None:
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(PICTURE, srgb, lab, outputMode="LAB")
    else:
        image = PICTURE.convert(mode)
    assert image is not None
    got = np.asarray(seen(image)).astype(int)
    # 8-bit Lab is coarse for saturated colours.
    assert np.abs(got - np.asarray(PICTURE)).max() <= (20 if mode == "LAB" else 6)


def test_premultiplied_alpha_becomes_straight() -> None:
    color = Image.new("RGBA", (2, 2), (200, 100, 50, 128))
    got = seen(color.convert("RGBa"))
    assert got.mode == "RGBA"
    assert np.abs(np.asarray(got).astype(int) - np.asarray(color)).max() <= 1
    grey = seen(Image.new("LA", (2, 2), (200, 128)).convert("La"))
    assert grey.mode == "LA"
    assert np.abs(np.asarray(grey).astype(int) - (200, 128)).max() <= 1


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    assert (
        refusal(Image.new("RGB", size)) == f"is {size[0]} × {size[1]}: it has no pixels; give one with pixels"
    )


def test_mode_i_is_read_by_its_largest_value() -> None:
    eight = GRADIENT.convert("I")
    assert (samples(eight) == np.asarray(GRADIENT)).all()
    sixteen = eight.point(lambda value: value * 257)
    assert (samples(sixteen) == np.asarray(GRADIENT).astype(int) * 257).all()
    assert png.depth(sent(sixteen)) == 16


@pytest.mark.parametrize("value", [-1, 65536, 2**31 - 1])
def test_mode_i_beyond_16_bits_is_refused(value: int) -> None:
    assert "scale them to 0–255" in refusal(Image.new("I", (2, 2), value))


@pytest.mark.parametrize("full", [1.0, 255.0, 65535.0])
def test_mode_f_is_read_by_its_largest_value(full: float) -> None:
    levels = np.linspace(0, full, 48, dtype=np.float32).reshape(6, 8)
    expected = np.linspace(0, 65535, 48).reshape(6, 8)
    assert np.abs(samples(Image.fromarray(levels)) - expected).max() <= 1


@pytest.mark.parametrize("value", [-0.5, 1e6, float("inf"), float("nan"), -float("inf")])
def test_mode_f_without_a_white_is_refused(value: float) -> None:
    levels = np.full((2, 2), 0.5, np.float32)
    levels[1, 1] = value
    assert "give finite" in refusal(Image.fromarray(levels)) or "scale them" in refusal(
        Image.fromarray(levels)
    )


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N"])
def test_16_bits_of_either_byte_order_are_read(mode: str) -> None:
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1365
    order = ">u2" if mode == "I;16B" else "<u2"
    image = Image.frombytes(mode, (8, 6), values.astype(order).tobytes())
    assert (samples(image) == values).all()


def test_a_16_bit_image_is_turned_upright() -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1365
    Image.fromarray(values).save(file, "PNG", exif=exif)
    assert (samples(Image.open(file)) == np.rot90(values, -1)).all()


@pytest.mark.parametrize("mode", ["RGB", "I", "F"])
@pytest.mark.parametrize(
    "exif", [b"junk", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff"]
)
def test_damaged_exif_is_ignored(mode: str, exif: bytes) -> None:
    image = PICTURE.convert(mode)
    image.info["exif"] = exif
    expected = np.asarray(PICTURE if mode == "RGB" else PICTURE.convert("L")).astype(int)
    assert np.abs(samples(image) // (257 if mode == "F" else 1) - expected).max() <= 1


def test_a_profile_of_another_colour_space_is_left_out() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = PICTURE.convert("L")
    image.info["icc_profile"] = profile
    assert "icc_profile" not in seen(image).info
    colour = PICTURE.copy()
    colour.info["icc_profile"] = profile
    assert seen(colour).info["icc_profile"] == profile


def test_damaged_and_closed_images_are_refused() -> None:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "PNG")
    assert "cannot be read by Pillow" in refusal(Image.open(io.BytesIO(file.getvalue()[:-500])))
    image = Image.open(file)
    image.close()
    assert "cannot be read by Pillow" in refusal(image)


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, ">u2", np.bool_, np.float16, np.float32, np.float64])
def test_arrays_are_sent_without_loss(channels: int | None, kind: Any) -> None:
    shape = (6, 8) if channels is None else (6, 8, channels)
    values = np.random.default_rng(1).integers(0, 256, shape)
    given, expected = {
        "u1": (values, values),
        "u2": (values * 257, values * 257),
        "b1": (values > 99, (values > 99) * 255),
        "f2": (values / 255, values * 257),
        "f4": (values / 255, values * 257),
        "f8": (values / 255, values * 257),
    }[np.dtype(kind).str[1:]]
    got = samples(given.astype(kind))
    # A 16-bit float has a relative precision of 1/2,048.
    slack = 32 if kind is np.float16 else 0
    assert np.abs(got.reshape(expected.shape) - expected).max() <= slack


def test_views_and_masked_arrays_are_sent() -> None:
    values = np.arange(96, dtype=np.uint8).reshape(6, 16)[::-1, ::2]
    assert (samples(values) == values).all()
    assert (samples(np.ma.masked_array(values)) == values).all()
    assert (samples(np.asfortranarray(values)) == values).all()


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        (np.zeros(5, np.uint8), "give height × width"),
        (np.zeros((), np.uint8), "give height × width"),
        (np.zeros((2, 4, 4, 3), np.uint8), "it may have several images: give one of them"),
        (np.zeros((3, 40, 50), np.uint8), "array.transpose(1, 2, 0)"),
        (np.zeros((4, 4, 5), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((0, 4, 3), np.uint8), "without pixels"),
        (np.zeros((4, 0), np.uint8), "without pixels"),
        (
            np.full((4, 4), 7, np.int64),
            "is an array of int64 with values from 7 to 7; give uint8 (0 to 255) or",
        ),
        (np.full((4, 4), 300, np.int16), "uint16 (0 to 65535). Scale the values to that range first"),
        (np.full((4, 4), -3, np.int8), "from -3 to -3; give uint8"),
        (np.full((4, 4), 2**31, np.uint32), "from 2147483648 to 2147483648; give uint8"),
        (np.zeros((4, 4), complex), "give uint8, uint16"),
        (np.zeros((4, 4), object), "give uint8, uint16"),
        (np.full((4, 4), "a"), "give uint8, uint16"),
        (np.full((4, 4), 128.0), "array / 255"),
        (np.full((4, 4), 4095.0), "array / 65535"),
        (
            np.full((4, 4), -0.5),
            "from -0.5 to -0.5; give 0 to 1: if the range is -1 to 1, give (array + 1) / 2",
        ),
        (np.array([[-3.0, 200.0]]), "with values from -3 to 200; give 0 to 1"),
        (np.full((4, 4), 1e9), "give 0 to 1"),
        (np.full((4, 4), np.nan), "with NaN in it; replace NaN, and give 0 to 1"),
        (np.array([[0.5, np.nan]], np.float16), "is an array of float16 with NaN in it; replace NaN"),
        (np.full((4, 4), np.inf), "replace what is infinite, and give 0 to 1"),
        (np.array([[-np.inf, 0.5]], np.float32), "from -inf to 0.5; replace what is infinite"),
    ],
)
def test_an_array_of_the_wrong_type_shape_or_range_is_refused_with_what_to_give(
    values: Any, remedy: str
) -> None:
    assert remedy in refusal(values)


def test_array_values_just_above_1_are_clipped() -> None:
    assert (samples(np.array([[1.0005, -0.0005]])) == [[65535, 0]]).all()


def test_arrays_and_pillow_images_are_accepted_for_every_image(fake: FakeServer) -> None:
    style, mask = np.asarray(PICTURE), np.ones((6, 8), bool)
    with impasto.Client(fake.address) as client:
        client.create_job(PICTURE.convert("HSV"), [(style, 2.0)], selection=mask)
        uploaded = client.upload(style.astype(np.uint16))
    (request,) = fake.called("CreateJob")
    assert (samples(request.spec.styles[0].image.encoded) == style).all()
    assert request.spec.selection.encoded
    assert png.depth(fake.images[uploaded.sha256]) == 16


def test_raw_pixels_with_16_bits_are_sent() -> None:
    values = np.arange(6 * 8 * 4, dtype="<u2").reshape(6, 8, 4) * 300
    pixels = impasto.RawPixels(8, 6, values.tobytes(), bits_per_channel=16)
    raw = images.image_message(pixels).raw
    assert (raw.width, raw.height, raw.bits_per_channel, raw.rgba) == (8, 6, 16, values.tobytes())
    assert (samples(images.image_file(pixels)) == values).all()
    assert images.image_message(impasto.RawPixels(1, 1, bytes(4))).raw.bits_per_channel == 0
    bare: Any = values.astype(np.uint8)
    assert images.image_message(impasto.RawPixels(8, 6, bare)).raw.rgba == bare.tobytes()


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (impasto.RawPixels(2, 1, bytes(8), 16), "give 8 for each"),
        (impasto.RawPixels(2, 1, bytes(16)), "give 4 for each"),
        (impasto.RawPixels(0, 1, b""), "give 4 for each"),
        (impasto.RawPixels(1, 1, bytes(4), 12), "give 8 or 16"),
        (impasto.RawPixels(-1, 1, bytes(4)), "give a whole number"),
        (impasto.RawPixels(1, 1, [0, 0, 0, 0]), "type list; give bytes"),  # type: ignore[arg-type]
        (impasto.RawPixels(1, 1, "abcd"), "type str; give bytes"),  # type: ignore[arg-type]
    ],
)
def test_invalid_raw_pixels_are_refused(pixels: impasto.RawPixels, words: str) -> None:
    with pytest.raises(impasto.InvalidRequest, match=words):
        images.image_file(pixels)
