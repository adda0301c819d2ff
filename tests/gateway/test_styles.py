from __future__ import annotations

import asyncio
import io
from pathlib import Path

import PIL.Image
import pytest

from impasto_server.gateway.styles import BadPageToken, StyleLibrary
from samples import coded, photo


def names(library: StyleLibrary, page_size: int = 50, token: str = "") -> tuple[list[str], str]:
    styles, token = asyncio.run(library.page(page_size, token))
    return [style.name for style in styles], token


def test_one_style_comes_with_the_program() -> None:
    library = StyleLibrary(None)
    assert names(library) == (["styles/starry-night"], "")
    data = library.get("styles/starry-night")
    assert data is not None
    assert PIL.Image.open(io.BytesIO(data)).format == "JPEG"
    assert library.get("styles/none") is None
    assert library.get("starry-night") is None


def test_a_folder_of_images_is_a_library(tmp_path: Path) -> None:
    (tmp_path / "The Wave (Hokusai).png").write_bytes(coded(photo(300, 200)))
    (tmp_path / "Ünder_wäter.JPG").write_bytes(coded(photo(50, 90), "JPEG"))
    (tmp_path / "a b.webp").write_bytes(coded(photo(20, 20), "WEBP"))
    (tmp_path / "a-b.png").write_bytes(coded(photo(21, 20)))
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("not a style")
    library = StyleLibrary(tmp_path)
    expected = ["a-b", "a-b-2", "starry-night", "the-wave-hokusai", "under-water"]
    assert names(library) == ([f"styles/{name}" for name in expected], "")
    styles, _ = asyncio.run(library.page(50))
    wave = styles[3]
    assert (wave.title, wave.width, wave.height) == ("The Wave (Hokusai)", 300, 200)
    for style in styles:
        thumbnail = PIL.Image.open(io.BytesIO(style.thumbnail))
        assert thumbnail.format == "JPEG"
        assert max(thumbnail.size) <= 128
        assert len(style.thumbnail) <= 16 * 1024
    assert library.get("styles/the-wave-hokusai") == (tmp_path / "The Wave (Hokusai).png").read_bytes()
    assert library.get("styles/broken") is None

    first, token = names(library, 2)
    second, token = names(library, 2, token)
    last, end = names(library, 2, token)
    assert first + second + last == [f"styles/{name}" for name in expected]
    assert end == ""

    (tmp_path / "a b.webp").unlink()
    (tmp_path / "zebra.png").write_bytes(coded(photo()))
    found, _ = names(library)
    assert "styles/zebra" in found
    assert "styles/a-b-2" not in found


@pytest.mark.parametrize("token", ["x", "ä", "AAAA"])
def test_a_token_of_nobodys_is_refused(token: str) -> None:
    with pytest.raises(BadPageToken):
        names(StyleLibrary(None), 5, token)


def test_a_16_bit_picture_is_shown_as_it_is(tmp_path: Path) -> None:
    PIL.Image.new("I;16", (64, 48), 20_000).save(tmp_path / "grey.png")
    styles, _ = asyncio.run(StyleLibrary(tmp_path).page(50))
    low, high = PIL.Image.open(io.BytesIO(styles[0].thumbnail)).convert("L").getextrema()
    assert 76 <= low <= high <= 80


def test_a_folder_that_is_not_there_is_no_harm(tmp_path: Path) -> None:
    assert names(StyleLibrary(tmp_path / "none"))[0] == ["styles/starry-night"]
