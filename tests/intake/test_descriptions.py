"""Files are described without decoding their pixels."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto_server.intake.headers import Description, PictureFault, describe
from support.odd_files import PNG_SIGNATURE, chunk, png, tiff
from support.samples import coded, photo

MAX_PIXELS = 100_000_000
RGB = np.asarray(photo())

FILES = {
    "png": coded(photo(), "PNG"),
    "palette png": coded(photo().quantize(16), "PNG"),
    "jpeg": coded(photo(), "JPEG"),
    "progressive jpeg": coded(photo(), "JPEG", progressive=True, restart_marker_blocks=1),
    "cmyk jpeg": coded(photo().convert("CMYK"), "JPEG"),
    "webp": coded(photo(), "WEBP"),
    "lossless webp": coded(photo(), "WEBP", lossless=True),
    "webp with alpha": coded(photo().convert("RGBA"), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
    "tiff": coded(photo(), "TIFF"),
    "deflated tiff": coded(photo(), "TIFF", compression="tiff_adobe_deflate"),
    "big tiff": coded(photo(), "TIFF", big_tiff=True),
}


def described(data: bytes) -> Description:
    return describe(io.BytesIO(data), MAX_PIXELS)


def size_of(data: bytes) -> tuple[int, int]:
    description = described(data)
    return description.width, description.height


@pytest.fixture(autouse=True)
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*_: object, **__: object) -> None:
        raise AssertionError("libvips was called")

    monkeypatch.setattr(pyvips.Operation, "call", call)


@pytest.mark.parametrize("name", FILES)
def test_the_size_is_read(name: str) -> None:
    assert size_of(FILES[name]) == (32, 24)


@pytest.mark.parametrize(
    ("data", "format", "bits", "has_alpha"),
    [
        (FILES["png"], "png", 8, False),
        (coded(photo().convert("RGBA")), "png", 8, True),
        (coded(photo().convert("LA")), "png", 8, True),
        (coded(photo().quantize(8), transparency=3), "png", 8, True),
        (png(RGB.astype(np.uint16), 2), "png", 16, False),
        (png(RGB, 2, before=chunk(b"tRNS", bytes(6))), "png", 8, True),
        (FILES["jpeg"], "jpeg", 8, False),
        (FILES["webp"], "webp", 8, False),
        (coded(PIL.Image.new("RGBA", (32, 24), (9, 9, 9, 100)), "WEBP"), "webp", 8, True),
        (coded(PIL.Image.new("RGBA", (32, 24), (9, 9, 9, 100)), "WEBP", lossless=True), "webp", 8, True),
        (FILES["tiff"], "tiff", 8, False),
        (coded(photo().convert("RGBA"), "TIFF"), "tiff", 8, True),
        (tiff((RGB / 255).astype(np.float32), 2, format=3), "tiff", 16, False),
    ],
)
def test_format_depth_and_alpha_are_read(data: bytes, format: str, bits: int, has_alpha: bool) -> None:
    found = described(data)
    assert (found.format, found.bits, found.has_alpha) == (format, bits, has_alpha)


def test_a_file_on_disk_is_described_like_one_in_memory(tmp_path: object) -> None:
    for data in FILES.values():
        path = f"{tmp_path}/picture"
        with open(path, "wb") as file:
            file.write(data)
        with open(path, "rb") as file:
            assert describe(file, MAX_PIXELS) == described(data)


def test_an_empty_file_on_disk_is_refused(tmp_path: object) -> None:
    path = f"{tmp_path}/picture"
    with open(path, "wb"):
        pass
    with open(path, "rb") as file, pytest.raises(PictureFault, match="is empty"):
        describe(file, MAX_PIXELS)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_anywhere_is_refused(name: str) -> None:
    data = FILES[name]
    for end in range(len(data)):
        with pytest.raises(PictureFault):
            described(data[:end])


@pytest.mark.parametrize("name", FILES)
def test_bytes_after_the_end_are_ignored(name: str) -> None:
    assert size_of(FILES[name] + b"rubbish" * 9) == (32, 24)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_described_size_is_that_of_the_upright_picture(format: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    found = described(coded(photo(), format, exif=exif))
    assert (found.width, found.height) == ((24, 32) if orientation >= 5 else (32, 24))
    assert (found.coded_width, found.coded_height) == (32, 24)


@pytest.mark.parametrize("value", [0, 9, 65535])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_invalid_orientation_is_ignored(format: str, value: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = value
    assert size_of(coded(photo(), format, exif=exif)) == (32, 24)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_png_orientation_before_or_after_the_pixels_is_read(where: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    block = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    data = png(RGB, 2, before=block) if where == "before" else png(RGB, 2, after=block)
    assert size_of(data) == (24, 32)


def test_broken_exif_does_not_refuse_a_picture() -> None:
    for block in (b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"):
        assert size_of(coded(photo(), "JPEG", exif=block)) == (32, 24)


def test_headers_that_declare_too_many_pixels_are_refused() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    data = PNG_SIGNATURE + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    with pytest.raises(PictureFault, match="50000 × 50000 pixels; scale it to at most 100,000,000"):
        described(data)
    with pytest.raises(PictureFault, match="60000 × 60000"):
        described(tiff(RGB, 2, more=[(256, 4, [60_000]), (257, 4, [60_000])]))
    frame = FILES["jpeg"].index(b"\xff\xc0")
    with pytest.raises(PictureFault, match="65535 × 65535"):
        described(FILES["jpeg"][: frame + 5] + b"\xff" * 4 + FILES["jpeg"][frame + 9 :])
    canvas = FILES["webp with alpha"].index(b"VP8X") + 12
    with pytest.raises(PictureFault, match="16777216 × 16777216"):
        described(FILES["webp with alpha"][:canvas] + b"\xff" * 6 + FILES["webp with alpha"][canvas + 6 :])


def test_the_caller_sets_the_pixel_limit() -> None:
    assert describe(io.BytesIO(FILES["png"]), 32 * 24).width == 32
    for data in FILES.values():
        with pytest.raises(PictureFault, match="scale it to at most 767 pixels"):
            describe(io.BytesIO(data), 767)


def test_pictures_without_pixels_are_refused() -> None:
    frame = FILES["jpeg"].index(b"\xff\xc0")
    for data in (
        tiff(RGB, 2, more=[(257, 4, [0])]),
        FILES["jpeg"][: frame + 5] + bytes(2) + FILES["jpeg"][frame + 7 :],
    ):
        with pytest.raises(PictureFault, match="no pixels"):
            described(data)


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"\0\0\0\x18ftypisom",
        bytes(1000),
    ],
)
def test_files_that_are_no_pictures_are_refused(data: bytes) -> None:
    with pytest.raises(PictureFault, match="is not a PNG, JPEG, WebP or TIFF file; export it"):
        described(data)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"GIF89a" + bytes(100), "a GIF"),
        (coded(photo(), "GIF"), "a GIF"),
        (coded(photo(), "BMP"), "a BMP"),
        (b"%PDF-1.4", "a PDF"),
        (b"8BPS\0\1" + bytes(100), r"a Photoshop \(PSD\)"),
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "a HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "a HEIF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif", "an AVIF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", r"a camera raw \(CR3\)"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(100), "a camera raw"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000"),
    ],
)
def test_other_picture_formats_are_refused_by_name(data: bytes, name: str) -> None:
    words = f"^is {name} file, which is not supported; export it as PNG, TIFF or JPEG$"
    with pytest.raises(PictureFault, match=words):
        described(data)


@pytest.mark.parametrize(
    ("marker", "replaced", "words"),
    [
        (b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x0c", "12 bits per sample"),
        (b"\xff\xc0", b"\xff\xc3", "lossless or hierarchical"),
        (b"\xff\xc0", b"\xff\xc9", "arithmetic coding"),
    ],
)
def test_unsupported_kinds_of_jpeg_are_refused_by_name(marker: bytes, replaced: bytes, words: str) -> None:
    with pytest.raises(PictureFault, match=words):
        described(FILES["jpeg"].replace(marker, replaced))


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"IEND", b"PLTE"])
def test_damaged_chunks_that_the_pixels_need_are_reported(kind: bytes) -> None:
    data = bytearray(FILES["palette png"])
    at = data.index(kind)
    length = struct.unpack_from(">I", data, at - 4)[0]
    data[at + 4 + length] ^= 1
    with pytest.raises(PictureFault, match="truncated or damaged"):
        described(bytes(data))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"tEXt", b"Comment\0hello", crc=0),
        chunk(b"iCCP", b""),
        chunk(b"iCCP", b"icc\0\0rubbish"),
        chunk(b"cHRM", b"\0"),
        chunk(b"gAMA", b""),
        chunk(b"eXIf", b"II*\0" + bytes([8, 0, 0, 0, 1, 0, 18, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0]), crc=0),
        chunk(b"tRNS", bytes(6), crc=0),
        chunk(b"tRNS", bytes(5)),
        chunk(b"cICP", b"\xff"),
        chunk(b"sRGB", b"", crc=1),
        chunk(b"abCd", b"x" * 100, crc=3),
    ],
)
def test_damaged_chunks_that_the_pixels_do_not_need_are_ignored(extra: bytes) -> None:
    found = described(png(RGB, 2, before=extra))
    assert (found.width, found.height, found.has_alpha) == (32, 24, False)


def test_files_with_too_many_parts_are_refused() -> None:
    with pytest.raises(PictureFault, match="more than 131,072 chunks"):
        described(png(RGB, 2, before=chunk(b"abCd", b"") * 1_000_000))
    with pytest.raises(PictureFault, match="more than 16,384 segments"):
        described(b"\xff\xd8" + b"\xff\xfe\x00\x02" * 1_000_000)
    many = b"WEBP" + struct.pack("<4sI", b"abcd", 0) * 1_000_000
    with pytest.raises(PictureFault, match="more than 65,536 chunks"):
        described(b"RIFF" + struct.pack("<I", len(many)) + many)


def test_a_scan_of_fill_bytes_is_read_in_linear_time() -> None:
    # A regular expression took quadratic time for this file: hours.
    for filling in (b"\xff" * 20_000_000, b"\xff\0" * 10_000_000, b"\xff\xd0" * 10_000_000):
        with pytest.raises(PictureFault):
            described(b"\xff\xd8" + filling + b"\0")


mutations: dict[str, Callable[[bytearray, int, bytes], bytes]] = {
    "replace": lambda data, at, new: bytes(data[:at] + new + data[at + len(new) :]),
    "insert": lambda data, at, new: bytes(data[:at] + new + data[at:]),
    "delete": lambda data, at, new: bytes(data[:at] + data[at + len(new) :]),
    "cut": lambda data, at, new: bytes(data[:at]),
}


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(
        st.tuples(st.sampled_from(sorted(mutations)), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_a_damaged_file_is_described_or_raises_a_picture_fault(
    name: str, changes: list[tuple[str, float, bytes]], at_the_end: bool
) -> None:
    data = FILES[name]
    for kind, where, new in changes:
        # Squared, to hit the header, or the directory at the end of a TIFF, more often.
        at = int(where**2 * len(data))
        data = mutations[kind](bytearray(data), max(0, len(data) - at) if at_the_end else at, new)
    with contextlib.suppress(PictureFault):
        width, height = size_of(data)
        assert 0 < width * height <= MAX_PIXELS


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([data[:12] for data in FILES.values()]), st.binary(max_size=200))
def test_garbage_after_a_valid_signature_is_refused(beginning: bytes, rubbish: bytes) -> None:
    with pytest.raises(PictureFault):
        described(beginning + rubbish)
