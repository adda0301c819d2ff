from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.worker.images import DamagedImage, Picture, decode, decode_mask
from samples import coded, photo

GREYS = PIL.Image.linear_gradient("L").resize((32, 24))


def decoded(data: bytes) -> Picture:
    return decode(pb.Image(encoded=data))


def assert_shows(picture: PIL.Image.Image, expected: PIL.Image.Image, *, within: int) -> None:
    """Both look the same to so many grey levels."""
    assert picture.mode == "RGB"
    assert picture.size == expected.size
    steps = np.asarray(picture).astype(int) - np.asarray(expected.convert("RGB")).astype(int)
    assert np.abs(steps).max() <= within


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


@pytest.mark.parametrize(
    ("format", "options", "within"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 100, "subsampling": 0}, 4),
    ],
)
def test_every_format_is_read(format: str, options: dict[str, Any], within: int) -> None:
    picture = decoded(coded(photo(), format, **options))
    assert_shows(picture.rgb, photo(), within=within)
    assert picture.alpha is None
    assert picture.profile is None


@pytest.mark.parametrize(
    ("mode", "format"),
    [*((mode, format) for mode in ("L", "1", "P") for format in ("PNG", "TIFF")), ("CMYK", "TIFF")],
)
def test_other_modes_become_rgb(mode: str, format: str) -> None:
    image = photo().convert(mode)
    assert_shows(decoded(coded(image, format)).rgb, image.convert("RGB"), within=1)


def test_inverted_cmyk_jpegs_are_read() -> None:
    image = photo().convert("CMYK")
    assert_shows(decoded(coded(image, "JPEG", quality=100)).rgb, photo(), within=12)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled(format: str) -> None:
    image = PIL.Image.fromarray(np.asarray(GREYS).astype(np.uint16) * 257)
    assert_shows(decoded(coded(image, format)).rgb, GREYS, within=0)


def test_sixteen_bit_rgb_is_scaled() -> None:
    wide = np.asarray(photo()).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    data = png(32, 24, bit_depth=16, color_type=2, rows=rows)
    assert_shows(decoded(data).rgb, photo(), within=1)


def test_floating_point_and_32_bit_grey_are_scaled() -> None:
    values = np.asarray(GREYS).astype(np.float32)
    assert_shows(decoded(coded(PIL.Image.fromarray(values / 255), "TIFF")).rgb, GREYS, within=1)
    stretched = PIL.Image.fromarray((values * 255 / values.max()).round().astype(np.uint8), "L")
    assert_shows(decoded(coded(PIL.Image.fromarray(values * 7), "TIFF")).rgb, stretched, within=1)
    deep = PIL.Image.fromarray((np.asarray(GREYS).astype(np.int32) << 23), "I")
    picture = decoded(coded(deep, "TIFF")).rgb
    assert picture.getpixel((31, 23))[0] > picture.getpixel((0, 0))[0]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "way"), [(3, PIL.Image.Transpose.ROTATE_180), (6, PIL.Image.Transpose.ROTATE_270)]
)
def test_pictures_are_turned_upright(format: str, orientation: int, way: PIL.Image.Transpose) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(
        format, {}
    )
    picture = decoded(coded(photo(), format, exif=exif, **options))
    assert_shows(picture.rgb, photo().transpose(way), within=4)


def test_alpha_is_kept_aside_and_turned_along() -> None:
    image = photo().convert("RGBA")
    alpha = PIL.Image.new("L", image.size, 255)
    alpha.putpixel((0, 0), 7)
    image.putalpha(alpha)
    exif = PIL.Image.Exif()
    exif[0x0112] = 3
    picture = decoded(coded(image, exif=exif))
    assert picture.alpha is not None
    assert picture.alpha.getpixel((31, 23)) == 7
    assert_shows(picture.rgb, photo().transpose(PIL.Image.Transpose.ROTATE_180), within=0)


def test_grey_with_alpha_and_transparent_colours() -> None:
    grey = GREYS.convert("LA")
    grey.putalpha(100)
    picture = decoded(coded(grey))
    assert picture.alpha is not None
    assert picture.alpha.getextrema() == (100, 100)
    assert_shows(picture.rgb, GREYS, within=0)

    palette = photo().quantize(8)
    picture = decoded(coded(palette, transparency=3))
    assert picture.alpha is not None
    hidden = np.asarray(palette) == 3
    assert (np.asarray(picture.alpha) == np.where(hidden, 0, 255)).all()


def test_what_is_hidden_gets_the_mean_of_what_is_seen() -> None:
    image = PIL.Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.paste((200, 100, 50, 255), (0, 0, 10, 20))
    image.paste((100, 100, 50, 3), (10, 0, 11, 20))
    picture = decoded(coded(image))
    assert picture.rgb.getpixel((5, 5)) == (200, 100, 50)
    assert picture.rgb.getpixel((10, 5)) == (100, 100, 50)
    assert picture.rgb.getpixel((15, 5)) == (191, 100, 50)


def test_a_picture_that_is_all_hidden_is_left_alone() -> None:
    image = photo().convert("RGBA")
    image.putalpha(0)
    assert_shows(decoded(coded(image)).rgb, photo(), within=0)


def test_profiles_are_converted_to_srgb() -> None:
    # The same colours, but red and blue trade places: unmistakable.
    swapped = swapped_profile()
    red, green, blue = photo().split()
    data = coded(PIL.Image.merge("RGB", (blue, green, red)), icc_profile=swapped)
    picture = decoded(data)
    assert picture.profile == swapped
    assert_shows(picture.rgb, photo(), within=3)


def test_profiles_that_are_broken_or_of_another_kind_are_ignored() -> None:
    for broken in (b"no profile", profile("LAB")):
        picture = decoded(coded(photo(), icc_profile=broken))
        assert_shows(picture.rgb, photo(), within=0)
        assert picture.profile is None


def test_raw_pixels() -> None:
    rgba = photo().convert("RGBA")
    picture = decode(pb.Image(raw=pb.RawPixels(width=32, height=24, rgba=rgba.tobytes())))
    assert_shows(picture.rgb, photo(), within=0)
    assert picture.alpha is not None


def levels(data: bytes) -> Any:
    """A mask's levels (height, width)."""
    mask = decode_mask(pb.Image(encoded=data)).levels
    assert mask.mode == "L"
    return np.asarray(mask).astype(int)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "CMYK"])
def test_a_mask_is_its_luminance(mode: str) -> None:
    image = photo().convert(mode)
    expected = np.asarray(image.convert("RGB").convert("L")).astype(int)
    assert np.abs(levels(coded(image, "TIFF")) - expected).max() <= 1


def test_a_transparent_mask_lies_over_black() -> None:
    for mode in ("LA", "RGBA"):
        image = PIL.Image.new("L", (32, 24), 200).convert(mode)
        image.putalpha(GREYS)
        assert np.abs(levels(coded(image)) - np.asarray(GREYS).astype(int) * 200 / 255).max() <= 1
    one_transparent_colour = photo().quantize(8)
    seen = levels(coded(one_transparent_colour, transparency=3))
    assert (seen[np.asarray(one_transparent_colour) == 3] == 0).all()
    assert seen.max() > 0


def test_a_mask_of_16_bits_is_scaled() -> None:
    deep = PIL.Image.fromarray(np.asarray(GREYS).astype(np.uint16) * 257)
    for format in ("PNG", "TIFF"):
        assert (levels(coded(deep, format)) == np.asarray(GREYS)).all()


def test_a_mask_of_raw_pixels() -> None:
    rgba = GREYS.convert("RGBA")
    rgba.putalpha(128)
    mask = decode_mask(pb.Image(raw=pb.RawPixels(width=32, height=24, rgba=rgba.tobytes())))
    assert np.abs(np.asarray(mask.levels).astype(int) - np.asarray(GREYS).astype(int) * 128 / 255).max() <= 1


def test_a_masks_levels_are_no_colours() -> None:
    # To a picture, this profile would make other colours of the same numbers.
    data = coded(photo(), icc_profile=swapped_profile())
    assert (levels(data) == np.asarray(photo().convert("L"))).all()
    assert (np.asarray(decoded(data).rgb.convert("L")) != np.asarray(photo().convert("L"))).any()


def test_a_mask_is_turned_upright() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    expected = GREYS.transpose(PIL.Image.Transpose.ROTATE_270)
    assert (levels(coded(GREYS, exif=exif)) == np.asarray(expected)).all()


def test_damaged_pixels_are_told() -> None:
    data = bytearray(coded(PIL.Image.effect_noise((64, 64), 90), "JPEG"))
    for decoder in (decode, decode_mask):
        with pytest.raises(DamagedImage):
            decoder(pb.Image(encoded=bytes(data[: len(data) // 2])))


def test_broken_exif_is_ignored() -> None:
    assert_shows(decoded(coded(photo(), "PNG", exif=b"Exif\0\0rubbish")).rgb, photo(), within=0)


def png(width: int, height: int, *, bit_depth: int, color_type: int, rows: bytes) -> bytes:
    """A PNG of rows as they are in the file, filter bytes included."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    chunks = (b"IHDR" + header, b"IDAT" + zlib.compress(rows), b"IEND")
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def swapped_profile() -> bytes:
    """sRGB with the red and the blue primary in each other's place."""
    srgb = profile("sRGB")
    return srgb.replace(b"rXYZ", b"temp").replace(b"bXYZ", b"rXYZ").replace(b"temp", b"bXYZ")


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
    coded(photo(), "JPEG", icc_profile=profile("sRGB"), exif=exif),
    coded(photo().convert("CMYK"), "JPEG"),
    coded(photo().convert("RGBA"), "WEBP", exif=exif),
    coded(photo(), "TIFF", compression="tiff_lzw", exif=exif),
    coded(PIL.Image.fromarray(np.asarray(GREYS).astype(np.uint16) * 257), "TIFF"),
    coded(PIL.Image.fromarray(np.asarray(GREYS).astype(np.float32)), "TIFF"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
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
        # Squared: more often in the header.
        data = mutations[kind](data, int(where**2 * len(data)), new)
    with contextlib.suppress(DamagedImage):
        picture = decoded(data)
        assert picture.rgb.mode == "RGB"
        assert picture.alpha is None or picture.alpha.size == picture.rgb.size
