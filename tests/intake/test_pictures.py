"""Pictures of every format become upright sRGB at a given size."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import PIL.Image
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from impasto_server.intake.decoding import Pixels, decode_mask, decode_picture
from impasto_server.intake.headers import PictureFault, describe
from impasto_server.intake.samples import Raw
from support.odd_files import chunk, png, tiff
from support.samples import coded, photo

GREYS = PIL.Image.linear_gradient("L").resize((32, 24))
RGB = np.asarray(photo())
UPRIGHT_BY: dict[int, PIL.Image.Transpose] = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}


def decoded(data: bytes, **options: Any) -> Pixels:
    return decode_picture(io.BytesIO(data), **{"bits": 8, **options})


def assert_shows(pixels: Pixels, expected: PIL.Image.Image, *, within: int) -> None:
    """Asserts that both look the same to within some grey levels."""
    assert pixels.samples.dtype == np.uint8
    assert pixels.samples.flags.c_contiguous
    assert pixels.samples.shape == (expected.height, expected.width, 3)
    steps = pixels.samples.astype(int) - np.asarray(expected.convert("RGB")).astype(int)
    assert np.abs(steps).max() <= within


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def swapped_profile() -> bytes:
    """The profile of sRGB with red and blue swapped."""
    srgb = profile("sRGB")
    return srgb.replace(b"rXYZ", b"temp").replace(b"bXYZ", b"rXYZ").replace(b"temp", b"bXYZ")


def swapped_photo() -> PIL.Image.Image:
    red, green, blue = photo().split()
    return PIL.Image.merge("RGB", (blue, green, red))


@pytest.mark.parametrize(
    ("format", "options", "within"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 100, "subsampling": 0}, 4),
        ("JPEG", {"quality": 100, "subsampling": 0, "progressive": True}, 4),
    ],
)
def test_every_format_is_read(format: str, options: dict[str, Any], within: int) -> None:
    pixels = decoded(coded(photo(), format, **options))
    assert_shows(pixels, photo(), within=within)
    assert pixels.alpha is None


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_files_look_as_in_other_programs(format: str) -> None:
    data = coded(photo(160, 120), format, quality=80)
    with PIL.Image.open(io.BytesIO(data)) as image:
        assert_shows(decoded(data), image, within=2)


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        *((mode, format) for mode in ("L", "1", "P") for format in ("PNG", "TIFF")),
        ("CMYK", "TIFF"),
        ("L", "JPEG"),
    ],
)
def test_other_modes_become_rgb(mode: str, format: str) -> None:
    image = photo().convert(mode)
    assert_shows(decoded(coded(image, format, quality=100)), image.convert("RGB"), within=1)


@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_jpegs_are_read_as_in_other_programs(adobe: bool) -> None:
    data = coded(photo().convert("CMYK"), "JPEG", quality=100)
    if not adobe:
        at = data.index(b"\xff\xee")
        data = data[:at] + data[at + 16 :]
    with PIL.Image.open(io.BytesIO(data)) as image:
        assert_shows(decoded(data), image, within=1)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled(format: str) -> None:
    image = PIL.Image.fromarray(np.asarray(GREYS).astype(np.uint16) * 257)
    assert_shows(decoded(coded(image, format)), GREYS, within=0)


def test_sixteen_bits_are_rounded_to_eight() -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    eight = decoded(png(levels, 0)).samples[..., 0]
    assert (eight == np.rint(levels / 257)).all()
    assert (decoded(png(levels, 0), bits=16).samples[..., 0] == levels).all()


def test_eight_bits_become_sixteen() -> None:
    assert (decoded(coded(photo()), bits=16).samples == RGB.astype(np.uint16) * 257).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_pixels_of_less_than_a_byte(bits: int) -> None:
    levels = RGB[..., 0].astype(int) * 2**bits // 256
    packed = np.packbits(((levels[..., None] >> np.arange(bits - 1, -1, -1)) & 1).reshape(24, -1), axis=1)
    grey = decoded(png(packed.astype(np.uint8), 0, depth=bits, width=32))
    assert (grey.samples[..., 0] == levels * (255 // (2**bits - 1))).all()
    transparent = chunk(b"tRNS", struct.pack(">H", 1))
    alpha = decoded(png(packed.astype(np.uint8), 0, depth=bits, width=32, before=transparent)).alpha
    assert alpha is not None
    assert (alpha == np.where(levels == 1, 0, 255)).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_grey_or_colour_of_a_png(bits: int) -> None:
    scale = 257 if bits == 16 else 1
    deep = RGB.astype(np.uint16 if bits == 16 else np.uint8) * scale
    grey = deep[..., 0].copy()
    grey[3:7, 5:15] = 0x12 * scale + (1 if bits == 16 else 0)
    hidden = grey == grey[4, 6]
    data = png(grey, 0, before=chunk(b"tRNS", struct.pack(">H", int(grey[4, 6]))))
    alpha = decoded(data).alpha
    assert alpha is not None
    assert (alpha == np.where(hidden, 0, 255)).all()
    colour = deep.copy()
    colour[3:7, 5:15] = [7, 300 if bits == 16 else 30, 9]
    data = png(colour, 2, before=chunk(b"tRNS", struct.pack(">HHH", *map(int, colour[4, 6]))))
    pixels = decoded(data, bits=bits)
    assert pixels.alpha is not None
    assert ((pixels.alpha == 0) == (colour == colour[4, 6]).all(2)).all()
    assert (pixels.samples[pixels.alpha > 0] == colour[pixels.alpha > 0]).all()


def test_a_damaged_transparency_chunk_is_ignored() -> None:
    for extra in (chunk(b"tRNS", bytes(6), crc=0), chunk(b"tRNS", bytes(5))):
        pixels = decoded(png(RGB, 2, before=extra))
        assert pixels.alpha is None
        assert (pixels.samples == RGB).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_pictures_are_turned_upright(format: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(
        format, {}
    )
    data = coded(photo(), format, exif=exif, **options)
    way = UPRIGHT_BY.get(orientation)
    upright = photo() if way is None else photo().transpose(way)
    assert_shows(decoded(data), upright, within=4)
    found = describe(io.BytesIO(data), 10**6)
    assert (found.width, found.height) == upright.size
    smaller = upright.resize((upright.width // 2, upright.height // 2), PIL.Image.Resampling.LANCZOS)
    assert_shows(decoded(data, size=smaller.size), smaller, within=8)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [(32, 24), (16, 12), (64, 48)])
def test_interlaced_pngs(bits: Literal[8, 16], size: tuple[int, int]) -> None:
    samples = np.dstack([RGB, np.asarray(GREYS)]).astype(np.uint16 if bits == 16 else np.uint8)
    samples = samples * (257 if bits == 16 else 1)
    image = pyvips.Image.new_from_array(samples).copy(interpretation="rgb16" if bits == 16 else "srgb")
    interlaced = decoded(image.pngsave_buffer(interlace=True, keep="none"), size=size, bits=bits)
    plain = decoded(png(samples, 6), size=size, bits=bits)
    assert (interlaced.samples == plain.samples).all()
    assert interlaced.alpha is not None
    assert (interlaced.alpha == plain.alpha).all()


def test_an_orientation_after_the_pixels_of_a_png_is_applied() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = png(RGB, 2, after=chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    assert_shows(decoded(data), photo().transpose(PIL.Image.Transpose.ROTATE_270), within=0)


def test_alpha_is_returned_separately_and_turned_upright() -> None:
    image = photo().convert("RGBA")
    alpha = PIL.Image.new("L", image.size, 255)
    alpha.putpixel((0, 0), 7)
    image.putalpha(alpha)
    exif = PIL.Image.Exif()
    exif[0x0112] = 3
    pixels = decoded(coded(image, exif=exif))
    assert pixels.alpha is not None
    assert pixels.alpha[23, 31] == 7
    assert_shows(pixels, photo().transpose(PIL.Image.Transpose.ROTATE_180), within=0)


def test_grey_with_alpha_and_transparent_colours() -> None:
    grey = GREYS.convert("LA")
    grey.putalpha(100)
    pixels = decoded(coded(grey))
    assert pixels.alpha is not None
    assert (pixels.alpha == 100).all()
    assert_shows(pixels, GREYS, within=0)

    palette = photo().quantize(8)
    pixels = decoded(coded(palette, transparency=3))
    assert pixels.alpha is not None
    assert (pixels.alpha == np.where(np.asarray(palette) == 3, 0, 255)).all()


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_with_alpha(lossless: bool) -> None:
    image = photo().convert("RGBA")
    image.putalpha(GREYS)
    pixels = decoded(coded(image, "WEBP", lossless=lossless, exact=True, quality=95))
    assert pixels.alpha is not None
    assert (pixels.alpha == np.asarray(GREYS)).all()
    if lossless:
        visible = np.asarray(GREYS) > 0
        assert (pixels.samples[visible] == RGB[visible]).all()


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_the_first_picture_of_an_animation_is_read(format: str) -> None:
    others = [PIL.Image.new("RGB", (32, 24), "white")] * 2
    data = coded(photo(), format, save_all=True, append_images=others, duration=10, lossless=True)
    assert_shows(decoded(data), photo(), within=0)


@pytest.mark.parametrize("size", [None, (10, 10), (40, 40)])
def test_hidden_pixels_get_the_mean_colour_of_visible_ones(size: tuple[int, int] | None) -> None:
    image = PIL.Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.paste((200, 100, 50, 255), (0, 0, 10, 20))
    image.paste((100, 100, 50, 3), (10, 0, 11, 20))
    pixels = decoded(coded(image), size=size).samples
    height, width = pixels.shape[:2]
    assert pixels[height // 2, 0].tolist() == [200, 100, 50]
    assert pixels[height // 2, width - 1].tolist() == [191, 100, 50]
    if size is None:
        assert pixels[5, 10].tolist() == [100, 100, 50]


def test_a_picture_with_only_hidden_pixels_is_left_alone() -> None:
    image = photo().convert("RGBA")
    image.putalpha(0)
    assert_shows(decoded(coded(image)), photo(), within=0)


def test_hidden_pixels_can_be_left_alone() -> None:
    image = photo().convert("RGBA")
    image.putalpha(GREYS.point(lambda level: 255 if level > 99 else 0))
    assert_shows(decoded(coded(image), fill_hidden=False), photo(), within=0)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("size", [None, (16, 12), (64, 48)])
def test_profiles_are_converted_to_srgb(format: str, size: tuple[int, int] | None) -> None:
    options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(
        format, {}
    )
    data = coded(swapped_photo(), format, icc_profile=swapped_profile(), **options)
    expected = photo() if size is None else photo().resize(size, PIL.Image.Resampling.LANCZOS)
    assert_shows(decoded(data, size=size), expected, within=5)


def test_a_profile_is_applied_to_sixteen_bits() -> None:
    pre = chunk(b"iCCP", b"icc\0\0" + zlib.compress(swapped_profile()))
    deep = np.asarray(swapped_photo()).astype(np.uint16) * 257
    pixels = decoded(png(deep, 2, before=pre), bits=16)
    assert np.abs(pixels.samples.astype(int) - RGB.astype(int) * 257).max() <= 200


ROMM = np.array([[0.7977, 0.1352, 0.0313], [0.2880, 0.7119, 0.0001], [0.0, 0.0, 0.8249]])
"""From linear R, G, B to X, Y, Z (D50), for the wide gamut of ISO 22028-2."""


def with_primaries(matrix: np.ndarray[Any, Any]) -> tuple[bytes, np.ndarray[Any, Any]]:
    """The profile of sRGB with other primaries, and the matrix from its linear colours to those of sRGB."""
    srgb = bytearray(profile("sRGB"))
    own = np.empty((3, 3))
    (count,) = struct.unpack_from(">I", srgb, 128)
    for entry in range(132, 132 + 12 * count, 12):
        tag, at, _ = struct.unpack_from(">4sII", srgb, entry)
        if tag in (b"rXYZ", b"gXYZ", b"bXYZ"):
            column = b"rgb".index(tag[:1])
            own[:, column] = np.array(struct.unpack_from(">3i", srgb, at + 8)) / 65536
            struct.pack_into(">3i", srgb, at + 8, *(round(value * 65536) for value in matrix[:, column]))
    return bytes(srgb), np.linalg.inv(own) @ matrix


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("coded_bits", [8, 16])
def test_colours_beyond_srgb_become_the_nearest_levels(coded_bits: int, bits: int) -> None:
    steps = np.rint(np.linspace(0, 1, 16) * (2**coded_bits - 1))
    colours = np.stack([*np.meshgrid(steps, steps), np.full((16, 16), steps[5])], 2)
    wide, to_srgb = with_primaries(ROMM)
    pre = chunk(b"iCCP", b"icc\0\0" + zlib.compress(wide))
    values = colours / (2**coded_bits - 1)
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light = (light @ to_srgb.T).clip(0, 1)
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    shown = decoded(png(colours.astype(f"u{coded_bits // 8}"), 2, before=pre), bits=bits)
    assert np.abs(shown.samples / (2.0**bits - 1) - expected).max() <= 2 / 255


def test_an_rgb_profile_is_applied_to_grey() -> None:
    gamma = profile("sRGB")
    assert_shows(decoded(coded(photo().convert("L"), icc_profile=gamma)), photo().convert("L"), within=1)
    pixels = decoded(coded(photo().convert("L"), icc_profile=swapped_profile()))
    assert_shows(pixels, photo().convert("L"), within=3)


def test_a_large_profile_is_applied_in_every_format() -> None:
    large = bytearray(swapped_profile()) + np.random.default_rng(0).bytes(1_300_000)
    large[:4] = struct.pack(">I", len(large))
    pre = chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(large)))
    assert_shows(decoded(png(np.asarray(swapped_photo()), 2, before=pre)), photo(), within=3)
    data = coded(swapped_photo(), "JPEG", icc_profile=bytes(large), quality=100, subsampling=0)
    assert_shows(decoded(data), photo(), within=5)


def test_an_absurdly_large_profile_is_ignored() -> None:
    large = bytearray(swapped_profile()) + bytes(50_000_000)
    large[:4] = struct.pack(">I", len(large))
    pre = chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(large), 1))
    assert_shows(decoded(png(RGB, 2, before=pre)), photo(), within=0)


def test_large_text_chunks_do_no_harm() -> None:
    for text in (chunk(b"tEXt", b"Comment\0" + b"x" * 20_000_000), chunk(b"tEXt", b"Comment\0x") * 5000):
        assert_shows(decoded(png(RGB, 2, before=text)), photo(), within=0)


@pytest.mark.parametrize(
    "broken",
    [
        b"no profile",
        b"x" * 200,
        profile("LAB"),
        profile("sRGB")[:300],
        profile("sRGB")[:128] + bytes(400),
        profile("sRGB").replace(b"RGB XYZ ", b"CMYKLab "),
        profile("sRGB").replace(b"RGB XYZ ", b"GRAYXYZ "),
    ],
)
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_profiles_that_are_broken_or_of_another_kind_are_ignored(format: str, broken: bytes) -> None:
    data = coded(photo(), format, icc_profile=broken, quality=100, subsampling=0)
    assert_shows(decoded(data), photo(), within=4)


def test_broken_exif_is_ignored() -> None:
    assert_shows(decoded(coded(photo(), "PNG", exif=b"Exif\0\0rubbish")), photo(), within=0)


SIZES = [
    (300, 225),
    (100, 75),
    (61, 50),
    (20, 15),
    (7, 5),
    (600, 450),
    (333, 250),
    (64, 300),
    (400, 20),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_pictures_are_resized_by_lanczos(format: str, size: tuple[int, int]) -> None:
    image = photo(400, 300)
    noise = np.random.default_rng(0).integers(-20, 20, (300, 400, 3))
    image = PIL.Image.fromarray((np.asarray(image) // 2 + 60 + noise).astype(np.uint8))
    data = coded(image, format, quality=95)
    with PIL.Image.open(io.BytesIO(data)) as whole:
        expected = np.asarray(whole.convert("RGB").resize(size, PIL.Image.Resampling.LANCZOS)).astype(int)
    samples = decoded(data, size=size).samples
    assert samples.shape == expected.shape
    steps = np.abs(samples.astype(int) - expected)
    assert steps.mean() < 1.5
    assert np.median(steps) <= 1


@pytest.mark.parametrize("size", [(50, 50), (33, 71), (10, 10), (7, 99), (3, 3), (130, 130), (99, 201)])
@pytest.mark.parametrize("level", [1, 1000, 32768, 65535])
def test_a_uniform_colour_stays_uniform_at_any_size(size: tuple[int, int], level: int) -> None:
    even = np.full((100, 100, 4), level, np.uint16)
    pixels = decoded(png(even, 6), size=size, bits=16)
    assert (pixels.samples == level).all()
    assert pixels.alpha is not None
    assert (pixels.alpha == level).all()
    white = decoded(coded(PIL.Image.new("RGB", (100, 100), "white"), "JPEG"), size=size)
    assert (white.samples == 255).all()


def test_resizing_keeps_the_precision_of_sixteen_bits() -> None:
    ramp = np.tile(np.linspace(0, 65535, 400).astype(np.uint16), (40, 1))
    small = decoded(png(ramp, 0), size=(100, 10), bits=16).samples[5, 5:95, 0].astype(int)
    expected = np.linspace(0, 65535, 400).reshape(100, 4).mean(1)[5:95]
    assert np.abs(small - expected).max() < 8


def test_shrinking_while_decoding_keeps_the_picture_sharp() -> None:
    lines = np.zeros((512, 2048), np.uint8)
    lines[:, ::32] = 255
    lines[:, 1::32] = 255
    for format in ("JPEG", "WEBP"):
        data = coded(PIL.Image.fromarray(lines), format, quality=95)
        with PIL.Image.open(io.BytesIO(data)) as whole:
            expected = np.asarray(whole.convert("L").resize((256, 64), PIL.Image.Resampling.LANCZOS))
        samples = decoded(data, size=(256, 64)).samples[..., 0]
        assert samples.std() > 0.93 * expected.std()


def test_the_longer_side_can_be_limited() -> None:
    data = coded(photo(90, 30))
    assert decoded(data, max_side=30).samples.shape == (10, 30, 3)
    assert decoded(data, max_side=90).samples.shape == (30, 90, 3)
    assert decoded(data, max_side=1000).samples.shape == (30, 90, 3)
    assert decoded(coded(photo(1000, 2)), max_side=10).samples.shape == (1, 10, 3)


def test_alpha_is_resized_without_ringing() -> None:
    image = PIL.Image.new("RGBA", (100, 100), (9, 9, 9, 10))
    image.paste((9, 9, 9, 200), (50, 0, 100, 100))
    for size in ((33, 33), (250, 250)):
        alpha = decoded(coded(image), size=size).alpha
        assert alpha is not None
        assert alpha.shape == size
        assert (alpha.min(), alpha.max()) == (10, 200)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("raw_bits", [8, 16])
def test_raw_pixels(bits: Literal[8, 16], raw_bits: Literal[8, 16]) -> None:
    rgba = np.asarray(photo().convert("RGBA"))
    sent = rgba if raw_bits == 8 else rgba.astype("<u2") * 257
    pixels = decode_picture(Raw(io.BytesIO(b"abc" + sent.tobytes()), 3, 32, 24, raw_bits), bits=bits)
    assert (pixels.samples == RGB.astype(int) * (257 if bits == 16 else 1)).all()
    assert pixels.alpha is not None
    assert (pixels.alpha == 2**bits - 1).all()
    small = decode_picture(Raw(io.BytesIO(sent.tobytes()), 0, 32, 24, raw_bits), size=(16, 12), bits=8)
    assert_shows(small, photo().resize((16, 12), PIL.Image.Resampling.LANCZOS), within=1)


def test_too_few_raw_pixels_are_refused() -> None:
    with pytest.raises(PictureFault, match="fewer pixels"):
        decode_picture(Raw(io.BytesIO(bytes(15)), 0, 2, 2, 8), bits=8)
    with pytest.raises(PictureFault, match="fewer pixels"):
        decode_mask(Raw(io.BytesIO(bytes(16)), 1, 2, 2, 8))


def damaged_files() -> dict[str, bytes]:
    noise = PIL.Image.effect_noise((64, 64), 90).convert("RGB")
    jpeg, progressive = coded(noise, "JPEG"), coded(noise, "JPEG", progressive=True)
    deflated = zlib.compress(b"\0" + b"\7" * 96)
    lzw = bytearray(coded(noise, "TIFF", compression="tiff_lzw"))
    lzw[len(lzw) // 2 : len(lzw) // 2 + 40] = b"\xff" * 40
    return {
        "jpeg whose scan ends early": jpeg[: len(jpeg) // 2] + b"\xff\xd9",
        "progressive jpeg whose scan ends early": progressive[: len(progressive) // 2] + b"\xff\xd9",
        "jpeg with garbage in its scan": jpeg[: len(jpeg) // 2] + b"\xfe\x7f" * 400 + jpeg[-700:],
        "png with too few rows": png(RGB, 2)[:8]
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", deflated)
        + chunk(b"IEND", b""),
        "png whose data are garbage": png(RGB, 2)[:33] + chunk(b"IDAT", b"rubbish" * 9) + chunk(b"IEND", b""),
        "tiff with garbage in a strip": bytes(lzw),
    }


@pytest.mark.parametrize("name", damaged_files())
@pytest.mark.parametrize("size", [None, (16, 16)])
def test_damaged_pixels_are_reported(name: str, size: tuple[int, int] | None) -> None:
    data = damaged_files()[name]
    with pytest.raises(PictureFault, match=r"is damaged: its pixels cannot be decoded \(.+\); save it again"):
        decoded(data, size=size)
    with pytest.raises(PictureFault):
        decode_mask(io.BytesIO(data))


def test_bytes_between_the_segments_of_a_jpeg_do_no_harm() -> None:
    data = coded(photo(), "JPEG", quality=100, subsampling=0)
    assert_shows(decoded(data[:-2] + bytes(5) + data[-2:]), photo(), within=4)


def levels(data: bytes, max_size: tuple[int, int] | None = None) -> Any:
    """A mask's levels (height, width)."""
    mask = decode_mask(io.BytesIO(data), max_size=max_size)
    assert mask.samples.dtype == np.uint8
    assert mask.samples.shape[2] == 1
    return mask.samples[..., 0].astype(int)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "CMYK"])
def test_a_mask_is_its_luminance(mode: str) -> None:
    image = photo().convert(mode)
    expected = np.asarray(image.convert("RGB").convert("L")).astype(int)
    assert np.abs(levels(coded(image, "TIFF")) - expected).max() <= (1 if mode == "CMYK" else 0)


def test_a_transparent_mask_lies_over_black() -> None:
    for mode in ("LA", "RGBA"):
        image = PIL.Image.new("L", (32, 24), 200).convert(mode)
        image.putalpha(GREYS)
        assert np.abs(levels(coded(image)) - np.asarray(GREYS).astype(int) * 200 / 255).max() <= 1
    one_transparent_colour = photo().quantize(8)
    seen = levels(coded(one_transparent_colour, transparency=3))
    assert (seen[np.asarray(one_transparent_colour) == 3] == 0).all()
    assert seen.max() > 0


def test_a_mask_of_16_bits_or_floating_point_is_scaled() -> None:
    deep = PIL.Image.fromarray(np.asarray(GREYS).astype(np.uint16) * 257)
    for format in ("PNG", "TIFF"):
        assert (levels(coded(deep, format)) == np.asarray(GREYS)).all()
    assert (levels(tiff((np.asarray(GREYS) / 255).astype("f4"), 1, format=3)) == np.asarray(GREYS)).all()
    transparent = np.stack([np.full((24, 32), 65535), np.asarray(GREYS).astype(int) * 257], 2).astype(
        np.uint16
    )
    assert (levels(png(transparent, 4)) == np.asarray(GREYS)).all()


def test_a_mask_of_raw_pixels() -> None:
    rgba = GREYS.convert("RGBA")
    rgba.putalpha(128)
    mask = decode_mask(Raw(io.BytesIO(rgba.tobytes()), 0, 32, 24, 8)).samples[..., 0]
    assert np.abs(mask.astype(int) - np.asarray(GREYS).astype(int) * 128 / 255).max() <= 1


def test_a_masks_profile_is_ignored() -> None:
    # For a picture, this profile would change the colours.
    data = coded(photo(), icc_profile=swapped_profile())
    assert (levels(data) == np.asarray(photo().convert("L"))).all()
    linear = png(RGB, 2, before=chunk(b"gAMA", struct.pack(">I", 100_000)))
    assert (levels(linear) == np.asarray(photo().convert("L"))).all()
    assert (decoded(data).samples != decoded(coded(photo())).samples).any()


def test_a_mask_is_turned_upright() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    expected = GREYS.transpose(PIL.Image.Transpose.ROTATE_270)
    assert (levels(coded(GREYS, exif=exif)) == np.asarray(expected)).all()
    smaller = np.asarray(expected.resize((12, 16), PIL.Image.Resampling.BOX)).astype(int)
    assert np.abs(levels(coded(GREYS, exif=exif), (12, 16)) - smaller).max() <= 1


@pytest.mark.parametrize("max_size", [(160, 120), (53, 41), (7, 199), (1, 1), (400, 300), (399, 299)])
def test_a_large_mask_is_averaged(max_size: tuple[int, int]) -> None:
    image = PIL.Image.effect_noise((400, 300), 90)
    expected = image
    if max_size[0] < 400 and max_size[1] < 300:
        expected = image.resize(max_size, PIL.Image.Resampling.BOX)
    found = levels(coded(image), max_size)
    assert found.shape == (expected.height, expected.width)
    assert np.abs(found - np.asarray(expected).astype(int)).max() <= 1


@pytest.mark.parametrize("max_size", [(20, 400), (400, 20), (32, 24), (33, 25)])
def test_a_mask_larger_in_only_one_direction_keeps_its_size(max_size: tuple[int, int]) -> None:
    assert levels(coded(GREYS), max_size).shape == (24, 32)


mutations: dict[str, Callable[[bytes, int, bytes], bytes]] = {
    "replace": lambda data, at, new: data[:at] + new + data[at + len(new) :],
    "insert": lambda data, at, new: data[:at] + new + data[at:],
    "delete": lambda data, at, new: data[:at] + data[at + len(new) :],
}
exif = PIL.Image.Exif()
exif[0x0112] = 6
FILES = [
    coded(photo(), "PNG", icc_profile=profile("sRGB"), exif=exif),
    coded(photo().quantize(16), "PNG", transparency=1),
    png(
        RGB,
        2,
        before=chunk(b"gAMA", struct.pack(">I", 100_000)) + chunk(b"cHRM", struct.pack(">8I", *range(1, 9))),
    ),
    coded(photo(), "JPEG", icc_profile=profile("sRGB"), exif=exif),
    coded(photo().convert("CMYK"), "JPEG"),
    coded(photo().convert("RGBA"), "WEBP", exif=exif),
    coded(photo(), "TIFF", compression="tiff_lzw", exif=exif),
    coded(PIL.Image.fromarray(np.asarray(GREYS).astype(np.uint16) * 257), "TIFF"),
    coded(PIL.Image.fromarray(np.asarray(GREYS).astype(np.float32)), "TIFF"),
    tiff(RGB, 8),
]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(FILES),
    st.lists(
        st.tuples(st.sampled_from(sorted(mutations)), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=4,
    ),
)
def test_damaged_files_are_decoded_or_refused(data: bytes, changes: list[tuple[str, float, bytes]]) -> None:
    for kind, where, new in changes:
        # Squared, to hit the header more often.
        data = mutations[kind](data, int(where**2 * len(data)), new)
    with contextlib.suppress(PictureFault):
        found = describe(io.BytesIO(data), 10**6)
        pixels = decoded(data)
        assert pixels.samples.shape == (found.height, found.width, 3)
        assert pixels.alpha is None or pixels.alpha.shape == pixels.samples.shape[:2]
        assert decoded(data, size=(9, 7)).samples.shape == (7, 9, 3)
        assert decode_mask(io.BytesIO(data)).samples.shape == (found.height, found.width, 1)


@pytest.mark.parametrize("odd", ["longer than the palette", "before the palette"])
def test_transparencies_that_do_not_fit_the_palette_are_ignored(odd: str) -> None:
    palette = chunk(b"PLTE", bytes([10, 20, 30, 200, 100, 50, 0, 255, 0]))
    transparencies = chunk(b"tRNS", bytes([0, 0, 0, 0]) if odd.startswith("longer") else bytes([0]))
    before = palette + transparencies if odd.startswith("longer") else transparencies + palette
    data = png(np.array([[0, 1, 2]], np.uint8), 3, before=before)
    assert not describe(io.BytesIO(data), 100).has_alpha
    pixels = decode_picture(io.BytesIO(data), bits=8)
    assert pixels.alpha is None
    assert pixels.samples.tolist() == [[[10, 20, 30], [200, 100, 50], [0, 255, 0]]]
