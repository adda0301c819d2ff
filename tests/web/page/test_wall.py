"""The wall of paintings, with many of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from support.browser import PageServer, page_server, serious_faults
from support.samples import coded, photo

OpenPage = Callable[..., Any]

MANY = 200
IMAGE = pb.Image(encoded=coded(photo(64, 48)))
SHORT, LONG = pb.Recipe(evaluations=3, longest_side=64), pb.Recipe(evaluations=100_000, longest_side=64)


@pytest.fixture(scope="module")
def stub_and_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, PageServer]]:
    folder = tmp_path_factory.mktemp("wall")
    with (
        page_server(folder, "--mock-evaluation-time", "0.001s", "--max-jobs", "1000") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield style_transfer_pb2_grpc.StyleTransferStub(channel), server


@pytest.fixture(scope="module")
def stub(stub_and_server: tuple[Any, PageServer]) -> Any:
    return stub_and_server[0]


@pytest.fixture(scope="module")
def server(stub_and_server: tuple[Any, PageServer]) -> PageServer:
    return stub_and_server[1]


def create(stub: Any, title: str, recipe: pb.Recipe = SHORT) -> str:
    spec = pb.JobSpec(content=IMAGE, styles=[pb.Style(image=IMAGE)], recipe=recipe)
    return str(stub.CreateJob(pb.CreateJobRequest(spec=spec, title=title)).name)


@pytest.fixture(scope="module")
def many(stub: Any) -> list[str]:
    """Names of many jobs that are finished, the oldest first."""
    names = [create(stub, f"Picture {number}") for number in range(MANY)]
    for name in names:
        for _event in stub.WatchJob(pb.WatchJobRequest(name=name, omit_previews=True)):
            pass
    return names


def card(page: Any, name: str) -> Any:
    return page.locator(f'[data-job="{name}"]')


def choose(page: Any, name: str, item: str) -> None:
    """Chooses an item of a job's menu."""
    card(page, name).get_by_role("button").click()
    page.get_by_role("menuitem", name=item).click()


def test_an_empty_wall_says_what_to_do(tmp_path: Path, open_page: OpenPage) -> None:
    with page_server(tmp_path) as empty:
        page = open_page(empty.url + "#/jobs")
        page.get_by_role("link", name="Paint the first picture").wait_for()
        assert not serious_faults(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_nothing_is_cut_off_and_axe_is_content(
    server: PageServer, many: list[str], open_page: OpenPage, scheme: str, size: tuple[int, int]
) -> None:
    page = open_page(
        server.url + "#/jobs", viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
    )
    card(page, many[-1]).locator("img:visible").wait_for()
    assert page.evaluate("document.querySelector('main').scrollWidth <= innerWidth")
    assert not serious_faults(page)


def test_all_jobs_come_by_scrolling_newest_first(
    server: PageServer, many: list[str], open_page: OpenPage
) -> None:
    page = open_page(server.url + "#/jobs")
    card(page, many[-1]).wait_for()
    page.wait_for_function(
        """(count) => {
            window.scrollTo(0, document.body.scrollHeight);
            return document.querySelectorAll("[data-job]").length >= count;
        }""",
        arg=MANY,
    )
    shown = page.evaluate("[...document.querySelectorAll('[data-job]')].map((card) => card.dataset.job)")
    assert [name for name in shown if name in set(many)] == many[::-1]
    card(page, many[0]).locator("img:visible").wait_for()


def test_search_and_filter(stub: Any, server: PageServer, many: list[str], open_page: OpenPage) -> None:
    running = create(stub, "Evening sky", LONG)
    page = open_page(server.url + "#/jobs")
    card(page, running).wait_for()
    # An old job that the first pages of the list do not have.
    page.get_by_role("searchbox").fill("picture 17")
    card(page, many[17]).wait_for()
    card(page, running).wait_for(state="detached")
    page.get_by_role("searchbox").fill("")
    page.get_by_text("In progress").click()
    card(page, many[-1]).wait_for(state="detached")
    card(page, running).wait_for()
    page.get_by_text("Failed or cancelled").click()
    card(page, running).wait_for(state="detached")
    page.get_by_role("button", name="Show all paintings").click()
    card(page, running).wait_for()
    stub.DeleteJob(pb.DeleteJobRequest(name=running))
    card(page, running).wait_for(state="detached")


def test_a_running_job_lives_on_the_wall(stub: Any, server: PageServer, open_page: OpenPage) -> None:
    page = open_page(server.url + "#/jobs")
    page.get_by_role("heading", name="Paintings").wait_for()
    name = create(stub, "Alive", LONG)
    card(page, name).locator("img[src^='blob:']").wait_for()
    first = card(page, name).locator("img").get_attribute("src")
    page.wait_for_function(
        "([name, first]) => document.querySelector(`[data-job='${name}'] img`).src !== first",
        arg=[name, first],
    )
    choose(page, name, "Pause")
    card(page, name).get_by_text("Paused").wait_for()
    choose(page, name, "Resume")
    choose(page, name, "Cancel")
    page.get_by_role("button", name="Cancel the painting").click()
    card(page, name).get_by_text("Cancelled").wait_for()
    choose(page, name, "Delete")
    page.get_by_role("button", name="Delete", exact=True).click()
    card(page, name).wait_for(state="detached")


def test_recipe_and_again(stub: Any, server: PageServer, open_page: OpenPage) -> None:
    name = create(stub, "Recipe", pb.Recipe(evaluations=3, longest_side=64, seed=7))
    page = open_page(server.url + "#/jobs")
    card(page, name).wait_for()
    choose(page, name, "Recipe")
    text = page.locator("dialog pre")
    page.wait_for_function("document.querySelector('dialog pre')?.textContent.includes('seed: 7')")
    assert "size: 64 × 48" in str(text.text_content())
    assert not serious_faults(page)
    page.get_by_role("button", name="Close").click()
    choose(page, name, "Paint again")
    page.wait_for_url(f"**/#/?again={name.replace('/', '%2F')}")


def test_keys_go_from_painting_to_painting(server: PageServer, many: list[str], open_page: OpenPage) -> None:
    page = open_page(server.url + "#/jobs?title=picture")
    card(page, many[-1]).get_by_role("link").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/#/{many[-2]}")


def test_the_wall_goes_on_after_the_server_was_restarted(tmp_path: Path, open_page: OpenPage) -> None:
    with page_server(tmp_path, "--mock-evaluation-time", "0.02s") as server:
        page = open_page(server.url + "#/jobs")
        page.get_by_role("link", name="Paint the first picture").wait_for()
        server.end()
        page.get_by_text("Connection lost").wait_for()
        server.start()
        with grpc.insecure_channel(server.address) as channel:
            name = create(style_transfer_pb2_grpc.StyleTransferStub(channel), "After", LONG)
        card(page, name).locator("img[src^='blob:']").wait_for()
        page.get_by_text("Connection lost").wait_for(state="hidden")
