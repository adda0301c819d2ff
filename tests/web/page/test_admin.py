"""The administrator's view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from impasto.v1 import style_transfer_pb2 as pb
from impasto.v1 import style_transfer_pb2_grpc
from impasto_server.gateway.tokens import Tokens
from support.browser import PageServer, page_server, serious_faults
from support.samples import coded, photo
from support.server_process import until

OpenPage = Callable[..., Any]


class House:
    """A server with an administrator, "boss", and a tenant, "guest", with their tokens."""

    def __init__(self, server: PageServer, stub: Any, tokens: dict[str, str]) -> None:
        self.server = server
        self.stub = stub
        self.tokens = tokens
        self.guest = [("authorization", f"Bearer {tokens['guest']}")]

    def create(self, title: str) -> str:
        image = pb.Image(encoded=coded(photo()))
        spec = pb.JobSpec(
            content=image, styles=[pb.Style(image=image)], recipe=pb.Recipe(evaluations=100_000)
        )
        return str(self.stub.CreateJob(pb.CreateJobRequest(spec=spec, title=title), metadata=self.guest).name)

    def until(self, name: str, is_so: Callable[[pb.Job], bool]) -> None:
        until(lambda: self.stub.GetJob(pb.GetJobRequest(name=name), metadata=self.guest), is_so)

    def enter(self, page: Any, tenant: str) -> None:
        page.locator("input[type=password]").fill(self.tokens[tenant])
        page.locator("form button").last.click()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("admin")
    (folder / "data").mkdir()
    tokens = Tokens(folder / "data" / "tokens.json")
    secrets = {"boss": tokens.add("boss", administrator=True), "guest": tokens.add("guest")}
    with page_server(folder) as server, grpc.insecure_channel(server.address) as channel:
        yield House(server, style_transfer_pb2_grpc.StyleTransferStub(channel), secrets)


def test_the_state_of_the_server(house: House, open_page: OpenPage) -> None:
    house.create("Guest's picture")
    for scheme, size in (("light", (1440, 900)), ("dark", (390, 844))):
        page = open_page(
            house.server.url + "#/admin",
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
        )
        house.enter(page, "boss")
        page.get_by_role("heading", name="mock").wait_for()
        page.get_by_role("row", name="guest").first.wait_for()
        page.get_by_role("rowheader", name="Guest's picture").wait_for()
        assert page.evaluate("document.querySelector('main').scrollWidth <= innerWidth")
        assert not serious_faults(page)


def test_holding_and_cancelling_somebody_elses_job(house: House, open_page: OpenPage) -> None:
    name = house.create("Held picture")
    page = open_page(house.server.url + "#/admin")
    house.enter(page, "boss")
    page.get_by_role("button", name="Hold: Held picture").click()
    house.until(name, lambda job: job.held)
    page.get_by_role("button", name="Release: Held picture").click()
    house.until(name, lambda job: not job.held)
    page.get_by_role("button", name="Pause: Held picture").click()
    house.until(name, lambda job: job.state == pb.JOB_STATE_PAUSED)
    page.get_by_role("button", name="Resume: Held picture").click()
    house.until(name, lambda job: job.state != pb.JOB_STATE_PAUSED)
    page.get_by_role("button", name="Cancel: Held picture").click()
    page.get_by_role("button", name="Go on painting").click()
    page.get_by_role("button", name="Cancel: Held picture").click()
    page.get_by_role("button", name="Cancel the painting").click()
    house.until(name, lambda job: job.state == pb.JOB_STATE_CANCELLED)
    page.get_by_role("rowheader", name="Held picture").wait_for(state="detached")


def test_nobody_else_sees_it(house: House, open_page: OpenPage) -> None:
    page = open_page(house.server.url + "#/admin")
    house.enter(page, "guest")
    page.get_by_text("Your token has no right to do this.").first.wait_for()
    assert not page.get_by_role("link", name="Administration").count()
