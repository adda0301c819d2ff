"""Several paintings at once, orders of every kind, and the history that they leave, with a fake service."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import PIL.Image
import pytest

from impasto.errors import JobFailed, Unreachable
from impasto.hosts import Area, Choices, Controller, Order, Server, Size, StyleItem, StyleShare, Timing, plan
from impasto.hosts.connection import THIS_COMPUTER
from impasto.hosts.controller import LARGEST_SEED, MOST_AT_ONCE
from impasto.hosts.memory import named
from impasto.hosts.run import Run
from impasto.hosts.told import MOST_SHORT, ToldError
from impasto.job import NamedStyle
from impasto.process_notes import told_apart
from impasto.recipe import RawPixels, Style, StyleName
from support.fake_host import FakeHost, FakeService, FakeStorage, jpeg

SERVER = Server("studio:50051")
STARRY = StyleItem("styles/starry-night", "The Starry Night")
SCREAM = StyleItem("styles/the-scream", "The Scream")
WIDTH, HEIGHT = 20, 16


def make(host: FakeHost, service: FakeService, storage: FakeStorage) -> Controller:
    timing = Timing(first_retry=1, steer=0)
    return Controller(host, storage, open_client=service.open, timing=timing)  # type: ignore[arg-type]


@pytest.fixture
def controller(host: FakeHost, service: FakeService, storage: FakeStorage) -> Iterator[Controller]:
    controller = make(host, service, storage)
    controller.connect(SERVER)
    host.until(lambda: controller.connection.state == "connected" and controller.library.offered)
    yield controller
    for gate in service.gates.values():
        gate.set()
    controller.close()


def order(**changes: Any) -> Order:
    given: dict[str, Any] = {
        "styles": (StyleShare(STARRY),),
        "size": plan(WIDTH, HEIGHT, 64),
        "choices": Choices(),
        "place": {"layer": "sky"},
        "content": lambda: RawPixels(WIDTH, HEIGHT, bytes(4 * WIDTH * HEIGHT)),
        "subject": "flower.kra",
        "document": "/home/anna/flower.kra",
        "source": "layer 1",
    }
    return Order(**{**given, **changes})


def queued(controller: Controller, host: FakeHost, number: int) -> list[Run]:
    """Starts some paintings and returns them once the server has them all."""
    runs = [controller.stylize(order(choices=Choices(seed=seed))) for seed in range(number)]
    host.until(lambda: all(run.name for run in runs))
    return runs


# Several at once.


def test_orders_are_sent_one_after_the_other_and_all_are_watched(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    runs = queued(controller, host, 3)
    assert [run.name for run in runs] == ["jobs/1", "jobs/2", "jobs/3"]
    assert [fake.request["seed"] for fake in service.jobs.values()] == [0, 1, 2]
    host.until(lambda: all(fake.watchers for fake in service.jobs.values()))
    service.become("succeeded", name="jobs/2")
    host.until(lambda: runs[1].is_final)
    assert controller.runs == (runs[0], runs[2])
    assert [painted.id for painted in host.placed] == [runs[1].id]


def test_the_newest_is_shown_and_then_the_oldest_in_progress(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    first, second, third = queued(controller, host, 3)
    told: list[str] = []
    controller.listen(told.append)
    assert controller.run is third
    controller.show(second)
    assert controller.run is second
    assert told == ["run", "preview"]
    service.become("succeeded", name=second.name)
    host.until(lambda: second.is_final)
    assert controller.run is first
    assert controller.ended == (second,)
    first.cancel()
    assert controller.run is third
    third.cancel()
    assert controller.run is third
    assert controller.ended == (third, first, second)
    assert not controller.is_painting


def test_a_failure_stays_in_sight(controller: Controller, host: FakeHost, service: FakeService) -> None:
    first, second = queued(controller, host, 2)
    service.become("failed", name=second.name, error=JobFailed("strange"))
    host.until(lambda: second.is_final)
    assert controller.run is second
    assert controller.runs == (first,)


def test_only_previews_of_the_shown_painting_are_told(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    first, second = queued(controller, host, 2)
    host.until(lambda: all(fake.watchers for fake in service.jobs.values()))
    told: list[str] = []
    controller.listen(told.append)
    service.preview(3, name=first.name)
    host.until(lambda: first.preview)
    assert "preview" not in told
    service.preview(4, name=second.name)
    host.until(lambda: second.preview)
    assert "preview" in told


def test_there_is_a_limit_to_what_waits(controller: Controller, host: FakeHost) -> None:
    queued(controller, host, MOST_AT_ONCE)
    with pytest.raises(ValueError, match="cancel one"):
        controller.stylize(order())


def test_cancel_all_cancels_what_is_sent_and_what_is_not(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    gate = service.gate("create_job")
    runs = [controller.stylize(order()) for _ in range(3)]
    host.until(lambda: "create_job" in service.calls)
    controller.cancel_all()
    assert controller.runs == ()
    assert {run.state for run in runs} == {"cancelled"}
    gate.set()
    host.until(lambda: service.jobs and service.only().job.state == "cancelled")
    assert service.calls.count("create_job") == 1


def test_a_refused_order_does_not_hold_up_the_next(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    service.fail("create_job", ValueError("The layer is empty."))
    first, second = controller.stylize(order()), controller.stylize(order())
    host.until(lambda: second.name)
    assert (first.state, first.sentence) == ("failed", "The layer is empty.")


def test_all_orders_are_sent_after_reconnecting(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    service.take_down()
    runs = [controller.stylize(order(choices=Choices(seed=seed))) for seed in range(3)]
    host.until(lambda: controller.connection.state == "reconnecting")
    service.bring_up()
    host.pass_time(1)
    host.until(lambda: all(run.name for run in runs))
    assert [run.name for run in runs] == ["jobs/1", "jobs/2", "jobs/3"]


def test_every_painting_is_found_after_a_restart(
    controller: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    queued(controller, host, 2)
    controller.close()
    for name in service.jobs:
        service.become("succeeded", name=name)
    again = make(host, service, storage)
    again.start()
    host.until(lambda: len(again.found) == 2)
    assert [found.sentence for found in again.found] == ["The Starry Night on flower.kra: finished."] * 2
    runs = [again.take_up(found) for found in again.found]
    host.until(lambda: all(run.is_final for run in runs))
    assert [painted.choices.seed for painted in host.placed] == [0, 1]
    assert len(again.history.entries) == 2
    again.close()


# Orders of every kind.


def test_styles_with_shares(controller: Controller, host: FakeHost, service: FakeService) -> None:
    styles = (StyleShare(STARRY, 300), StyleShare(SCREAM, 100))
    run = controller.stylize(order(styles=styles, choices=Choices(stroke_size=250, evaluations=77)))
    host.until(lambda: run.name)
    request = service.only().request
    assert request["styles"] == [Style(StyleName(STARRY.key), 300), Style(StyleName(SCREAM.key), 100)]
    assert (request["style_scale"], request["effort"], request["evaluations"]) == (2.5, None, 77)
    assert (run.styles, run.style, run.label) == (
        styles,
        STARRY,
        "The Starry Night + The Scream on flower.kra",
    )
    # How far it is depends on when one looks.
    assert run.line.endswith(" · The Starry Night + The Scream · seed 0")
    assert controller.recents[0].styles == styles


def test_a_texture(
    controller: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    run = controller.stylize(order(content=None, choices=Choices(color="luminance", strength=90)))
    host.until(lambda: run.name)
    request = service.only().request
    assert (request["texture"], request["size"], request["content"]) == ((WIDTH, HEIGHT), None, None)
    assert not {"content_weight", "color"} & request.keys()
    controller.close()
    again = make(host, service, storage)
    again.start()
    host.until(lambda: again.found)
    taken = again.take_up(again.found[0])
    assert taken.texture
    host.until(lambda: taken.in_contact and taken.job)
    taken.steer(Choices(strength=10, effort="fine"))
    host.pass_time(0)
    host.until(lambda: service.only().updates)
    assert service.only().updates == [{"effort": "fine"}]
    again.close()


def mask_of(coded: Any) -> bytes:
    image = PIL.Image.open(io.BytesIO(coded))
    assert (image.mode, image.size) == ("L", (WIDTH, HEIGHT))
    return image.tobytes()


def test_areas_share_the_picture_without_overlap(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    left = bytes(255 if x < 10 else 0 for _ in range(HEIGHT) for x in range(WIDTH))
    top = bytes(200 if y < 8 else 0 for y in range(HEIGHT) for _ in range(WIDTH))
    other = StyleItem("styles/other", "Other")
    styles = (StyleShare(STARRY, 300), StyleShare(SCREAM), StyleShare(other, 100))
    areas = (Area(lambda: left, 1, "sky"), Area(lambda: top, 1, "tree"))
    run = controller.stylize(order(styles=styles, areas=areas))
    host.until(lambda: run.name)
    regions = service.only().request["regions"]
    assert [region.style for region in regions] == [1, 1, 0, 2]
    sky, tree, starry, last = (mask_of(region.content_mask) for region in regions)
    assert sky == left
    # The corner in both areas is the first one's.
    assert (tree[0], tree[10], tree[-1]) == (0, 200, 0)
    # What is left goes to the styles without an area: three quarters and a quarter of it.
    assert (starry[0], starry[10], starry[-1]) == (0, 41, 191)
    assert (last[0], last[10], last[-1]) == (0, 14, 64)
    assert all(sum(values) == 255 for values in zip(sky, tree, starry, last, strict=True))


def test_the_first_style_takes_the_rest_if_every_style_has_an_area(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    whole, left = b"\xff" * (WIDTH * HEIGHT), bytes(255 * (i % WIDTH < 5) for i in range(WIDTH * HEIGHT))
    run = controller.stylize(order(areas=(Area(lambda: left, 0, "sky"),)))
    host.until(lambda: run.name)
    assert [region.style for region in service.only().request["regions"]] == [0, 0]
    run = controller.stylize(order(areas=(Area(lambda: whole, 0, "all"),)))
    host.until(lambda: run.name)
    assert len(service.jobs["jobs/2"].request["regions"]) == 1


def test_an_empty_area_is_told_by_its_name(controller: Controller, host: FakeHost) -> None:
    empty, whole = bytes(WIDTH * HEIGHT), b"\xff" * (WIDTH * HEIGHT)
    for masks in ((empty,), (whole, whole)):
        areas = tuple(Area(lambda mask=mask: mask, 0, f"Layer {i}") for i, mask in enumerate(masks))
        run = controller.stylize(order(areas=areas))
        host.until(lambda: run.is_final)  # noqa: B023
        assert f"The area “Layer {len(masks) - 1}” is empty here" in run.sentence
    run = controller.stylize(order(areas=(Area(lambda: b"\xff", 0, "Layer 1"),)))
    host.until(lambda: run.is_final)
    assert "1 bytes for 20 × 16 pixels" in run.sentence


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"styles": ()}, "Choose a style first"),
        ({"styles": (StyleShare(STARRY, 0),)}, "The share of “The Starry Night” cannot be 0."),
        ({"styles": (StyleShare(STARRY),) * 9}, "at most 8"),
        ({"choices": Choices(strength=101)}, "Strength cannot be 101. Enter a whole number from 0 to 100."),
        ({"choices": Choices(stroke_size=5)}, "Stroke size cannot be 5"),
        (
            {"choices": Choices(effort="quick")},
            "Effort cannot be quick. Choose one of: draft, standard, fine.",
        ),
        ({"choices": Choices(color="pink")}, "Colours cannot be pink"),
        ({"choices": Choices(seed=-1)}, "Seed cannot be -1"),
        ({"choices": Choices(seed=True)}, "Seed cannot be True"),
        ({"choices": Choices(size=1.5)}, "Size cannot be 1.5"),  # type: ignore[arg-type]
        ({"choices": Choices(evaluations=60_000)}, "Enter at most 50000"),
        ({"size": plan(9000, 9000, 5000)}, "a size of at most 4096 px"),
        ({"bits": 32}, "Choose 8 or 16"),
        ({"areas": (Area(bytes, 1, "sky"),)}, "The area “sky” has no style"),
        ({"areas": (Area(bytes, 0, "sky"),) * 16}, "fewer areas. Choose at most 15."),
        ({"areas": (Area(bytes, 0, "sky"),), "content": None}, "A texture has no areas"),
        ({"size": Size(40, 10, 40, 10), "content": None}, "at least 16 pixels on each side"),
    ],
)
def test_an_order_that_cannot_be_painted_is_refused_at_once(
    controller: Controller, service: FakeService, host: FakeHost, changes: dict[str, Any], said: str
) -> None:
    service.limits = dataclasses.replace(service.limits, max_evaluations=50_000)
    controller.connect(SERVER)
    host.until(lambda: controller.connection.state == "connected")
    with pytest.raises(ValueError, match=r"\.$") as caught:
        controller.stylize(order(**changes))
    assert said in str(caught.value)
    assert isinstance(caught.value, ToldError)
    assert len(caught.value.told.short) <= MOST_SHORT
    assert controller.runs == ()
    assert controller.recents == []


# A second go.


def test_a_second_go_takes_a_new_seed(controller: Controller, host: FakeHost) -> None:
    first = order(choices=Choices(seed=7))
    assert controller.fresh_seed(first) == 7
    controller.stylize(first)
    seed = controller.fresh_seed(first)
    assert seed != 7
    assert 0 <= seed <= LARGEST_SEED
    for changes in (
        {"choices": Choices(seed=7, strength=51)},
        {"styles": (StyleShare(SCREAM),)},
        {"source": "layer 2"},
        {"size": plan(2 * WIDTH, 2 * HEIGHT, 30)},
        {"areas": (Area(bytes, 0, "sky"),)},
        {"document": "/home/anna/tree.kra"},
    ):
        assert controller.fresh_seed(dataclasses.replace(first, **changes)) == 7  # type: ignore[arg-type]


# The history that they leave.


def test_a_painting_is_in_the_history_even_if_it_cannot_be_placed(
    controller: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    told: list[str] = []
    controller.listen(told.append)
    (run,) = queued(controller, host, 1)
    host.cannot_place()
    service.become("succeeded")
    host.until(lambda: run.is_final and controller.found)
    (entry,) = controller.history.entries
    assert "history" in told
    assert (entry.id, entry.address, entry.job) == (run.id, "studio:50051", "jobs/1")
    assert (entry.width, entry.height, entry.bits) == (WIDTH, HEIGHT, 8)
    assert entry.label == "The Starry Night · seed 0 · strength 50 %"
    assert entry.thumbnail == jpeg(note=b"rgba8")
    host.refuses = None
    taken = controller.take_up(controller.found[0])
    host.until(lambda: taken.is_final)
    assert len(controller.history.entries) == 1
    assert make(host, service, storage).history.entries == controller.history.entries


def test_a_failed_thumbnail_does_not_cost_the_painting(
    controller: Controller, host: FakeHost, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    host.thumbnail = lambda picture: 1 // 0  # type: ignore[method-assign,assignment,return-value]
    (run,) = queued(controller, host, 1)
    service.become("succeeded")
    host.until(lambda: run.is_final)
    assert len(host.placed) == 1
    assert controller.history.entries[0].thumbnail == b""
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_preview_that_cannot_be_decoded_does_not_end_the_painting(
    controller: Controller, host: FakeHost, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    decode, host.decode = host.decode, lambda preview, place: [][0]  # type: ignore[method-assign]
    (run,) = queued(controller, host, 1)
    host.until(lambda: service.only().watchers)
    service.preview(1)
    service.progress(2)
    host.until(lambda: run.progress)
    host.decode = decode  # type: ignore[method-assign]
    service.preview(3)
    host.until(lambda: run.preview)
    assert run.preview == "decoded 3"
    assert "IndexError" in capsys.readouterr().err


def test_a_picture_that_cannot_be_decoded_is_offered_again(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    decode, host.decode_result = host.decode_result, lambda image, place: [][0]  # type: ignore[method-assign]
    (run,) = queued(controller, host, 1)
    service.become("succeeded")
    host.until(lambda: run.is_final and controller.found)
    assert run.state == "failed"
    host.decode_result = decode  # type: ignore[method-assign]
    taken = controller.take_up(controller.found[0])
    host.until(lambda: taken.is_final)
    assert taken.state == "succeeded"


def test_fetching_says_what_to_do(controller: Controller, host: FakeHost, service: FakeService) -> None:
    (run,) = queued(controller, host, 1)
    service.become("succeeded")
    host.until(lambda: run.is_final)
    (entry,) = controller.history.entries
    answers: list[Any] = []

    def fetch() -> Any:
        answers.clear()
        controller.fetch(entry, answers.append, answers.append)
        host.until(lambda: answers)
        return answers[0]

    assert fetch().picture == host.placed[0].picture
    service.fail("download", Unreachable("gone"))
    assert "No server answers" in fetch()
    assert controller.connection.state == "reconnecting"
    assert fetch() == "No connection to the server, which keeps the picture. Try again later."
    host.pass_time(1)
    host.until(lambda: controller.connection.state == "connected")
    service.jobs.clear()
    assert "no longer has this picture" in fetch()
    controller.connect(Server("other:1"))
    assert "kept on another server: studio:50051" in fetch()


def test_the_server_on_this_computer_has_one_key_whatever_its_address(
    host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    controller = make(host, service, storage)
    controller.connect(Server("localhost:1111", this_computer=True))
    host.until(lambda: controller.connection.state == "connected")
    (run,) = queued(controller, host, 1)
    controller.connect(Server("other:1"))
    assert run.sentence == "This computer paints this. Connect to it again to watch."
    controller.connect(Server("localhost:2222", this_computer=True))
    host.until(lambda: run.in_contact)
    service.become("succeeded")
    host.until(lambda: run.is_final)
    assert controller.history.entries[0].address == THIS_COMPUTER
    again = make(host, service, storage)
    assert again.server == Server("localhost:2222", this_computer=True)
    again.close()
    controller.close()


# Two processes of a host.


def test_two_processes_do_not_overwrite_each_others_paintings(
    controller: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    other = make(host, service, storage)
    other.connect(SERVER)
    host.until(lambda: other.connection.state == "connected")
    (run,) = queued(controller, host, 1)
    theirs = other.stylize(order())
    host.until(lambda: theirs.name)
    for name in service.jobs:
        host.until(lambda: service.jobs[name].watchers)  # noqa: B023
        service.become("succeeded", name=name)
    host.until(lambda: run.is_final and theirs.is_final)
    assert len(make(host, service, storage).history.entries) == 2
    third = controller.stylize(order())
    host.until(lambda: third.name)
    fourth = other.stylize(order())
    host.until(lambda: fourth.name)
    controller.close()
    other.close()
    again = make(host, service, storage)
    again.start()
    host.until(lambda: {found.remembered.id for found in again.found} == {third.id, fourth.id})
    again.close()


def test_what_another_running_process_paints_is_not_offered(
    controller: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    queued(controller, host, 2)
    controller.close()
    jobs = json.loads(storage.kept["jobs.json"])
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        jobs[0]["keeper"] = f"{process.pid}:{told_apart(process.pid)}"
        jobs[0]["name"] = ""
        storage.write("jobs.json", json.dumps(jobs).encode())
        second = make(host, service, storage)
        second.start()
        host.until(lambda: second.found)
        assert [found.remembered.id for found in second.found] == [jobs[1]["id"]]
        second.take_up(second.found[0])
        second.close()
        process.communicate(b"\n")
    third = make(host, service, storage)
    third.start()
    host.until(lambda: len(third.found) == 2)
    third.close()


def test_titles_of_the_servers_styles_are_one_short_line(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    service.styles[:] = [NamedStyle("styles/odd", "Odd\n\0" + "x" * 3000, 100, 80, jpeg(65500, 65500))]
    service.take_down()
    host.pass_time(30)
    host.until(lambda: controller.connection.state == "reconnecting")
    service.bring_up()
    host.pass_time(30)
    host.until(lambda: len(controller.library.offered) == 1)
    (style,) = controller.library.offered
    assert style.title.startswith("Odd xxx")
    assert len(style.title) == 200
    assert style.thumbnail == b""
    assert len(named((StyleShare(style), StyleShare(style)), Choices())) < 120


def test_an_order_for_a_server_that_was_left_holds_up_no_other(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    service.take_down()
    host.pass_time(30)
    host.until(lambda: controller.connection.state == "reconnecting")
    left = controller.stylize(order())
    service.bring_up()
    controller.connect(Server("other:50051"))
    host.until(lambda: controller.connection.state == "connected")
    sent = controller.stylize(order(choices=Choices(seed=2)))
    host.until(lambda: sent.state == "queued")
    assert left.state == "submitting"
    assert len(service.jobs) == 1
    # It is sent as soon as its server is back.
    controller.connect(SERVER)
    host.until(lambda: left.state == "queued")


def test_another_spelling_of_an_address_is_the_same_server(
    controller: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    assert Server("Studio").key == Server("studio:50051").key == SERVER.key
    assert Server("unix:/tmp/A").key == "unix:/tmp/A"
    run = controller.stylize(order())
    host.until(lambda: run.state == "queued" and service.only().watchers)
    service.become("succeeded")
    host.until(lambda: run.is_final)
    unfinished = controller.stylize(order(choices=Choices(seed=2)))
    host.until(lambda: unfinished.state == "queued")
    controller.close()
    # An older plugin has stored the address as it was written.
    for key in ("jobs.json", f"history/{run.id}.json"):
        storage.kept[key] = storage.kept[key].replace(b"studio:50051", b"STUDIO")
    again = make(host, service, storage)
    again.connect(Server("studio"))
    host.until(lambda: len(again.found) == 1)
    fetched: list[Any] = []
    again.fetch(again.history.entries[0], fetched.append, pytest.fail)
    host.until(lambda: fetched)
    again.close()


def test_any_name_of_a_document_can_be_shown(
    controller: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    run = controller.stylize(order(subject="a\nb\0c\ud800 {x} %s" + "x" * 5000))
    host.until(lambda: run.state == "queued" and service.only().watchers)
    assert run.label.startswith("The Starry Night on a b c {x} %s")
    assert run.subject.isprintable()
    service.become("succeeded")
    host.until(lambda: run.is_final)
    controller.close()
    again = make(host, service, storage)
    assert [entry.subject for entry in again.history.entries] == [run.subject]
    again.close()
