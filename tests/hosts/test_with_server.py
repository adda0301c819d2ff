"""The controller with a real mock server over a real socket: what the contract accepts, and what arrives."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from impasto import png
from impasto.hosts import Area, Choices, Controller, Entry, Order, Painted, Server, StyleShare, Timing, plan
from impasto.hosts.run import Run
from impasto.recipe import RawPixels
from support.fake_host import FakeHost, FakeStorage
from support.server_process import ServerProcess, running_server

WIDTH, HEIGHT = 48, 32
MOCK = ("--mock", "--port", "0", "--mock-evaluation-time", "2ms")
TIMING = Timing(first_retry=0, longest_retry=0, steer=0)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server(*MOCK) as running:
        running.ready()
        yield running


@pytest.fixture
def controller(server: ServerProcess, host: FakeHost, storage: FakeStorage) -> Iterator[Controller]:
    controller = Controller(host, storage, timing=TIMING)
    controller.connect(Server(server.address))
    host.until(lambda: controller.connection.state == "connected")
    yield controller
    controller.close()


def painting(red: int) -> bytes:
    """A picture file of one colour."""
    return png.write(32, 24, 3, 8, bytes((red, 90, 160)) * (32 * 24))


def style(controller: Controller, red: int, share: int = 100) -> StyleShare:
    return StyleShare(controller.library.add(painting(red), f"Red {red}"), share)


def order(controller: Controller, **changes: Any) -> Order:
    given: dict[str, Any] = {
        "styles": (style(controller, 200),),
        "size": plan(WIDTH, HEIGHT, 64),
        "choices": Choices(effort="draft"),
        "place": {"layer": "sky"},
        "content": lambda: RawPixels(WIDTH, HEIGHT, bytes((10, 200, 30, 255)) * (WIDTH * HEIGHT)),
        "subject": "flower.kra",
        "document": "/home/anna/flower.kra",
    }
    return Order(**{**given, **changes})


def finished(host: FakeHost, run: Run) -> Painted:
    """Waits until a painting has been placed."""
    host.until(lambda: run.is_final)
    assert run.state == "succeeded", run.sentence
    return next(painted for painted in host.placed if painted.id == run.id)


def test_several_paintings_at_once(controller: Controller, host: FakeHost) -> None:
    runs = [
        controller.stylize(order(controller, choices=Choices(seed=seed, effort="draft"))) for seed in range(3)
    ]
    assert controller.runs == tuple(runs)
    assert controller.run is runs[-1]
    placed = [finished(host, run) for run in runs]
    assert [painted.job.recipe.seed for painted in placed] == [0, 1, 2]
    assert controller.runs == ()
    # They were sent in their order.
    begun = [painted.job.create_time for painted in placed]
    assert begun == sorted(begun)


def test_two_styles_with_shares_and_a_stroke_size(controller: Controller, host: FakeHost) -> None:
    styles = (style(controller, 10, 300), style(controller, 250, 100))
    run = controller.stylize(
        order(controller, styles=styles, choices=Choices(effort="draft", stroke_size=150))
    )
    painted = finished(host, run)
    assert painted.styles == styles
    assert painted.job.recipe.style_scale == 1.5


def test_areas_with_styles_of_their_own(controller: Controller, host: FakeHost) -> None:
    left = bytes(255 if x < 16 else 128 if x == 16 else 0 for _ in range(HEIGHT) for x in range(WIDTH))
    top = bytes(255 if y < 8 else 0 for y in range(HEIGHT) for _ in range(WIDTH))
    run = controller.stylize(
        order(
            controller,
            styles=(style(controller, 10), style(controller, 120), style(controller, 250)),
            areas=(Area(lambda: left, 1, "sky"), Area(lambda: top, 2, "tree")),
        )
    )
    assert finished(host, run).job.state == "succeeded"


def test_a_texture(controller: Controller, host: FakeHost) -> None:
    choices = Choices(effort="draft", strength=80, color="matched", stroke_size=50)
    run = controller.stylize(order(controller, content=None, choices=choices))
    host.until(lambda: run.name)
    run.steer(dataclasses.replace(choices, strength=20, evaluations=40))
    host.pass_time(1)
    painted = finished(host, run)
    assert (painted.picture.width, painted.picture.height) == (WIDTH, HEIGHT)
    assert run.notice == ""


def test_16_bits(controller: Controller, host: FakeHost) -> None:
    deep = RawPixels(WIDTH, HEIGHT, bytes((1, 40) * 3 + (255, 255)) * (WIDTH * HEIGHT), bits_per_channel=16)
    painted = finished(host, controller.stylize(order(controller, content=lambda: deep, bits=16)))
    assert (painted.picture.format, painted.bits) == ("rgba16", 16)
    assert len(painted.picture.data) == 8 * WIDTH * HEIGHT
    shallow = finished(host, controller.stylize(order(controller)))
    assert (shallow.picture.format, shallow.bits) == ("rgba8", 8)


def test_effort_and_evaluations_replace_each_other_while_it_paints(
    controller: Controller, host: FakeHost
) -> None:
    client = controller.connection.client
    assert client is not None
    run = controller.stylize(order(controller, choices=Choices(evaluations=90_000)))
    host.until(lambda: run.progress)

    def steered(choices: Choices) -> int:
        run.steer(choices)
        before = client.job(run.name).recipe
        host.pass_time(1)
        host.until(lambda: client.job(run.name).recipe != before)
        assert run.notice == ""
        return client.job(run.name).recipe.evaluations or 0

    assert steered(Choices(evaluations=80_000)) == 80_000
    # The effort's own number is smaller than the evaluations that were made, or it is taken.
    assert steered(Choices(effort="fine", strength=70)) < 80_000
    host.until(lambda: run.is_final)
    assert run.state == "succeeded"


def test_evaluations_in_place_of_an_effort(controller: Controller, host: FakeHost) -> None:
    painted = finished(host, controller.stylize(order(controller, choices=Choices(evaluations=3))))
    assert painted.job.recipe.evaluations == 3


def test_the_history_has_the_picture_again_until_the_server_deletes_it(
    controller: Controller, host: FakeHost
) -> None:
    run = controller.stylize(order(controller))
    painted = finished(host, run)
    entry = controller.history.entries[0]
    assert (entry.id, entry.job, entry.document) == (run.id, run.name, "/home/anna/flower.kra")
    again = fetched(controller, host, entry)
    assert isinstance(again, Painted)
    assert again.picture == painted.picture
    assert (again.styles, again.choices, again.place) == (painted.styles, painted.choices, painted.place)
    client = controller.connection.client
    assert client is not None
    client.delete(run.name)
    assert "no longer has this picture" in str(fetched(controller, host, entry))


def test_paintings_go_on_without_the_host_and_are_placed_after_a_restart(
    controller: Controller, host: FakeHost, storage: FakeStorage
) -> None:
    mask = b"\xff" * (WIDTH * HEIGHT // 2) + bytes(WIDTH * HEIGHT // 2)
    runs = [
        controller.stylize(order(controller, areas=(Area(lambda: mask, 0, "sky"),), bits=16)),
        controller.stylize(order(controller, content=None)),
    ]
    host.until(lambda: all(run.name for run in runs))
    server = controller.connection.server
    controller.close()
    again = Controller(host, storage, timing=TIMING)
    again.start()
    assert again.connection.server == server
    host.until(lambda: len(again.found) == 2)
    taken = [again.take_up(found) for found in again.found]
    placed = [finished(host, run) for run in taken]
    assert [(painted.id, painted.bits) for painted in placed] == [(runs[0].id, 16), (runs[1].id, 8)]
    assert placed[0].picture.format == "rgba16"
    again.close()


def test_cancel_all(controller: Controller, host: FakeHost) -> None:
    runs = [controller.stylize(order(controller, choices=Choices(evaluations=90_000))) for _ in range(3)]
    host.until(lambda: runs[0].progress)
    host.until(lambda: all(run.name for run in runs))
    controller.cancel_all()
    assert {run.state for run in runs} == {"cancelled"}
    client = controller.connection.client
    assert client is not None
    host.until(lambda: {client.job(run.name).state for run in runs} == {"cancelled"})


def fetched(controller: Controller, host: FakeHost, entry: Entry) -> Painted | str:
    answers: list[Painted | str] = []
    controller.fetch(entry, answers.append, answers.append)
    host.until(lambda: answers)
    return answers[0]
