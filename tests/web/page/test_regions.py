"""Regions painted with a brush."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import PIL.Image
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from support.browser import PHOTO, PageServer, serious_faults

OpenPage = Callable[..., Any]

WIDTH, HEIGHT = 400, 200

OPEN = """async ([width, height, styles, strokes]) => {
    const { openRegions } = await import(new URL("js/regions.js", document.baseURI));
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.fillStyle = "#7a9";
    context.fillRect(0, 0, width, height);
    const photo = await canvas.convertToBlob();
    const regions = strokes ? { regions: [], selection: null, strokes } : null;
    const choices = styles.map((title) => ({ title, picture: null }));
    window.painted = openRegions({ photo, styles: choices, regions });
}"""

RESULT = """async () => {
    const read = async (blob) => [...new Uint8Array(await blob.arrayBuffer())];
    const painted = await window.painted;
    if (!painted) return null;
    const regions = painted.regions.map(async ({ style, mask }) => [style, await read(mask)]);
    const selection = painted.selection && (await read(painted.selection));
    return { regions: await Promise.all(regions), selection, strokes: painted.strokes };
}"""


def open_regions(page: Any, styles: list[str], strokes: Any = None) -> None:
    page.evaluate(OPEN, [WIDTH, HEIGHT, styles, strokes])
    page.locator("dialog.regions[open]").wait_for()


def done(page: Any) -> Any:
    """Ends the dialog, and returns the masks as arrays, (H, W), 0 to 1: (regions, selection, strokes)."""
    page.get_by_role("button", name="Done").click()
    result = page.evaluate(RESULT)
    regions = [(style, mask(data)) for style, data in result["regions"]]
    return regions, result["selection"] and mask(result["selection"]), result["strokes"]


def mask(data: list[int]) -> Any:
    return np.asarray(PIL.Image.open(io.BytesIO(bytes(data))).convert("L"), np.float64) / 255


def stroke(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draws a line with the mouse; the points in shares of the picture."""
    box = page.locator("canvas.paint").bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=8)
    page.mouse.up()


def test_the_regions_cover_the_picture_once(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    open_regions(page, ["Waves", "Stars"])
    page.get_by_text("Places without a colour are painted in a mix of “Waves” and “Stars”.").wait_for()
    page.get_by_text("Stars", exact=True).click()
    stroke(page, (0.2, 0.5), (0.4, 0.5))
    page.get_by_text("Places without a colour are painted as “Waves”.").wait_for()
    regions, selection, _strokes = done(page)
    assert selection is None
    assert [style for style, _mask in regions] == [1, 0]
    stars, waves = (each for _style, each in regions)
    assert stars.shape == (HEIGHT, WIDTH)
    assert stars[HEIGHT // 2, int(0.3 * WIDTH)] == 1
    assert stars[HEIGHT // 2, int(0.8 * WIDTH)] == 0
    np.testing.assert_allclose(stars + waves, 1, atol=1 / 255)
    # The edge is soft.
    assert ((stars > 0.1) & (stars < 0.9)).any()


def test_eraser_undo_and_what_stays_as_it_is(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    open_regions(page, ["Waves"])
    page.get_by_text("Leave as it is").click()
    stroke(page, (0.1, 0.5), (0.9, 0.5))
    page.get_by_text("Eraser").click()
    stroke(page, (0.1, 0.5), (0.9, 0.5))
    page.get_by_role("button", name="Undo").click()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+z")
    regions, selection, strokes = done(page)
    assert not regions
    assert selection[HEIGHT // 2, WIDTH // 2] == 0
    assert selection[5, WIDTH // 2] == 1
    assert len(strokes) == 1
    # The same strokes can be gone on with.
    open_regions(page, ["Waves"], strokes)
    page.get_by_role("button", name="Clear all").click()
    regions, selection, _strokes = done(page)
    assert not regions
    assert selection is None


def test_by_keys_alone(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    open_regions(page, ["Waves", "Stars"])
    page.get_by_text("By numbers").focus()
    page.keyboard.press("Enter")
    for label, value in (("Left", "50"), ("Top", "0"), ("Width", "50"), ("Height", "100")):
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Fill the rectangle").focus()
    page.keyboard.press("Enter")
    regions, _selection, _strokes = done(page)
    stars = dict(regions)[1]
    assert stars[:, : WIDTH // 2].max() == 0
    assert stars[:, WIDTH // 2 :].min() == 1


def test_something_must_be_left_to_paint(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    open_regions(page, ["Waves"])
    page.get_by_text("Leave as it is").click()
    page.get_by_text("By numbers").click()
    page.get_by_role("button", name="Fill everything").click()
    page.get_by_role("button", name="Done").click()
    page.get_by_text("Nothing is left to paint.").wait_for()
    page.get_by_role("button", name="Cancel").click()
    assert page.evaluate(RESULT) is None


def test_two_fingers_zoom_and_do_not_paint(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url, viewport={"width": 390, "height": 844}, has_touch=True)
    open_regions(page, ["Waves", "Stars"])
    before = page.locator("canvas.paint").bounding_box()
    middle = (before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *offsets: float) -> None:
        points = [{"x": middle[0] + offset, "y": middle[1], "id": i} for i, offset in enumerate(offsets)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -20)
    touch("touchStart", -20, 20)
    for spread in range(25, 65, 5):
        touch("touchMove", -spread, spread)
    touch("touchEnd")
    after = page.locator("canvas.paint").bounding_box()
    assert after["width"] == pytest.approx(3 * before["width"], rel=0.2)
    regions, selection, strokes = done(page)
    assert not regions
    assert selection is None
    assert not strokes


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_axe_is_content(server: PageServer, open_page: OpenPage, scheme: str, size: tuple[int, int]) -> None:
    page = open_page(server.url, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    open_regions(page, ["Waves", "Stars"])
    assert page.evaluate("document.querySelector('dialog.regions').scrollWidth <= innerWidth")
    assert not serious_faults(page)


def test_a_job_is_painted_with_its_regions(server: PageServer, open_page: OpenPage) -> None:
    """From the form to the server: the job has the masks, and the picture shows what was left as it is."""
    page = open_page(server.url)
    page.locator(".photo input[type=file]").first.set_input_files(PHOTO)
    page.wait_for_selector("img.photo-picture")
    page.get_by_role("button", name="Regions").click()
    page.get_by_text("Leave as it is").click()
    page.get_by_text("By numbers").click()
    for label, value in (("Left", "0"), ("Top", "0"), ("Width", "50"), ("Height", "100")):
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Fill the rectangle").click()
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Paint", exact=True).click()
    page.wait_for_selector(".stage[data-result]")
    name = page.url.rpartition("#/")[2]
    with grpc.insecure_channel(server.address) as channel:
        stub = style_transfer_pb2_grpc.StyleTransferStub(channel)
        spec = stub.GetJob(pb.GetJobRequest(name=name)).spec
        assert spec.selection.sha256
        request = pb.DownloadImageRequest(sha256=spec.selection.sha256)
        selection = b"".join(chunk.data for chunk in stub.DownloadImage(request))
        request = pb.DownloadImageRequest(result_of=name)
        result = b"".join(chunk.data for chunk in stub.DownloadImage(request))
    painted = PIL.Image.open(io.BytesIO(result)).convert("RGB")
    left = mask(list(selection))
    assert left[:, : left.shape[1] // 2 - 1].max() == 0
    original = PIL.Image.open(Path(PHOTO)).convert("RGB").resize(painted.size)
    change = np.abs(np.asarray(painted, np.float64) - np.asarray(original)).mean((0, 2))
    middle = painted.width // 2
    assert change[: middle - 8].mean() < 5 < change[middle + 8 :].mean()
