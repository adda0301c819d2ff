"""Makes the README's picture of the page: `python .ci/page_picture.py`. Takes two minutes, and needs Chromium.

A private server paints the demo. The page shows it on a computer while it is painted, and the end of it on a
telephone.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, sync_playwright

import impasto

ROOT = Path(__file__).parents[1]
OUT = ROOT / "server" / "pictures" / "page.jpg"
DATA = ROOT / "client" / "impasto" / "data"

COMPUTER = {"viewport": {"width": 1280, "height": 800}, "device_scale_factor": 1.25, "color_scheme": "light"}
TELEPHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5, "color_scheme": "dark"}
SHOWN_AT = 0.35
"""Share of the work after which the computer's picture is taken."""
WIDTH = 1600
BACKGROUND = "#dedbd4"


def main() -> None:
    """Paints, takes the pictures, and lays one over the other."""
    with (
        impasto.PrivateServer(weights="builtin", page=True) as server,
        impasto.Client(server.address) as client,
    ):
        page = client.info().page
        assert page is not None
        client.create_job(DATA / "starry_night.jpg", [DATA / "starry_night.jpg"], size=32, evaluations=2)
        painting = client.stylize(
            DATA / "astronaut.jpg",
            [DATA / "starry_night.jpg"],
            size=512,
            previews=True,
            title="Eileen Collins",
        )
        with sync_playwright() as playwright, painting:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            address = f"http://127.0.0.1:{page.port}/#/{painting.job.name}"
            computer = None
            for event in painting:
                far = isinstance(event, impasto.Progress) and event.evaluation >= SHOWN_AT * event.evaluations
                if far and computer is None:
                    computer = taken(browser, address, COMPUTER, "canvas")
            telephone = taken(browser, address, TELEPHONE, ".stage[data-result]")
            browser.close()
    assert computer is not None
    combined(computer, telephone).save(OUT, quality=86, optimize=True, progressive=True)


def taken(browser: Browser, address: str, device: dict[str, object], shown: str) -> Image.Image:
    """A picture of the page on a device, once an element is shown."""
    context = browser.new_context(**device)
    visit = context.new_page()
    visit.goto(address)
    visit.locator(shown).first.wait_for(timeout=60_000)
    # The pictures fade in.
    visit.wait_for_timeout(2_500)
    picture = Image.open(io.BytesIO(visit.screenshot()))
    context.close()
    return picture.convert("RGB")


def combined(computer: Image.Image, telephone: Image.Image) -> Image.Image:
    """The computer's picture, with the telephone's over its right edge."""
    margin = 48
    canvas = Image.new(
        "RGB", (computer.width + 2 * margin + 200, computer.height + 2 * margin + 60), BACKGROUND
    )
    for picture, place, radius in (
        (computer, (margin, margin), 16),
        (telephone.resize((telephone.width * 4 // 5, telephone.height * 4 // 5)), None, 40),
    ):
        corner = place or (canvas.width - picture.width - margin, canvas.height - picture.height - margin)
        mask = Image.new("L", picture.size)
        ImageDraw.Draw(mask).rounded_rectangle(
            (0, 0, picture.width - 1, picture.height - 1), radius, fill=255
        )
        edge = Image.new("RGB", (picture.width + 16, picture.height + 16), "#2b2926")
        edge_mask = Image.new("L", edge.size)
        ImageDraw.Draw(edge_mask).rounded_rectangle(
            (0, 0, edge.width - 1, edge.height - 1), radius + 8, fill=255
        )
        canvas.paste(edge, (corner[0] - 8, corner[1] - 8), edge_mask)
        canvas.paste(picture, corner, mask)
    return canvas.resize((WIDTH, round(WIDTH * canvas.height / canvas.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
