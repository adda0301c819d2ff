"""Thumbnails that announce more pixels than a host can hold."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from impasto import png
from impasto.hosts.styles import StyleItem, item_from_json, item_to_json
from impasto.hosts.thumbnails import MOST_SIDE, checked
from support.fake_host import jpeg

MOST = 2**20


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + bytes(200)}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_real_jpegs_are_taken(mode: str, options: dict[str, object]) -> None:
    written = io.BytesIO()
    Image.new(mode, (256, 100)).save(written, "JPEG", **options)
    assert checked(written.getvalue(), MOST) == written.getvalue()


def test_a_real_png_is_taken_where_one_may_be() -> None:
    picture = png.write(2, 2, 3, 8, bytes(12))
    assert checked(picture, MOST) == picture
    assert checked(picture, MOST, png=False) == b""
    assert checked(picture, 10) == b""


@pytest.mark.parametrize(
    ("width", "height", "taken"),
    [(MOST_SIDE, MOST_SIDE, True), (MOST_SIDE + 1, 1, False), (1, 65500, False), (0, 10, False)],
)
def test_no_picture_is_taken_that_is_large_in_pixels(width: int, height: int, taken: bool) -> None:
    for note in (b"", b"\xff\xc0" * 20):
        assert bool(checked(jpeg(width, height, note), MOST)) == taken
    header = png.write(2, 2, 3, 8, bytes(12))
    header = header[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + header[24:]
    assert bool(checked(header, MOST)) == taken


@pytest.mark.parametrize("before", [b"\xff\xda", b"\xff\xd9", b"\xff\x01", b"\0", b"\xff\xc4\0\0"])
def test_a_jpeg_of_another_form_is_not_taken(before: bytes) -> None:
    picture = jpeg()
    assert checked(picture[:2] + before + picture[2:], MOST) == b""


@given(st.binary(max_size=60))
def test_any_bytes_can_be_checked(data: bytes) -> None:
    checked(b"\xff\xd8\xff" + data, MOST)
    checked(b"\x89PNG\r\n\x1a\n" + data, MOST)


def test_a_style_from_somebody_else_has_no_enormous_thumbnail() -> None:
    small, large = (StyleItem("styles/wave", "Wave", jpeg(side, side)) for side in (100, 65500))
    for style, taken in ((small, small.thumbnail), (large, b"")):
        read = item_from_json(item_to_json(style))
        assert read is not None
        assert read.thumbnail == taken
    assert item_from_json({"key": "styles/" + "x" * 201, "title": "Wave"}) is None
