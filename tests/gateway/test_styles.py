from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import PIL.Image
import pytest

from impasto_server.fleet.intake import IntakeProcess
from impasto_server.gateway.styles import BadPageToken, StyleLibrary
from support.samples import coded, photo


@contextlib.asynccontextmanager
async def library(folder: Path | None) -> AsyncIterator[StyleLibrary]:
    async with IntakeProcess() as intake:
        yield StyleLibrary(folder, intake)


async def names(library: StyleLibrary, page_size: int = 50, token: str = "") -> tuple[list[str], str]:
    styles, token = await library.page(page_size, token)
    return [style.name for style in styles], token


def test_one_style_is_built_in() -> None:
    async def look() -> None:
        async with library(None) as styles:
            assert await names(styles) == (["styles/starry-night"], "")
            data = await styles.get("styles/starry-night")
            assert data is not None
            assert PIL.Image.open(io.BytesIO(data)).format == "JPEG"
            assert await styles.get("styles/none") is None
            assert await styles.get("starry-night") is None

    asyncio.run(look())


def test_the_images_of_a_folder_are_listed_as_styles(tmp_path: Path) -> None:
    (tmp_path / "The Wave (Hokusai).png").write_bytes(coded(photo(300, 200)))
    (tmp_path / "Ünder_wäter.JPG").write_bytes(coded(photo(50, 90), "JPEG"))
    (tmp_path / "a b.webp").write_bytes(coded(photo(20, 20), "WEBP"))
    (tmp_path / "a-b.png").write_bytes(coded(photo(21, 20)))
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("not a style")
    expected = ["a-b", "a-b-2", "starry-night", "the-wave-hokusai", "under-water"]

    async def look() -> None:
        async with library(tmp_path) as found:
            assert await names(found) == ([f"styles/{name}" for name in expected], "")
            styles, _ = await found.page(50)
            wave = styles[3]
            assert (wave.title, wave.width, wave.height) == ("The Wave (Hokusai)", 300, 200)
            for style in styles:
                thumbnail = PIL.Image.open(io.BytesIO(style.thumbnail))
                assert thumbnail.format == "JPEG"
                assert max(thumbnail.size) <= 128
                assert len(style.thumbnail) <= 16 * 1024
            painting = (tmp_path / "The Wave (Hokusai).png").read_bytes()
            assert await found.get("styles/the-wave-hokusai") == painting
            assert await found.get("styles/broken") is None

            first, token = await names(found, 2)
            second, token = await names(found, 2, token)
            last, end = await names(found, 2, token)
            assert first + second + last == [f"styles/{name}" for name in expected]
            assert end == ""

            (tmp_path / "a b.webp").unlink()
            (tmp_path / "zebra.png").write_bytes(coded(photo()))
            left, _ = await names(found)
            assert "styles/zebra" in left
            assert "styles/a-b-2" not in left

    asyncio.run(look())


@pytest.mark.parametrize("token", ["x", "ä", "AAAA"])
def test_an_unknown_page_token_is_refused(token: str) -> None:
    async def look() -> None:
        async with library(None) as styles:
            with pytest.raises(BadPageToken):
                await names(styles, 5, token)

    asyncio.run(look())


def test_the_thumbnail_of_a_16_bit_picture_has_its_levels(tmp_path: Path) -> None:
    PIL.Image.new("I;16", (64, 48), 20_000).save(tmp_path / "grey.png")

    async def look() -> bytes:
        async with library(tmp_path) as styles:
            return (await styles.page(50))[0][0].thumbnail

    low, high = PIL.Image.open(io.BytesIO(asyncio.run(look()))).convert("L").getextrema()
    assert 76 <= low <= high <= 80


def test_control_characters_in_a_file_name_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2Jb.png").write_bytes(coded(photo()))

    async def look() -> str:
        async with library(tmp_path) as styles:
            return (await styles.page(50))[0][0].title

    assert asyncio.run(look()) == "a\N{REPLACEMENT CHARACTER}[2Jb"


def test_a_file_name_that_is_not_utf_8_is_shown_with_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(coded(photo()))
    (tmp_path / os.fsdecode(b"\xff\xfe.png")).write_bytes(coded(photo()))

    async def look() -> list[tuple[str, str]]:
        async with library(tmp_path) as styles:
            return [(style.name, style.title) for style in (await styles.page(50))[0]]

    assert asyncio.run(look()) == [
        ("styles/caf", "caf\N{REPLACEMENT CHARACTER}"),
        ("styles/starry-night", "The Starry Night"),
        ("styles/style", "\N{REPLACEMENT CHARACTER}" * 2),
    ]


def test_a_folder_that_is_removed_does_no_harm(tmp_path: Path) -> None:
    async def look() -> None:
        async with library(tmp_path / "none") as styles:
            assert await names(styles) == (["styles/starry-night"], "")

    asyncio.run(look())
