"""Makes the README's picture of the page: `python .ci/page_picture.py`. Takes minutes; needs Chromium.

A private server paints the demo. The page shows it on a computer while it is painted, and the end of it on a
telephone.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, sync_playwright

import impasto

ROOT = Path(__file__).parents[1]
OUT = ROOT / "server" / "pictures" / "page.jpg"
DATA = ROOT / "client" / "impasto" / "data"

COMPUTER: dict[str, Any] = {
    "viewport": {"width": 1280, "height": 800},
    "device_scale_factor": 1.25,
    "color_scheme": "light",
}
TELEPHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 1.5,
    "color_scheme": "dark",
}
SHOWN_AT = 0.55
"""Share of the work after which the computer's picture is taken."""
WIDTH = 1600
MARGIN, FRAME = 48, 8
BACKGROUND = "#dedbd4"


def main() -> None:
    """Paints, takes the pictures, and lays one over the other."""
    server = impasto.PrivateServer(weights="builtin", page=True)
    with server, impasto.Client(server.address) as client:
        page = client.info().page
        assert page is not None
        content, style = DATA / "astronaut.jpg", DATA / "starry_night.jpg"
        painting = client.stylize(content, [style], previews=True, title="Eileen Collins")
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


def taken(browser: Browser, address: str, device: dict[str, Any], shown: str) -> Image.Image:
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
    telephone = telephone.resize((telephone.width * 4 // 5, telephone.height * 4 // 5))
    width = computer.width + telephone.width * 4 // 5 + 2 * MARGIN
    canvas = Image.new("RGB", (width, computer.height + 2 * MARGIN), BACKGROUND)
    lay(canvas, computer, (MARGIN, MARGIN), radius=16)
    corner = canvas.width - telephone.width - MARGIN, canvas.height - telephone.height - MARGIN // 2
    lay(canvas, telephone, corner, radius=40)
    return canvas.resize((WIDTH, round(WIDTH * canvas.height / canvas.width)), Image.Resampling.LANCZOS)


def lay(canvas: Image.Image, picture: Image.Image, corner: tuple[int, int], *, radius: int) -> None:
    """Lays a picture on the canvas, with round corners and a frame."""
    frame = Image.new("RGB", (picture.width + 2 * FRAME, picture.height + 2 * FRAME), "#2b2926")
    canvas.paste(frame, (corner[0] - FRAME, corner[1] - FRAME), rounded(frame.size, radius + FRAME))
    canvas.paste(picture, corner, rounded(picture.size, radius))


def rounded(size: tuple[int, int], radius: int) -> Image.Image:
    """A mask with round corners."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius, fill=255)
    return mask


if __name__ == "__main__":
    main()
