"""Painting in a browser, from the photograph to the download."""

from __future__ import annotations

import base64
import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from impasto.python_programs import module_command
from support.browser import OWN_STYLE, PHOTO, PageServer, page_server, serious_faults

OpenPage = Callable[..., Any]

GIVE = """([selector, data, name, kind, how]) => {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: kind }));
    const given = how === "drop" ? { dataTransfer: transfer } : { clipboardData: transfer };
    const options = { bubbles: true, cancelable: true, ...given };
    const event = how === "drop" ? new DragEvent("drop", options) : new ClipboardEvent("paste", options);
    document.querySelector(selector).dispatchEvent(event);
}"""
"""Drops or pastes a file, as a browser does it for people."""


def give(page: Any, path: Path, how: str, selector: str = "main") -> None:
    data = base64.b64encode(path.read_bytes()).decode()
    page.evaluate(GIVE, [selector, data, path.name, "image/jpeg", how])


def choose_photo(page: Any, path: Path = PHOTO) -> None:
    page.locator(".photo input[type=file]").first.set_input_files(path)
    page.wait_for_selector("img.photo-picture")


def paint(page: Any) -> None:
    page.get_by_role("button", name="Paint", exact=True).click()
    page.wait_for_selector(".stage[data-preview]")


def finished(page: Any) -> None:
    page.wait_for_selector(".stage[data-result]")


def job_name(page: Any) -> str:
    return page.url.rpartition("#/")[2]


def get_job(page: Any, name: str) -> dict[str, Any]:
    return page.evaluate(
        """(name) => fetch("impasto.v1.StyleTransfer/GetJob", {
            method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name }),
        }).then((response) => response.json())""",
        name,
    )


@pytest.fixture
def slow(tmp_path: Path) -> Any:
    """A server whose paintings take a while."""
    with page_server(tmp_path, "--mock-evaluation-time", "0.25s") as started:
        yield started


def test_from_drop_to_download(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    page.wait_for_selector(".invitation")
    give(page, PHOTO, "drop")
    page.wait_for_selector("img.photo-picture")
    paint(page)
    finished(page)
    pictures = {"PNG": "PNG", "JPEG": "JPEG", "WebP": "WEBP"}
    for label, kind in pictures.items():
        with page.expect_download() as download:
            page.get_by_role("link", name=label, exact=True).click()
        assert download.value.suggested_filename.startswith("astronaut")
        with PIL.Image.open(io.BytesIO(Path(download.value.path()).read_bytes())) as picture:
            assert picture.format == kind
            # As large as the photograph.
            assert picture.size == (512, 512)


def test_a_pasted_photo_and_a_style_of_ones_own_mixed_with_the_servers(
    server: PageServer, open_page: OpenPage
) -> None:
    page = open_page(server.url)
    page.wait_for_selector(".tile")
    give(page, PHOTO, "paste")
    page.wait_for_selector("img.photo-picture")
    page.get_by_label("Mix several styles").check()
    give(page, OWN_STYLE, "drop", ".tiles")
    page.get_by_label("Share of starry_night").fill("100")
    assert page.locator(".shares .value").all_inner_texts() == ["67 %", "33 %"]
    paint(page)
    styles = get_job(page, job_name(page))["spec"]["styles"]
    assert [style["weight"] for style in styles] == [2, 1]
    assert "style" in styles[1]["image"] or "sha256" in styles[1]["image"]
    finished(page)


def test_steering_pausing_and_cancelling(slow: PageServer, open_page: OpenPage) -> None:
    page = open_page(slow.url)
    choose_photo(page)
    paint(page)
    name = job_name(page)
    before = get_job(page, name)["recipe"]["contentWeight"]
    assert page.get_by_role("radio", name="Standard").is_checked()
    with page.expect_response("**/UpdateJob") as answer:
        page.get_by_label("Strength").fill("100")
    assert answer.value.ok
    assert get_job(page, name)["recipe"]["contentWeight"] == pytest.approx(before / 8, rel=1e-3)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    page.get_by_text("It stays paused").wait_for()
    assert get_job(page, name)["state"] == "JOB_STATE_PAUSED"
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the painting").click()
    page.get_by_text("Cancelled", exact=True).wait_for()


def test_the_time_left_counts_the_other_paintings(slow: PageServer, open_page: OpenPage) -> None:
    page = open_page(slow.url)
    choose_photo(page)
    page.get_by_text("four seeds about").wait_for()
    page.get_by_role("button", name="Four seeds").click()
    page.wait_for_selector(".four")
    alone, told = page.evaluate(
        """async () => {
            const jobs = await import(new URL("js/jobs.js", document.baseURI));
            for (;;) {
                const four = jobs.list().filter(jobs.isRunning);
                if (four.length === 4 && four.every((job) => job.progress?.timeLeft))
                    return [parseFloat(four[0].progress.timeLeft), jobs.secondsLeft(four[0])];
                await new Promise((resolve) => setTimeout(resolve, 50));
            }
        }"""
    )
    assert told == pytest.approx(4 * alone)


def test_a_server_that_is_started_again_while_it_paints(slow: PageServer, open_page: OpenPage) -> None:
    page = open_page(slow.url)
    choose_photo(page)
    paint(page)
    slow.end()
    page.get_by_text("Connection lost, trying again…").wait_for()
    slow.start()
    page.get_by_text("Connection lost, trying again…").wait_for(state="hidden")
    finished(page)


def test_a_reload_finds_the_form_and_the_painting(slow: PageServer, open_page: OpenPage) -> None:
    page = open_page(slow.url)
    choose_photo(page)
    page.get_by_label("Strength").fill("70")
    page.get_by_text("Fine", exact=True).click()
    # The draft is written a moment after the last change.
    page.wait_for_timeout(600)
    page.reload()
    page.wait_for_selector("img.photo-picture")
    assert page.get_by_label("Strength").input_value() == "70"
    assert page.get_by_role("radio", name="Fine").is_checked()
    paint(page)
    page.reload()
    page.wait_for_selector(".stage[data-preview]")
    assert page.get_by_label("Strength").input_value() == "70"


def test_four_seeds(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    choose_photo(page)
    page.get_by_role("button", name="Four seeds").click()
    page.wait_for_selector(".four")
    for index in range(4):
        page.locator(".four-cell .stage").nth(index).and_(page.locator("[data-result]")).wait_for()
    seeds = page.locator(".four-cell > span").all_inner_texts()
    assert len(set(seeds)) == 4


def test_an_error_stands_at_its_field(server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url)
    page.get_by_role("button", name="Paint", exact=True).click()
    page.get_by_role("alert").get_by_text("Choose a photo first.").wait_for()
    choose_photo(page)
    page.route(
        "**/CreateJob",
        lambda route: route.fulfill(
            status=400,
            content_type="application/json",
            # A BadRequest whose only violation is {field: "spec.recipe.seed", description: "is odd"}.
            json={
                "code": "invalid_argument",
                "message": "no",
                "details": [
                    {
                        "type": "google.rpc.BadRequest",
                        "value": base64.b64encode(b"\x0a\x1a\x0a\x10spec.recipe.seed\x12\x06is odd").decode(),
                    }
                ],
            },
        ),
    )
    page.get_by_role("button", name="Paint", exact=True).click()
    page.locator("#error-seed").get_by_text("is odd").wait_for()


def test_a_file_that_is_no_picture_is_refused_in_words(
    server: PageServer, open_page: OpenPage, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture at all")
    page = open_page(server.url)
    page.wait_for_selector(".tile")
    page.locator(".photo input[type=file]").first.set_input_files(broken)
    page.get_by_text("“broken.jpg” cannot be used.").wait_for()


def test_signing_in(tmp_path: Path, open_page: OpenPage) -> None:
    tokens = str(tmp_path / "tokens.json")
    adding = [*module_command("impasto_server"), "token", "add", "ada", "--tokens-file", tokens]
    token = subprocess.run(adding, capture_output=True, text=True, check=True).stdout.strip()
    with page_server(tmp_path, "--tokens-file", tokens) as started:
        page = open_page(started.url)
        page.get_by_label("Token").fill("a wrong one")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("The server does not know this token.").wait_for()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector(".invitation")
        assert token not in page.evaluate("document.cookie + JSON.stringify(localStorage) + location.href")
        page.get_by_role("button", name="Settings of the page").click()
        page.get_by_text("Signed in as ada.").wait_for()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Sign in").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1440, 900), (360, 740)], ids=["wide", "narrow"])
def test_everybody_can_use_it(
    server: PageServer, open_page: OpenPage, scheme: str, size: tuple[int, int]
) -> None:
    page = open_page(server.url, color_scheme=scheme, viewport={"width": size[0], "height": size[1]})

    def check(what: str) -> None:
        assert serious_faults(page) == [], what
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), what

    page.wait_for_selector(".tile")
    check("an empty form")
    choose_photo(page)
    check("a form")
    paint(page)
    check("a painting")
    finished(page)
    page.get_by_role("button", name="Compare").click()
    check("a result")
    split = page.get_by_label("Compare with the photograph")
    split.press("Home")
    assert split.input_value() == "0"


def test_the_first_load_is_small_and_comes_from_here_only(server: PageServer, open_page: OpenPage) -> None:
    page = open_page("about:blank")
    addresses = []
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(server.url)
    page.wait_for_selector(".tile")
    sizes = page.evaluate("performance.getEntries().map((entry) => entry.transferSize ?? 0)")
    assert sum(sizes) < 200_000
    assert all(address.startswith((server.url, "data:", "blob:")) for address in addresses)


def test_a_link_of_somebody_else_asks_and_shows_no_photo_of_the_one_before(
    tmp_path: Path, open_page: OpenPage
) -> None:
    file = str(tmp_path / "tokens.json")
    adding = [*module_command("impasto_server"), "token", "add", "--tokens-file", file]
    tokens = {
        name: subprocess.run([*adding, name], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("ada", "bob")
    }
    with page_server(tmp_path, "--tokens-file", file) as started:
        page = open_page(started.url)
        page.get_by_label("Token").fill(tokens["ada"])
        page.get_by_role("button", name="Sign in").click()
        choose_photo(page)
        # The draft is written a moment after the last change.
        page.wait_for_timeout(600)
        asked = page.request.post(
            started.url + "session/code", headers={"Authorization": f"Bearer {tokens['bob']}"}
        )
        link = f"{started.url}#code={asked.json()['code']}"
        page.evaluate("(link) => { location.href = link; }", link)
        page.get_by_role("button", name="Stay signed in").click()
        # While it asks, the page heeds no other link.
        page.locator("dialog").wait_for(state="detached")
        page.wait_for_selector("img.photo-picture")
        page.evaluate("(link) => { location.href = link; }", link)
        page.get_by_role("button", name="Sign in with the link").click()
        page.wait_for_selector(".invitation")
        page.get_by_role("button", name="Settings of the page").click()
        page.get_by_text("Signed in as bob.").wait_for()
