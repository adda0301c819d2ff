"""The stored result, with alpha and colours of its content, and its conversions to other formats."""

from __future__ import annotations

import io
import json
import struct
import zlib
from typing import Any, Literal

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from impasto.provenance import png_text
from impasto_server.intake.decoding import decode_picture
from impasto_server.intake.encoding import Format, convert, encode_result, thumbnail
from impasto_server.intake.headers import PictureFault, describe
from impasto_server.intake.png import chunks
from impasto_server.intake.samples import Raw
from support.odd_files import chunk, png, tiff
from support.samples import coded, mask, photo

RGB = np.asarray(photo())
DEEP = np.random.default_rng(1).integers(0, 65536, (24, 32, 3)).astype(np.uint16)
PAINTED = np.ascontiguousarray(RGB[::-1, ::-1])
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SWAPPED = SRGB.replace(b"rXYZ", b"temp").replace(b"bXYZ", b"rXYZ").replace(b"temp", b"bXYZ")


def wide_profile() -> bytes:
    """A profile with the primaries of Adobe RGB (1998)."""
    profile = bytearray(SRGB)
    primaries = {
        b"rXYZ": (0.60974, 0.31111, 0.01947),
        b"gXYZ": (0.20528, 0.62567, 0.06087),
        b"bXYZ": (0.14919, 0.06322, 0.74457),
    }
    for at in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12):
        tag, offset, _ = struct.unpack_from(">4sII", profile, at)
        if tag in primaries:
            struct.pack_into(">3i", profile, offset + 8, *(round(v * 65536) for v in primaries[tag]))
    return bytes(profile)


WIDE = wide_profile()
HALF = coded(mask())  # Its left half is white.
BLACK = coded(PIL.Image.new("L", (32, 24), 0))


def file(data: bytes | None) -> io.BytesIO | None:
    return None if data is None else io.BytesIO(data)


def result(
    samples: np.ndarray[Any, Any] = PAINTED,
    *,
    content: bytes | Raw | None = None,
    selection: bytes | Raw | None = None,
    metadata: str = "{}",
) -> bytes:
    out = io.BytesIO()
    encode_result(
        samples,
        out,
        metadata=metadata,
        content=content if isinstance(content, Raw) else file(content),
        selection=selection if isinstance(selection, Raw) else file(selection),
    )
    return out.getvalue()


def converted(data: bytes, format: Format, **options: Any) -> bytes:
    out = io.BytesIO()
    convert(io.BytesIO(data), out, format=format, **options)
    return out.getvalue()


def stored(data: bytes) -> np.ndarray[Any, Any]:
    """The samples of a PNG or TIFF as they are in the file, before colour management."""
    plain = data
    if data.startswith(b"\x89PNG"):
        needed = [
            (kind, bytes(data[span.start : span.end])) for kind, span in chunks(data) if not kind[0] & 0x20
        ]
        plain = data[:8] + b"".join(chunk(kind, body) for kind, body in needed)
    pixels = decode_picture(io.BytesIO(plain), bits=16, fill_hidden=False)
    samples = pixels.samples if pixels.alpha is None else np.dstack([pixels.samples, pixels.alpha])
    if describe(io.BytesIO(data), 10**9).bits == 8:
        assert (samples % 257 == 0).all()
        return (samples // 257).astype(np.uint8)
    return samples


def opened(data: bytes) -> PIL.Image.Image:
    picture = PIL.Image.open(io.BytesIO(data))
    picture.load()
    return picture


def kinds(data: bytes) -> list[bytes]:
    return [kind for kind, _ in chunks(data)]


@pytest.mark.parametrize("metadata", [{"origin": "Bézier", "n": 1}, {"title": "日本"}])
@pytest.mark.parametrize("ascii", [True, False])
def test_a_result_says_how_it_was_made(metadata: dict[str, Any], ascii: bool) -> None:
    data = result(metadata=json.dumps(metadata, ensure_ascii=ascii))
    text = png_text(data, "impasto")
    assert text is not None
    assert json.loads(text) == metadata
    assert json.loads(opened(data).info["impasto"]) == metadata


def test_the_result_of_an_untagged_picture_is_untagged() -> None:
    for content in (None, coded(photo()), coded(photo().convert("CMYK"), "TIFF"), coded(photo(), "JPEG")):
        data = result(content=content)
        assert (stored(data) == PAINTED).all()
        assert set(kinds(data)) == {b"IHDR", b"tEXt", b"IDAT", b"IEND"}
        assert opened(data).mode == "RGB"


def test_sixteen_bits_are_written() -> None:
    data = result(DEEP, content=coded(photo()))
    assert describe(io.BytesIO(data), 10**6).bits == 16
    assert (stored(data) == DEEP).all()


def test_a_result_has_the_alpha_of_its_content() -> None:
    image = photo().convert("RGBA")
    alpha = PIL.Image.linear_gradient("L").resize(image.size)
    image.putalpha(alpha)
    for samples in (PAINTED, DEEP):
        data = stored(result(samples, content=coded(image)))
        assert (data[..., :3] == samples).all()
        assert (data[..., 3] == np.asarray(alpha).astype(int) * (257 if samples is DEEP else 1)).all()


def test_alpha_is_resized_with_the_picture() -> None:
    image = photo(64, 48).convert("RGBA")
    image.putalpha(77)
    data = stored(result(content=coded(image)))
    assert data.shape == (24, 32, 4)
    assert (data[..., 3] == 77).all()


def test_the_result_and_its_alpha_are_upright() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    image = photo().convert("RGBA")
    image.putalpha(PIL.Image.linear_gradient("L").resize(image.size))
    upright = image.transpose(PIL.Image.Transpose.ROTATE_270)
    painted = np.zeros((32, 24, 3), np.uint8)
    data = result(painted, content=coded(image, exif=exif))
    assert opened(data).getexif().get(0x0112, 1) == 1
    assert (stored(data)[..., 3] == np.asarray(upright.getchannel("A"))).all()
    data = result(painted, content=coded(image, exif=exif), selection=coded(PIL.Image.new("L", (24, 32))))
    assert (stored(data) == np.asarray(upright)).all()


@pytest.mark.parametrize("profile", [SWAPPED, WIDE])
def test_a_result_has_the_profile_of_its_content_and_the_same_colours(profile: bytes) -> None:
    data = result(content=coded(photo(), icc_profile=profile))
    assert opened(data).info["icc_profile"] == profile
    shown = decode_picture(io.BytesIO(data), bits=8).samples
    if profile == SWAPPED:
        assert (stored(data) == PAINTED[..., ::-1]).all()
    # In Adobe RGB, the darkest levels of sRGB are closer together than 8 bits can resolve.
    assert np.abs(shown.astype(int) - PAINTED).max() <= 7


def test_a_result_has_the_profile_of_its_content_in_every_format_and_with_grey() -> None:
    for format in ("JPEG", "TIFF", "WEBP"):
        assert opened(result(content=coded(photo(), format, icc_profile=WIDE))).info["icc_profile"] == WIDE
    assert opened(result(content=coded(photo().convert("L"), icc_profile=WIDE))).info["icc_profile"] == WIDE


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_a_profile_that_is_not_for_rgb_becomes_srgb(mode: str) -> None:
    import pyvips

    own = grey_profile() if mode == "L" else pyvips.Operation.call("profile_load", "cmyk")
    data = result(content=coded(photo().convert(mode), "TIFF", icc_profile=own))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(opened(data).info["icc_profile"]))
    assert profile.profile.xcolor_space.strip() == "RGB"
    assert (stored(data) == PAINTED).all()


def grey_profile() -> bytes:
    """A profile for grey with a gamma of 1.8."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(1.8 * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1, 0.8249)))
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(79)
    start = 132 + 3 * 12
    tags = b"".join(
        struct.pack(">4sII", tag, at, length)
        for tag, at, length in (
            (b"kTRC", start, 16),
            (b"wtpt", start + 16, 20),
            (b"desc", start + 36, len(name)),
        )
    )
    body = struct.pack(">I", 3) + tags + curve + white + name
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + body


def test_a_profile_for_grey_is_applied() -> None:
    grey = photo().convert("L")
    shown = decode_picture(io.BytesIO(coded(grey, icc_profile=grey_profile())), bits=16).samples
    light = (np.asarray(grey) / 255) ** 1.8
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(shown / 65535 - srgb[..., None]).max() < 0.006


def test_a_profile_that_cannot_be_converted_to_becomes_srgb() -> None:
    # It has only a table from device to Lab, as the profiles of scanners do.
    data = result(content=coded(photo(), icc_profile=scanner_profile()))
    assert opened(data).info["icc_profile"] != scanner_profile()
    assert (stored(data) == PAINTED).all()
    data = result(content=coded(photo(), icc_profile=scanner_profile()), selection=BLACK)
    shown = decode_picture(io.BytesIO(coded(photo(), icc_profile=scanner_profile())), bits=8).samples
    assert (stored(data) == shown).all()


def scanner_profile() -> bytes:
    """A profile that converts only to Lab: a table (lut8Type) whose L* is the mean of R, G and B."""
    grid = [(r, g, b) for r in (0, 1) for g in (0, 1) for b in (0, 1)]
    table = b"".join(bytes([(r + g + b) * 85, 128, 128]) for r, g, b in grid)
    identity = bytes(range(256)) * 3
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1" + bytes(4) + bytes([3, 3, 2, 0]) + matrix + identity + table + identity
    lut += bytes(-len(lut) % 4)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1, 0.8249)))
    start = 132 + 2 * 12
    tags = struct.pack(">4sII", b"A2B0", start, len(lut)) + struct.pack(
        ">4sII", b"wtpt", start + len(lut), 20
    )
    body = struct.pack(">I", 2) + tags + lut + white
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), b"lcms", 0x02400000, b"scnr", b"RGB ", b"Lab ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + body


def test_a_broken_profile_is_dropped() -> None:
    for broken in (b"rubbish", b"x" * 300, SRGB[:300]):
        data = result(content=coded(photo(), icc_profile=broken))
        assert "icc_profile" not in opened(data).info
        assert (stored(data) == PAINTED).all()


CONTENTS: dict[str, tuple[bytes, np.ndarray[Any, Any]]] = {}


def content_with(name: str, data: bytes, samples: np.ndarray[Any, Any]) -> None:
    CONTENTS[name] = (data, samples)


GREY16 = DEEP[..., 0]
ALPHA16 = np.where(DEEP[..., 1] < 30_000, 0, DEEP[..., 1])
ALPHA8 = (ALPHA16 // 257).astype(np.uint8)
RGBA8 = np.dstack([RGB, ALPHA8])
content_with("RGB", coded(photo()), RGB)
content_with("RGB in a wide profile", coded(photo(), icc_profile=WIDE), RGB)
content_with(
    "16 bits in a wide profile", png(DEEP, 2, before=chunk(b"iCCP", b"i\0\0" + zlib.compress(WIDE))), DEEP
)
content_with("transparent", png(RGBA8, 6), RGBA8)
content_with("transparent in a wide profile", coded(PIL.Image.fromarray(RGBA8), icc_profile=WIDE), RGBA8)
content_with("16 bits, transparent", png(np.dstack([DEEP, ALPHA16]), 6), np.dstack([DEEP, ALPHA16]))
content_with("grey of 16 bits", png(GREY16, 0), np.repeat(GREY16[..., None], 3, 2))
content_with("grey of 16 bits in TIFF", tiff(GREY16, 1), np.repeat(GREY16[..., None], 3, 2))
content_with(
    "grey in a profile for RGB",
    coded(photo().convert("L"), icc_profile=WIDE),
    np.repeat(np.asarray(photo().convert("L"))[..., None], 3, 2),
)
content_with("linear light", png(RGB, 2, before=chunk(b"gAMA", struct.pack(">I", 100_000))), RGB)
content_with("display P3 by cICP", png(RGB, 2, before=chunk(b"cICP", bytes([12, 13, 0, 1]))), RGB)
content_with("16 bits in a broken profile", png(DEEP, 2, before=chunk(b"iCCP", b"i\0\0rubbish")), DEEP)
content_with("lossless WebP", coded(photo(), "WEBP", lossless=True), RGB)
content_with(
    "one transparent colour",
    png(RGB, 2, before=chunk(b"tRNS", struct.pack(">3H", *map(int, RGB[5, 5])))),
    np.dstack([RGB, np.where((RGB[5, 5] == RGB).all(2), 0, 255).astype(np.uint8)]),
)


@pytest.mark.parametrize("samples", [PAINTED, DEEP], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("name", CONTENTS)
def test_outside_a_selection_every_sample_is_the_contents(name: str, samples: np.ndarray[Any, Any]) -> None:
    content, own = CONTENTS[name]
    data = stored(result(samples, content=content, selection=HALF))
    deep = 16 if own.dtype == np.uint16 or samples.dtype == np.uint16 else 8
    assert data.dtype.itemsize * 8 == deep
    expected = own.astype(int) * (257 if deep == 16 and own.dtype == np.uint8 else 1)
    assert (data[:, 16:] == expected[:, 16:]).all()
    if own.shape[2] == 4:
        assert (data[..., 3] == expected[..., 3]).all()


@pytest.mark.parametrize("name", CONTENTS)
def test_inside_a_selection_the_result_is_the_painting(name: str) -> None:
    content, _ = CONTENTS[name]
    data = result(content=content, selection=HALF)
    shown = decode_picture(io.BytesIO(data), bits=8, fill_hidden=False).samples
    # In the dark, 8 bits are coarser in other spaces than in sRGB, and much coarser in linear light.
    within = 1 if "16 bits" in name else 14 if name == "linear light" else 7
    assert np.abs(shown[:, :16].astype(int) - PAINTED[:, :16]).max() <= within


def test_how_the_content_was_tagged_is_kept_with_a_selection() -> None:
    wide, _ = CONTENTS["RGB in a wide profile"]
    assert opened(result(content=wide, selection=HALF)).info["icc_profile"] == WIDE
    linear, _ = CONTENTS["linear light"]
    assert b"gAMA" in kinds(result(content=linear, selection=HALF))
    assert b"gAMA" not in kinds(result(content=linear))
    p3, _ = CONTENTS["display P3 by cICP"]
    assert b"cICP" in kinds(result(content=p3, selection=HALF))


def test_soft_edges_are_blended() -> None:
    levels = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (24, 1))
    for painted, content in ((PAINTED, RGB), (DEEP, DEEP[::-1])):
        data = stored(result(painted, content=png(content, 2), selection=coded(PIL.Image.fromarray(levels))))
        share = levels[..., None] / 255
        assert np.abs(data - (painted * share + content * (1 - share))).max() <= 0.51


def test_a_selection_of_another_size_is_fitted() -> None:
    for selection in (mask(320, 240), mask(16, 12), mask(64, 6)):
        data = stored(result(content=coded(photo()), selection=coded(selection)))
        assert (data[:, :16] == PAINTED[:, :16]).all()
        assert (data[:, 16:] == RGB[:, 16:]).all()


def test_a_content_of_another_size_is_resized_around_a_selection() -> None:
    data = stored(result(content=coded(photo(64, 48)), selection=HALF))
    small = np.asarray(photo(64, 48).resize((32, 24), PIL.Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(data[:, 16:] - small[:, 16:]).max() <= 1


@pytest.mark.parametrize("mode", ["CMYK", "LAB"])
def test_colours_that_no_png_can_have_become_srgb_around_a_selection(mode: str) -> None:
    if mode == "LAB":
        image = ImageCms.profileToProfile(
            photo(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        assert image is not None
    else:
        image = photo().convert(mode)
    content = coded(image, "TIFF")
    data = stored(result(content=content, selection=HALF))
    assert (data[:, 16:] == decode_picture(io.BytesIO(content), bits=8).samples[:, 16:]).all()
    assert (data[:, :16] == PAINTED[:, :16]).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_raw_pixels_as_content_and_selection(bits: Literal[8, 16]) -> None:
    rgba = RGBA8 if bits == 8 else np.dstack([DEEP, ALPHA16]).astype("<u2")
    content = Raw(io.BytesIO(b"x" + rgba.tobytes()), 1, 32, 24, bits)
    levels = np.asarray(mask().convert("RGBA"))
    selection = Raw(io.BytesIO(levels.tobytes()), 0, 32, 24, 8)
    data = stored(result(content=content, selection=selection))
    assert (data[:, 16:] == rgba[:, 16:]).all()
    assert (
        stored(result(content=content))[..., 3]
        == (ALPHA8 if bits == 8 else (ALPHA16.astype(int) + 128) // 257)
    ).all()


def test_a_damaged_content_is_reported() -> None:
    data = coded(PIL.Image.effect_noise((64, 64), 90).convert("RGB"), "JPEG")
    with pytest.raises(PictureFault, match="cannot be decoded"):
        result(content=data[: len(data) // 2] + b"\xff\xd9", selection=HALF)


def a_result(*, deep: bool = False, transparent: bool = True, profile: bytes | None = WIDE) -> bytes:
    image = photo().convert("RGBA" if transparent else "RGB")
    if transparent:
        image.putalpha(PIL.Image.linear_gradient("L").resize(image.size))
    content = coded(image, icc_profile=profile) if profile else coded(image)
    return result(DEEP if deep else PAINTED, content=content, metadata='{"n": 1}')


@pytest.mark.parametrize("format", ["png", "png16", "jpeg", "webp", "tiff", "rgba8", "rgba16"])
def test_a_conversion_always_gives_the_same_bytes(format: Format) -> None:
    data = a_result()
    assert converted(data, format) == converted(data, format)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("format", ["png", "png16", "tiff"])
def test_lossless_formats_keep_samples_profile_and_metadata(format: Format, deep: bool) -> None:
    data = a_result(deep=deep)
    own = stored(data)
    kept = converted(data, format)
    bits = {"png": 8, "png16": 16, "tiff": 16 if deep else 8}[format]
    assert describe(io.BytesIO(kept), 10**6).bits == bits
    if format == "tiff":
        with PIL.Image.open(io.BytesIO(kept)) as picture:
            tags = dict(picture.tag_v2)  # type: ignore[attr-defined]
        assert tags[34675] == WIDE
        assert tags[270] == '{"n": 1}'
        assert tags[259] == 8
        kept = converted(kept, "png16")
        assert (stored(kept) == (own if deep else own.astype(np.uint16) * 257)).all()
        return
    assert png_text(kept, "impasto") == '{"n": 1}'
    assert opened(kept).info["icc_profile"] == WIDE
    expected = own.astype(int)
    if deep and bits == 8:
        expected = (expected + 128) // 257
    if not deep and bits == 16:
        expected = expected * 257
    assert (stored(kept) == expected).all()


def test_a_jpeg_lies_over_white_and_keeps_its_profile() -> None:
    data = a_result()
    jpeg = opened(converted(data, "jpeg"))
    assert jpeg.format == "JPEG"
    assert jpeg.info["icc_profile"] == WIDE
    own = stored(data).astype(int)
    share = own[..., 3:] / 255
    assert np.abs(np.asarray(jpeg) - (own[..., :3] * share + 255 * (1 - share))).max() <= 8
    assert jpeg.layer == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)]  # type: ignore[attr-defined]
    assert len(converted(data, "jpeg", quality=30)) < len(converted(data, "jpeg"))


def test_a_webp_keeps_alpha_and_profile() -> None:
    data = a_result()
    webp = opened(converted(data, "webp"))
    assert webp.format == "WEBP"
    assert webp.mode == "RGBA"
    assert webp.info["icc_profile"] == WIDE
    assert (np.asarray(webp)[..., 3] == stored(data)[..., 3]).all()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
def test_bare_pixels_are_srgb_with_alpha(deep: bool, transparent: bool) -> None:
    data = a_result(deep=deep, transparent=transparent)
    for format, dtype, full in (("rgba8", np.uint8, 255), ("rgba16", np.dtype("<u2"), 65535)):
        pixels = np.frombuffer(converted(data, format), dtype).reshape(24, 32, 4).astype(int)  # type: ignore[arg-type]
        painted = (DEEP / 65535 if deep else PAINTED / 255) * full
        assert np.abs(pixels[..., :3] - painted).mean() <= full * 0.006
        alpha = stored(data)[..., 3] / (65535 if deep else 255) if transparent else np.ones((24, 32))
        assert np.abs(pixels[..., 3] - alpha * full).max() <= 0.51


def test_bare_pixels_of_an_untagged_picture_are_its_samples() -> None:
    data = a_result(profile=None)
    pixels = np.frombuffer(converted(data, "rgba8"), np.uint8).reshape(24, 32, 4)
    assert (pixels == stored(data)).all()


def test_a_picture_in_linear_light_is_converted_for_formats_that_cannot_declare_it() -> None:
    content, _ = CONTENTS["linear light"]
    data = result(content=content, selection=BLACK)
    expected = decode_picture(io.BytesIO(content), bits=8).samples
    assert np.abs(np.asarray(opened(converted(data, "jpeg"))).astype(int) - expected).mean() <= 1
    assert (np.asarray(opened(converted(data, "tiff"))) == expected).all()
    assert (stored(converted(data, "png")) == RGB).all()
    assert b"gAMA" in kinds(converted(data, "png16"))


def test_conversions_can_be_made_smaller() -> None:
    for format in ("png", "jpeg", "webp", "tiff"):
        out = io.BytesIO()
        assert convert(io.BytesIO(a_result()), out, format=format, max_side=16) == (16, 12)  # type: ignore[arg-type]
        assert opened(out.getvalue()).size == (16, 12)


def test_a_thumbnail_is_small_upright_and_over_white() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    image = PIL.Image.effect_noise((600, 400), 200).convert("RGBA")
    image.paste((10, 10, 10, 0), (300, 0, 600, 400))
    out = io.BytesIO()
    found = thumbnail(io.BytesIO(coded(image, exif=exif)), out, max_bytes=4096)
    assert (found.width, found.height) == (400, 600)
    picture = opened(out.getvalue())
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (85, 128))
    assert len(out.getvalue()) <= 4096
    assert picture.getpixel((40, 120)) == (255, 255, 255)


def test_a_thumbnail_of_a_small_picture_is_not_enlarged() -> None:
    out = io.BytesIO()
    thumbnail(io.BytesIO(coded(photo())), out)
    assert opened(out.getvalue()).size == (32, 24)
    assert np.abs(np.asarray(opened(out.getvalue())).astype(int) - RGB).mean() < 6
