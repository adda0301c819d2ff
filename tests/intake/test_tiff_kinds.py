"""Every kind of TIFF is read correctly or refused by name."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from impasto_server.intake.decoding import decode_mask, decode_picture
from impasto_server.intake.headers import PictureFault, describe
from support.odd_files import Entry, tiff, tiff_directory
from support.samples import coded, photo

RGB = np.asarray(photo())
GREY = RGB[..., 0]
ALPHA = RGB[..., 2:]
REPEATED = np.repeat(GREY[..., None], 3, 2)
CMYK = np.asarray(photo().convert("CMYK")).copy()
CMYK[..., 3] = 40
INKED = np.rint((255.0 - CMYK[..., :3]) * (255 - 40) / 255)
DEEP_MAX = 65535


def with_alpha(samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.concatenate([samples.reshape(24, 32, -1), ALPHA], 2)


def as_uint(samples: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    """Converts 8-bit samples to another depth; 255 becomes the largest value."""
    return samples.astype(f"u{bits // 8}") * ((2**bits - 1) // 255)


def shown(data: bytes) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Colours and alpha, decoded to 16 bits, in units of 8-bit levels."""
    pixels = decode_picture(io.BytesIO(data), bits=16)
    return pixels.samples / 257, None if pixels.alpha is None else pixels.alpha / 257


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("model", ["grey", "white is zero", "rgb", "cmyk"])
def test_integers_of_every_depth_and_byte_order(
    order: str, separate: bool, bits: int, has_alpha: bool, model: str
) -> None:
    if model == "cmyk":
        bits = min(bits, 16)
    photometric, samples, expected = {
        "grey": (1, GREY, REPEATED),
        "white is zero": (0, 255 - GREY, REPEATED),
        "rgb": (2, RGB, RGB),
        "cmyk": (5, CMYK, INKED),
    }[model]
    if has_alpha:
        samples = with_alpha(samples)
    data = tiff(
        as_uint(samples, bits),
        photometric,
        order=order,
        separate=separate,
        extra=[2] if has_alpha else None,
    )
    description = describe(io.BytesIO(data), 10**6)
    assert (description.width, description.height) == (32, 24)
    assert description.bits == (8 if bits == 8 else 16)
    assert description.has_alpha == has_alpha
    colours, alpha = shown(data)
    # CMYK is converted by multiplication, which rounds differently.
    assert np.abs(colours - expected).max() <= (0.51 if model == "cmyk" else 0)
    if has_alpha:
        assert alpha is not None
        assert (alpha == ALPHA[..., 0]).all()
    else:
        assert alpha is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("dtype", "separate"), [("f4", False), ("f4", True), ("f2", False)])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("model", ["grey", "rgb"])
def test_floating_point(order: str, dtype: str, separate: bool, has_alpha: bool, model: str) -> None:
    samples, expected = (GREY, REPEATED) if model == "grey" else (RGB, RGB)
    if has_alpha:
        samples = with_alpha(samples)
    data = tiff(
        (samples / 255).astype(dtype),
        1 if model == "grey" else 2,
        format=3,
        order=order,
        separate=separate,
        extra=[2] if has_alpha else None,
    )
    colours, alpha = shown(data)
    # Half precision has 11 significant bits.
    within = 0.01 if dtype == "f4" else 0.07
    assert np.abs(colours - expected).max() <= within
    if has_alpha:
        assert alpha is not None
        assert np.abs(alpha - ALPHA[..., 0]).max() <= within


def test_nan_is_black_and_infinity_is_one() -> None:
    values = np.full((4, 4), 0.5, np.float32)
    values[0] = np.nan, np.inf, -np.inf, -3
    colours, _ = shown(tiff(values, 1, format=3))
    assert colours[0, :, 0].tolist() == [0, 255, 0, 0]
    assert np.abs(colours[1:] - 127.5).max() < 0.01


def test_the_largest_value_beyond_one_is_white() -> None:
    values = np.full((4, 4, 3), 2, np.float32)
    values[0, 0] = 8, 0, 4
    colours, _ = shown(tiff(values, 2, format=3))
    assert np.abs(colours[0, 0] - [255, 0, 127.5]).max() < 0.01
    assert np.abs(colours[1:] - 255 / 4).max() < 0.01


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", [0, 1, 3])
def test_samples_of_less_than_a_byte(bits: int, photometric: int) -> None:
    most = 2**bits - 1
    levels = GREY.astype(int) * (most + 1) // 256
    binary = (levels[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    packed = np.packbits(binary.reshape(24, -1).astype(np.uint8), axis=1)
    palette = np.array([[255, 9, 0], [7, 80, 200], *([[3 * i, 255 - i, i * i] for i in range(2, 16)])])
    more: list[Entry] = []
    expected = np.repeat((levels * (255 // most))[..., None], 3, 2)
    if photometric == 0:
        expected = 255 - expected
    if photometric == 3:
        colours = palette[: most + 1]
        more = [(320, 3, (colours * 257).T.ravel().tolist())]
        expected = colours[levels]
    data = tiff(packed, photometric, bits=bits, width=32, more=more)
    assert (shown(data)[0] == expected).all()


def test_a_palette_of_greys() -> None:
    data = tiff(GREY, 3, more=[(320, 3, [(255 - i) * 257 for i in range(256)] * 3)])
    assert (shown(data)[0] == 255 - REPEATED).all()


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("photometric", [8, 9])
def test_lab(separate: bool, bits: int, has_alpha: bool, photometric: int) -> None:
    srgb, lab_profile = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(photo(), srgb, lab_profile, outputMode="LAB")
    assert lab is not None
    levels = np.asarray(lab)  # Its a and b are in two's complement.
    samples: np.ndarray[Any, Any] = levels.astype(np.uint16)
    if bits == 8:
        samples = (
            levels
            if photometric == 8
            else np.stack([levels[..., 0], *((levels[..., i] + 128).astype(np.uint8) for i in (1, 2))], 2)
        )
    else:
        signed = levels[..., 1:].view(np.int8).astype(np.int32) * 256
        lightness = levels[..., 0].astype(np.int32) * (257 if photometric == 8 else 256)
        zero = 0 if photometric == 8 else 2**15
        samples = np.concatenate([lightness[..., None], (signed + zero) & 0xFFFF], 2).astype(np.uint16)
    if has_alpha:
        alpha = ALPHA if bits == 8 else ALPHA.astype(np.uint16) * 257
        samples = np.concatenate([samples, alpha], 2)
    data = tiff(samples, photometric, separate=separate, extra=[2] if has_alpha else None)
    # By default, Little CMS takes shortcuts with errors of tens of levels in dark blue.
    exact = ImageCms.Flags.NOOPTIMIZE | ImageCms.Flags.NOCACHE
    back = ImageCms.profileToProfile(lab, lab_profile, srgb, outputMode="RGB", flags=exact)
    assert back is not None
    colours, alpha_shown = shown(data)
    assert np.abs(colours - np.asarray(back)).max() <= 1
    assert (alpha_shown is not None) == has_alpha
    if alpha_shown is not None:
        assert (alpha_shown == ALPHA[..., 0]).all()
    lightness_under_alpha = levels[..., 0] * (ALPHA[..., 0] / 255 if has_alpha else 1)
    assert np.abs(decode_mask(io.BytesIO(data)).samples[..., 0] - lightness_under_alpha).max() <= 1


MULTIPLIED = [
    (model, dtype, separate)
    for model, dtypes in {
        "grey": ("u1", "u2", "u4", "f2", "f4"),
        "white is zero": ("u1", "u2", "u4"),
        "rgb": ("u1", "u2", "u4", "f2", "f4"),
        "cmyk": ("u1", "u2"),
    }.items()
    for dtype in dtypes
    for separate in (False, True)
    if not (separate and dtype == "f2")
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("model", "dtype", "separate"), MULTIPLIED)
def test_colours_multiplied_by_alpha_are_divided_by_it(
    order: str, model: str, dtype: str, separate: bool
) -> None:
    photometric, colours, expected = {
        "grey": (1, GREY[..., None], REPEATED),
        "white is zero": (0, 255 - GREY[..., None], REPEATED),
        "rgb": (2, RGB, RGB),
        "cmyk": (5, CMYK, INKED),
    }[model]
    alpha = np.full((24, 32, 1), 128.0)
    alpha[:12] = 255
    alpha[0, 0] = 0
    samples = np.concatenate([colours * (alpha / 255), alpha], 2) / 255
    if dtype[0] == "u":
        samples = np.rint(samples * np.iinfo(dtype).max)
    format = 3 if dtype[0] == "f" else 1
    data = tiff(samples.astype(dtype), photometric, order=order, separate=separate, extra=[1], format=format)
    pixels = decode_picture(io.BytesIO(data), bits=16, fill_hidden=False)
    seen = alpha[..., 0] > 0
    assert np.abs(pixels.samples / 257.0 - expected)[seen].max() <= {"u1": 2, "f2": 0.3}.get(dtype, 0.52)
    assert pixels.alpha is not None
    assert np.abs(pixels.alpha / 257.0 - alpha[..., 0]).max() <= (0.1 if dtype == "f2" else 0.01)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", [8, 9])
def test_lab_multiplied_by_alpha_is_divided_by_it(bits: int, photometric: int) -> None:
    dtype, full, half = np.dtype(f"u{bits // 8}"), 2**bits - 1, 2 ** (bits - 1)
    lightness, signed = full * 0.5, np.array([half * 0.4, half * -0.3])
    shift = 0 if photometric == 8 else half

    def lab(share: float) -> np.ndarray[Any, Any]:
        coded = (np.rint(signed * share).astype(np.int64) + shift) & full
        return np.tile([round(lightness * share), *coded, round(full * share)], (8, 8, 1)).astype(dtype)

    opaque, _ = shown(tiff(lab(1.0), photometric, extra=[1]))
    thin, alpha = shown(tiff(lab(0.5), photometric, extra=[1]))
    assert alpha is not None
    assert np.abs(alpha - 127.5).max() <= 0.51
    assert np.abs(thin - opaque).max() <= (4 if bits == 8 else 0.1)


def tiled(samples: np.ndarray[Any, Any], photometric: int, *, separate: bool = True, **rest: Any) -> bytes:
    """A picture with one tile per plane: 32 × 32, of which 32 × 24 pixels are visible."""
    rows = np.concatenate([samples.reshape(24, 32, -1), samples.reshape(24, 32, -1)[:8]])
    planes = rows.shape[2] if separate else 1
    size = rows.nbytes // planes
    offsets = [8 + plane * size for plane in range(planes)]
    more = [(257, 4, [24]), (322, 3, [32]), (323, 3, [32]), (324, 4, offsets), (325, 4, [size] * planes)]
    return tiff(rows, photometric, separate=separate, more=more, **rest)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f2", "f4"])
@pytest.mark.parametrize("in_tiles", [False, True])
def test_one_channel_is_read_with_either_planar_configuration(dtype: str, in_tiles: bool) -> None:
    samples = GREY / 255.0
    samples = np.rint(samples * np.iinfo(dtype).max) if dtype[0] == "u" else samples
    make = tiled if in_tiles else tiff
    data = make(samples.astype(dtype), 1, separate=True, format=3 if dtype[0] == "f" else 1)
    assert np.abs(shown(data)[0] - REPEATED).max() <= (0.07 if dtype == "f2" else 0.01)


@pytest.mark.parametrize("extra", [[0], [0, 0], None])
def test_extra_channels_other_than_alpha_are_ignored(extra: list[int] | None) -> None:
    spots = np.repeat(ALPHA, len(extra or [0]), 2)
    colours, alpha = shown(tiff(np.concatenate([RGB, spots], 2), 2, extra=extra))
    assert (colours == RGB).all()
    assert alpha is None


def test_alpha_may_come_after_other_channels() -> None:
    data = tiff(np.concatenate([RGB, 255 - ALPHA, ALPHA], 2), 2, extra=[0, 2])
    colours, alpha = shown(data)
    assert (colours == RGB).all()
    assert alpha is not None
    assert (alpha == ALPHA[..., 0]).all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff((RGB / 255).astype("f8"), 2, format=3), "64-bit floating-point samples"),
        (tiff(GREY.astype("u8"), 1), "64-bit samples"),
        (tiff((GREY // 2).astype("i2"), 1, format=2), "16-bit signed samples"),
        (tiff((GREY // 2).astype("i4"), 1, format=2), "32-bit signed samples"),
        (tiff((GREY // 2).astype("i1"), 1, format=2), "8-bit signed samples"),
        (tiff(GREY.astype("u2"), 1, bits=12, width=42), "12-bit samples"),
        (tiff(as_uint(CMYK, 32), 5), "32-bit CMYK samples"),
        (tiff((RGB / 255).astype("f2"), 2, format=3, separate=True), "floating-point samples in separate"),
        (tiled(RGB, 2), "tiled TIFF with separate planes"),
        (tiled(with_alpha(GREY), 1, extra=[2]), "tiled TIFF with separate planes"),
        (tiff(RGB, 2, more=[(258, 3, [5, 6, 5])]), "channels differ in depth"),
        (tiff(RGB, 6), "YCbCr"),
        (tiff(RGB, 32845), "LogLuv"),
        (tiff(GREY, 4), "transparency mask"),
        (tiff(RGB, 2, more=[(259, 3, [50000])]), "Zstandard"),
        (tiff(RGB, 2, more=[(259, 3, [34925])]), "LZMA"),
        (tiff(RGB, 2, more=[(259, 3, [6])]), "old-style JPEG"),
        (tiff(RGB, 2, more=[(259, 3, [65000])]), "method 65000"),
        (tiff(with_alpha(GREY), 3, extra=[2]), "2 palette channels"),
        (tiff(np.concatenate([RGB] * 4, 2), 2, extra=[0] * 9), "12 channels"),
    ],
)
def test_unsupported_kinds_of_tiff_are_refused_by_name(data: bytes, words: str) -> None:
    with pytest.raises(PictureFault, match=words) as caught:
        describe(io.BytesIO(data), 10**6)
    assert "; save it" in str(caught.value)
    with pytest.raises(PictureFault, match=words):
        decode_picture(io.BytesIO(data), bits=8)


def raw_file(first: list[Entry], second: list[Entry], *, sub: bool) -> bytes:
    """A file of two pictures; the second is a sub-picture of the first, or another page."""
    small, large = photo(16, 12).tobytes(), photo().tobytes()

    def entries(width: int, height: int, at: int, more: list[Entry]) -> list[Entry]:
        usual: list[Entry] = [
            (256, 4, [width]),
            (257, 4, [height]),
            (258, 3, [8] * 3),
            (259, 3, [1]),
            (262, 3, [2]),
            (273, 4, [at]),
            (277, 3, [3]),
            (278, 4, [height]),
            (279, 4, [width * height * 3]),
        ]
        return list({entry[0]: entry for entry in (*usual, *more)}.values())

    at = 8 + len(small) + len(large)
    head: list[Entry] = entries(16, 12, 8, first)
    links: list[Entry] = [(330, 4, [0])] if sub else []
    second_at = at + len(tiff_directory([*head, *links], at))
    links = [(330, 4, [second_at])] if sub else []
    return (
        b"II*\0"
        + struct.pack("<I", at)
        + small
        + large
        + tiff_directory([*head, *links], at, 0 if sub else second_at)
        + tiff_directory(entries(32, 24, 8 + len(small), second), second_at)
    )


@pytest.mark.parametrize(
    "data",
    [
        raw_file([(254, 4, [1]), (50706, 1, [1, 4, 0, 0])], [], sub=True),
        raw_file([(50706, 1, [1, 4, 0, 0])], [], sub=False),
        raw_file([(254, 4, [1])], [(262, 3, [32803])], sub=True),
        raw_file([], [(262, 3, [32803])], sub=True),
        raw_file([(254, 4, [1])], [], sub=True),
        tiff(GREY, 32803),
        tiff(RGB, 34892),
        b"II*\0\x10\0\0\0CR\2\0" + bytes(100),
    ],
)
def test_camera_raw_files_are_refused(data: bytes) -> None:
    with pytest.raises(PictureFault, match="camera raw file, which is not supported; export it"):
        describe(io.BytesIO(data), 10**6)


def test_the_first_page_is_read_unless_it_is_a_thumbnail() -> None:
    pages = raw_file([], [], sub=False)
    assert describe(io.BytesIO(pages), 10**6).width == 16
    assert (decode_picture(io.BytesIO(pages), bits=8).samples == np.asarray(photo(16, 12))).all()
    with_thumbnail = raw_file([(254, 4, [1])], [], sub=False)
    assert describe(io.BytesIO(with_thumbnail), 10**6).width == 32
    assert (decode_picture(io.BytesIO(with_thumbnail), bits=8).samples == RGB).all()


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"])
def test_compressed_tiffs(compression: str) -> None:
    assert (shown(coded(photo(), "TIFF", compression=compression))[0] == RGB).all()


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_compression(compression: str) -> None:
    image = photo().convert("1")
    colours, _ = shown(coded(image, "TIFF", compression=compression))
    assert (colours[..., 0] == np.asarray(image.convert("L"))).all()


def test_jpeg_in_tiff() -> None:
    colours, _ = shown(coded(photo(), "TIFF", compression="jpeg", quality=100))
    assert np.abs(colours - RGB).mean() < 4


def test_big_tiff() -> None:
    data = coded(photo(), "TIFF", big_tiff=True)
    assert data[2:4] == b"\x2b\0"
    assert describe(io.BytesIO(data), 10**6).width == 32
    assert (shown(data)[0] == RGB).all()


def test_too_many_strips_are_refused() -> None:
    tall = np.zeros((2**21, 1), np.uint8)
    strips: list[Entry] = [
        (278, 4, [1]),
        (273, 4, np.arange(8, 8 + 2**21).tolist()),
        (279, 4, [1] * 2**21),
    ]
    with pytest.raises(PictureFault, match="more than 1,048,576 strips"):
        describe(io.BytesIO(tiff(tall, 1, more=strips)), 10**8)


@pytest.mark.parametrize(
    "more",
    [
        [(279, 4, [10**6])],
        [(273, 4, [10**6])],
        [(278, 4, [4])],
        [(322, 4, [16]), (323, 4, [16]), (324, 4, [8]), (325, 4, [10])],
        [(273, 4, [2**32 - 1]), (279, 4, [2**32 - 1])],
    ],
)
def test_strips_missing_or_beyond_the_end_are_reported(more: list[Entry]) -> None:
    with pytest.raises(PictureFault, match="truncated"):
        describe(io.BytesIO(tiff(RGB, 2, more=more)), 10**6)


def test_pillow_opens_the_same_files() -> None:
    for data in (tiff(RGB, 2), tiff(RGB, 2, separate=True), tiff(CMYK, 5), tiff(GREY.astype(np.uint16), 1)):
        with PIL.Image.open(io.BytesIO(data)) as image:
            assert image.size == (32, 24)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_invalid_orientation_turns_nothing(order: str, orientation: int) -> None:
    data = tiff(RGB, 2, order=order, more=[(274, 3, [orientation])])
    assert (shown(data)[0] == RGB).all()
