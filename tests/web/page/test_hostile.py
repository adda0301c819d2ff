"""Files, names and moments that are not what the page hopes for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from support.browser import PHOTO, PageServer, page_server
from support.disks import fill, small_disk

OpenPage = Callable[..., Any]

EVIL = "<img src=x onerror=document.title='taken'>"


@pytest.fixture
def small(tmp_path: Path) -> Any:
    """A server that takes two jobs at a time, and paints them slowly."""
    with page_server(tmp_path, "--mock-evaluation-time", "1s", "--max-jobs-per-tenant", "2") as started:
        yield started


def choose(page: Any, path: Path) -> None:
    page.locator(".photo input[type=file]").first.set_input_files(path)


def test_a_heic_is_refused_in_words_and_the_next_photo_is_not(
    server: PageServer, open_page: OpenPage, tmp_path: Path
) -> None:
    heic = tmp_path / "IMG_1.heic"
    heic.write_bytes(b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(4000))
    page = open_page(server.url)
    page.wait_for_selector(".tile")
    choose(page, heic)
    error = page.get_by_role("alert").get_by_text("It is a HEIC file. Save it as JPEG, and choose that.")
    error.wait_for()
    # What cannot be painted does not stay in the form.
    page.wait_for_selector(".invitation")
    choose(page, PHOTO)
    page.wait_for_selector("img.photo-picture")
    error.wait_for(state="hidden")


def test_names_are_text(server: PageServer, open_page: OpenPage, tmp_path: Path) -> None:
    photo = tmp_path / (EVIL + ".jpg")
    photo.write_bytes(PHOTO.read_bytes())
    page = open_page(server.url)
    page.wait_for_selector(".tile")
    page.locator(".styles input[type=file]").set_input_files(photo)
    choose(page, photo)
    page.wait_for_selector("img.photo-picture")
    page.get_by_role("button", name="Paint", exact=True).click()
    page.wait_for_selector(".stage[data-result]")
    assert EVIL in page.locator("h1").inner_text()
    page.goto(server.url + "#/jobs")
    page.get_by_text(EVIL).first.wait_for()
    assert page.locator("img[src=x]").count() == 0
    assert page.title() != "taken"


def test_four_seeds_where_there_is_room_for_two(small: PageServer, open_page: OpenPage) -> None:
    page = open_page(small.url)
    choose(page, PHOTO)
    page.wait_for_selector("img.photo-picture")
    page.get_by_role("button", name="Four seeds").click()
    page.locator(".four-cell").nth(1).wait_for()
    assert page.locator(".four-cell").count() == 2
    page.get_by_role("status").get_by_text("2 of 4 were begun.").wait_for()
    page.get_by_role("button", name="Close").click()


def test_a_reload_while_a_large_photo_is_sent(
    server: PageServer, open_page: OpenPage, tmp_path: Path
) -> None:
    pixels = np.frombuffer(os.urandom(1900 * 1800 * 3), np.uint8).reshape(1800, 1900, 3)
    photo = tmp_path / "large.png"
    PIL.Image.fromarray(pixels).save(photo, compress_level=0)
    assert photo.stat().st_size > 10_000_000
    page = open_page(server.url)
    page.wait_for_selector(".tile")
    offsets: list[int] = []

    def heard(request: Any) -> None:
        if "UploadImagePiece" in request.url:
            offsets.append(int(request.post_data_json.get("offset", 0)))

    page.on("request", heard)
    choose(page, photo)
    page.wait_for_selector("img.photo-picture")
    # The draft is written a moment after the last change.
    page.wait_for_timeout(600)
    page.reload()
    page.wait_for_selector("img.photo-picture")
    page.wait_for_selector(".sending", state="hidden")
    page.get_by_text("MB of memory").wait_for()
    # It goes on where it was: only the piece that was on its way may be sent twice.
    sent = [offset for offset in offsets if offset]
    assert len(sent) - len(set(sent)) <= 1


def test_without_javascript(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url, java_script_enabled=False)
    # Playwright finds no text within noscript.
    said = page.locator("noscript p")
    said.wait_for()
    assert "This page needs JavaScript." in said.inner_text()


def test_one_painting_in_five_tabs(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    choose(page, PHOTO)
    page.wait_for_selector("img.photo-picture")
    page.get_by_role("button", name="Paint", exact=True).click()
    page.wait_for_selector(".stage")
    others = [page.context.new_page() for _ in range(4)]
    for other in others:
        other.goto(page.url)
    for each in (page, *others):
        each.wait_for_selector(".stage[data-result]")


def test_a_full_disk_is_told_in_words_without_names_of_files(tmp_path: Path, open_page: OpenPage) -> None:
    with small_disk(tmp_path / "disk", 24) as disk, page_server(disk) as server:
        page = open_page(server.url)
        page.wait_for_selector(".tile")
        fill(disk)
        choose(page, PHOTO)
        page.wait_for_selector("img.photo-picture")
        page.get_by_role("button", name="Paint", exact=True).click()
        error = page.get_by_role("alert").get_by_text("The server's disk is full. Try again later.")
        error.wait_for()
        assert "uploads" not in error.text_content()
