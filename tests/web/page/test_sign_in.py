"""Who is signed in: links that sign in, several tabs, and what stays in the browser."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from impasto.python_programs import module_command
from support.browser import PHOTO, PageServer, page_server
from support.server_process import PATIENCE

OpenPage = Callable[..., Any]

KEPT = """async () => {
    const found = [];
    for (const { name } of await indexedDB.databases()) {
        const database = await new Promise((resolve) => {
            const opening = indexedDB.open(name);
            opening.onsuccess = () => resolve(opening.result);
        });
        for (const store of database.objectStoreNames) {
            const asked = database.transaction(store).objectStore(store).getAllKeys();
            const keys = await new Promise((resolve) => (asked.onsuccess = () => resolve(asked.result)));
            found.push(...keys.map((key) => `${name}/${store}/${key}`));
        }
        database.close();
    }
    return [...found, ...Object.keys(localStorage).filter((key) => key.startsWith("impasto.choices"))];
}"""
"""The names of what the page keeps for whoever is signed in."""


class Guarded:
    """A server with tokens.

    Attributes:
        url: the page's address.
        tokens: tokens by tenant.
    """

    def __init__(self, server: PageServer, tokens: dict[str, str]) -> None:
        self.url = server.url
        self.tokens = tokens

    def link(self, tenant: str) -> str:
        """Makes a sign-in link."""
        headers = {"authorization": f"Bearer {self.tokens[tenant]}"}
        request = urllib.request.Request(f"{self.url}session/code", data=b"", headers=headers)
        with urllib.request.urlopen(request) as answer:
            return f"{self.url}#code={json.load(answer)['code']}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("guarded")
    file = str(folder / "tokens.json")
    tokens = {}
    for tenant in ("ada", "bob"):
        adding = [*module_command("impasto_server"), "token", "add", tenant, "--tokens-file", file]
        tokens[tenant] = subprocess.run(adding, capture_output=True, text=True, check=True).stdout.strip()
    with page_server(folder, "--tokens-file", file, "--mock-evaluation-time", "0.03s") as started:
        yield Guarded(started, tokens)


def sign_in(page: Any, guarded: Guarded, tenant: str) -> None:
    page.get_by_label("Token").fill(guarded.tokens[tenant])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector(".tile")


def sign_out(page: Any) -> None:
    page.get_by_role("button", name="Settings of the page").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()


def signed_in(page: Any) -> str:
    return str(
        page.evaluate(
            """fetch("impasto.v1.StyleTransfer/GetServerInfo", {
                method: "POST", headers: { "Content-Type": "application/json" }, body: "{}",
            }).then((response) => response.json()).then((info) => info.tenant ?? info.code)"""
        )
    )


def choose_photo(page: Any, path: Path = PHOTO) -> None:
    page.locator(".photo input[type=file]").first.set_input_files(path)
    page.wait_for_selector("img.photo-picture")
    # It is written a moment after the last change. (Not wait_for_function: the page's policy forbids eval.)
    deadline = time.monotonic() + PATIENCE
    while not any("drafts" in kept for kept in page.evaluate(KEPT)):
        assert time.monotonic() < deadline, "no draft was kept"
        page.wait_for_timeout(50)


def uploads(page: Any) -> list[str]:
    """From now on lists the images that a page sends."""
    sent: list[str] = []

    def heard(request: Any) -> None:
        if "UploadImagePiece" in request.url:
            sent.append(request.post_data)

    page.on("request", heard)
    return sent


def from_elsewhere(page: Any, link: str) -> None:
    """Goes to a link from a page of somebody else."""
    body = f"<a href='{link}'>look</a>"
    page.route("http://elsewhere.example/", lambda route: route.fulfill(content_type="text/html", body=body))
    page.goto("http://elsewhere.example/")
    page.get_by_text("look").click()


def test_a_link_signs_in_whoever_is_not_and_says_as_whom(guarded: Guarded, open_page: OpenPage) -> None:
    link = guarded.link("ada")
    page = open_page(link)
    page.wait_for_selector(".tile")
    page.get_by_role("status").get_by_text("Signed in as ada.").wait_for()
    assert "code" not in page.url
    again = open_page(link)
    again.get_by_role("alert").get_by_text("This sign-in link was used already").wait_for()


def test_a_link_signs_in_where_the_page_is_open_already(guarded: Guarded, open_page: OpenPage) -> None:
    page = open_page(guarded.url)
    page.get_by_role("heading", name="Sign in").wait_for()
    page.evaluate("location.hash = '#code=never-made'")
    page.get_by_role("alert").get_by_text("This sign-in link was used already").wait_for()
    page.evaluate("(link) => (location.href = link)", guarded.link("bob"))
    page.wait_for_selector(".tile")
    assert signed_in(page) == "bob"
    assert "code" not in page.url


def test_a_link_of_somebody_else_asks_first(guarded: Guarded, open_page: OpenPage) -> None:
    page = open_page(guarded.url, bypass_csp=False)
    sign_in(page, guarded, "ada")
    choose_photo(page)
    link = guarded.link("bob")
    from_elsewhere(page, link)
    page.get_by_role("heading", name="Sign in as somebody else?").wait_for()
    page.get_by_text("You are signed in as ada.").wait_for()
    # The safe answer is the one that a careless Enter gives.
    page.keyboard.press("Enter")
    page.locator("dialog").wait_for(state="detached")
    assert signed_in(page) == "ada"
    page.wait_for_selector("img.photo-picture")
    # The code was not used: it still signs in, if one wants that.
    sent = uploads(page)
    page.evaluate("(link) => (location.href = link)", link)
    page.get_by_role("button", name="Sign in with the link").click()
    page.wait_for_selector(".invitation")
    assert signed_in(page) == "bob"
    assert sent == []
    assert not any("ada" in kept for kept in page.evaluate(KEPT))


def test_a_used_link_leaves_people_signed_in(guarded: Guarded, open_page: OpenPage) -> None:
    page = open_page(guarded.url + "#/jobs")
    sign_in_first = page.get_by_label("Token")
    sign_in_first.fill(guarded.tokens["ada"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Paintings").wait_for()
    page.evaluate("location.hash = '#code=never-made'")
    page.get_by_role("button", name="Sign in with the link").click()
    page.get_by_role("status").get_by_text("This sign-in link was used already").wait_for()
    assert signed_in(page) == "ada"
    assert page.url.endswith("#/jobs")
    page.get_by_role("heading", name="Paintings").wait_for()
    page.get_by_role("button", name="Close").click()
    page.get_by_text("This sign-in link was used already").wait_for(state="hidden")


def test_signing_out_leaves_nothing_for_the_next_person(guarded: Guarded, open_page: OpenPage) -> None:
    page = open_page(guarded.url)
    sign_in(page, guarded, "ada")
    choose_photo(page)
    page.get_by_role("button", name="Paint", exact=True).click()
    page.wait_for_selector(".stage[data-result]")
    assert any("films" in kept for kept in page.evaluate(KEPT))
    sign_out(page)
    assert page.evaluate(KEPT) == []
    sent = uploads(page)
    sign_in(page, guarded, "bob")
    page.goto(guarded.url + "#/")
    page.wait_for_selector(".invitation")
    assert sent == []


def test_other_tabs_hear_of_it(guarded: Guarded, open_page: OpenPage) -> None:
    first = open_page(guarded.url)
    sign_in(first, guarded, "ada")
    second = first.context.new_page()
    second.goto(guarded.url)
    second.wait_for_selector(".tile")
    sign_out(first)
    second.get_by_role("heading", name="Sign in").wait_for()
    sign_in(second, guarded, "bob")
    first.wait_for_selector(".tile")
    assert signed_in(first) == "bob"


def test_nothing_is_sent_for_somebody_else(guarded: Guarded, open_page: OpenPage) -> None:
    """Even where a tab did not hear that somebody else is signed in."""
    page = open_page(guarded.url)
    sign_in(page, guarded, "ada")
    page.evaluate(
        """(token) => fetch("session", {
            method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
        })""",
        guarded.tokens["bob"],
    )
    sent = uploads(page)
    page.locator(".photo input[type=file]").first.set_input_files(PHOTO)
    page.wait_for_selector(".invitation")
    page.get_by_role("button", name="Settings of the page").click()
    page.get_by_text("Signed in as bob.").wait_for()
    assert sent == []
