from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable

import PIL.Image
import PIL.ImageFile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impasto.v1 import style_transfer_pb2 as pb
from impasto_server.engine.recipe import MAX_IMAGE_PIXELS
from impasto_server.gateway.images import ImageFault, limit_pillow, upright_size
from samples import coded, photo

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
}


def size_of(data: bytes) -> tuple[int, int]:
    return upright_size(pb.Image(encoded=data))


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends after promising so many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"\0")
    chunks = (
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
        for c in (header, pixels, b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture(autouse=True)
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", load)


@pytest.mark.parametrize("name", FILES)
def test_the_size_is_read(name: str) -> None:
    assert size_of(FILES[name]) == (32, 24)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_anywhere_is_refused(name: str) -> None:
    data = FILES[name]
    # TIFF keeps its directory at the end; zeros behind a WebP or after its pixels belong to no picture.
    for end in {
        0,
        1,
        8,
        12,
        20,
        len(data) // 3,
        len(data) // 2,
        len(data) - 20,
        len(data) - 3,
        len(data) - 1,
    }:
        with pytest.raises(ImageFault):
            size_of(data[:end])


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "upright"), [(1, (32, 24)), (3, (32, 24)), (6, (24, 32)), (8, (24, 32))]
)
def test_orientation_turns_the_size(format: str, orientation: int, upright: tuple[int, int]) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    assert size_of(coded(photo(), format, exif=exif)) == upright


def test_orientation_behind_the_pixels_of_a_png_counts() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = coded(photo(), "PNG")
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert size_of(data[:-12] + chunk + data[-12:]) == (24, 32)


def test_broken_exif_does_no_harm() -> None:
    assert size_of(coded(photo(), "JPEG", exif=b"Exif\0\0rubbish")) == (32, 24)


def test_headers_that_promise_too_much_are_refused() -> None:
    with pytest.raises(ImageFault, match="50000 × 50000"):
        size_of(png_header(50_000, 50_000))


def test_pillows_own_limit_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1)
    limit_pillow()
    assert PIL.Image.MAX_IMAGE_PIXELS == MAX_IMAGE_PIXELS
    tiff = bytearray(coded(photo(), "TIFF"))
    for tag in (256, 257):
        entry = (
            tiff.index(struct.pack("<HH", tag, 4))
            if struct.pack("<HH", tag, 4) in tiff
            else tiff.index(struct.pack("<HH", tag, 3))
        )
        tiff[entry : entry + 12] = struct.pack("<HHII", tag, 4, 1, 60_000)
    with pytest.raises(ImageFault, match="scale it"):
        size_of(bytes(tiff))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"GIF89a" + bytes(100),
        b"%PDF-1.4",
        coded(photo(), "BMP"),
        coded(photo(), "GIF"),
        bytes(1000),
    ],
)
def test_other_kinds_are_refused(data: bytes) -> None:
    with pytest.raises(ImageFault, match="PNG, JPEG, WebP"):
        size_of(data)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (pb.RawPixels(width=0, height=4, rgba=b""), "raw.width"),
        (pb.RawPixels(width=4, height=0, rgba=b""), "raw.height"),
        (pb.RawPixels(width=2, height=2, rgba=bytes(15)), "raw.rgba"),
        (pb.RawPixels(width=2**31, height=2**31, rgba=bytes(4)), ""),
    ],
)
def test_raw_pixels_must_be_as_many_as_said(raw: pb.RawPixels, field: str) -> None:
    with pytest.raises(ImageFault) as caught:
        upright_size(pb.Image(raw=raw))
    assert caught.value.field == field


def test_raw_pixels_are_accepted() -> None:
    assert upright_size(pb.Image(raw=pb.RawPixels(width=3, height=2, rgba=bytes(24)))) == (3, 2)


def test_a_missing_image_is_refused() -> None:
    with pytest.raises(ImageFault, match="missing"):
        upright_size(pb.Image())


mutations: dict[str, Callable[[bytearray, int, bytes], bytes]] = {
    "replace": lambda data, at, new: bytes(data[:at] + new + data[at + len(new) :]),
    "insert": lambda data, at, new: bytes(data[:at] + new + data[at:]),
    "delete": lambda data, at, new: bytes(data[:at] + data[at + len(new) :]),
    "cut": lambda data, at, new: bytes(data[:at]),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(
        st.tuples(st.sampled_from(sorted(mutations)), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=4,
    ),
)
def test_damaged_files_are_refused_or_sized_but_never_raise_anything_else(
    name: str, changes: list[tuple[str, float, bytes]]
) -> None:
    data = FILES[name]
    for kind, where, new in changes:
        # Squared: more often in the header.
        data = mutations[kind](bytearray(data), int(where**2 * len(data)), new)
    with contextlib.suppress(ImageFault):
        width, height = size_of(data)
        assert 0 < width * height <= MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=200, deadline=None)
@given(st.sampled_from([data[:12] for data in FILES.values()]), st.binary(max_size=200))
def test_rubbish_behind_a_good_beginning_is_refused(beginning: bytes, rubbish: bytes) -> None:
    with pytest.raises(ImageFault):
        size_of(beginning + rubbish)


def test_samples_are_what_pillow_reads() -> None:
    for data in FILES.values():
        assert PIL.Image.open(io.BytesIO(data)).size == (32, 24)
