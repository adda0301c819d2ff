"""The controller with a fake host and a fake service: every state and its errors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from impasto.errors import (
    InvalidRequest,
    JobFailed,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from impasto.hosts import Choices, Controller, Order, Server, StyleItem, StyleShare, Timing, plan
from impasto.hosts.choices import MIDDLE_CONTENT_WEIGHT
from impasto.recipe import RawPixels, Style, StyleName, UploadedImage
from support.fake_host import FakeHost, FakeService, FakeStorage, jpeg

SERVER = Server("studio:50051")
STYLE = StyleItem("styles/starry-night", "The Starry Night")
TIMING = Timing(first_retry=1, longest_retry=8, check=10, steer=0.15)


def make(host: FakeHost, service: FakeService, storage: FakeStorage) -> Controller:
    return Controller(host, storage, open_client=service.open, timing=TIMING)  # type: ignore[arg-type]


@pytest.fixture
def controller(host: FakeHost, service: FakeService, storage: FakeStorage) -> Iterator[Controller]:
    controller = make(host, service, storage)
    yield controller
    for gate in service.gates.values():
        gate.set()
    controller.close()


@pytest.fixture
def connected(controller: Controller, host: FakeHost) -> Controller:
    controller.connect(SERVER)
    host.until(lambda: controller.connection.state == "connected" and controller.library.offered)
    return controller


def order(style: StyleItem = STYLE, **choices: Any) -> Order:
    return Order(
        content=lambda: RawPixels(20, 16, bytes(20 * 16 * 4)),
        styles=(StyleShare(style),),
        size=plan(40, 32, 20),
        choices=Choices(**choices),
        place={"document": "flower.kra", "box": [1, 2, 40, 32]},
        subject="flower.kra",
    )


def paint(controller: Controller, host: FakeHost, service: FakeService, **choices: Any) -> Any:
    """Starts a painting and returns it once it runs."""
    run = controller.stylize(order(**choices))
    host.until(lambda: run.state == "queued")
    host.until(lambda: service.only().watchers)
    service.become("running", queue_position=None)
    host.until(lambda: run.state == "running")
    return run


# The connection.


def test_connecting_shows_the_server_and_lists_the_styles(connected: Controller) -> None:
    assert connected.connection.short == "Connected to studio:50051."
    assert connected.connection.sentence == "Connected to studio:50051. It paints with: A CPU."
    assert connected.library.offered == (STYLE,)
    assert connected.library.offered[0].thumbnail == jpeg()


def test_a_device_that_has_started_is_told(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    ready = service.device
    service.device = dataclasses.replace(ready, state="starting", description="")
    controller.connect(SERVER)
    host.until(lambda: controller.connection.state == "connected")
    assert controller.connection.sentence == "Connected to studio:50051, which is still starting."
    service.device = ready
    told = []
    controller.listen(told.append)
    host.until(lambda: host.waits)
    host.pass_time(TIMING.first_retry)
    host.until(lambda: told)
    assert controller.connection.sentence == "Connected to studio:50051. It paints with: A CPU."


def test_the_delay_between_attempts_to_connect_grows(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    service.take_down()
    controller.connect(SERVER)
    assert controller.connection.state == "connecting"
    waits = []
    for attempt in range(1, 7):
        host.until(lambda: service.calls.count("info") == attempt and host.waits)  # noqa: B023
        assert controller.connection.state == "reconnecting"
        waits.append(host.waits[0])
        host.pass_time(waits[-1])
    assert waits == [1, 2, 4, 8, 8, 8]
    assert "No server answers at studio:50051" in controller.connection.sentence
    assert "tries again automatically" in controller.connection.sentence
    service.bring_up()
    controller.connection.try_now()
    host.until(lambda: controller.connection.state == "connected")
    assert controller.connection.info is not None


def test_a_refused_connection_is_not_repeated_until_the_settings_change(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    service.fail("info", Unauthenticated("no such token"))
    controller.connect(Server("studio:50051", token="wrong"))
    host.until(lambda: controller.connection.state == "refused")
    assert controller.connection.short == "The server does not know your token."
    assert controller.connection.remedy == "server settings"
    assert host.waits == []
    controller.connect(Server("studio:50051", token="right"))
    host.until(lambda: controller.connection.state == "connected")


def test_an_invalid_address_is_refused_with_a_sentence(host: FakeHost, storage: FakeStorage) -> None:
    controller = Controller(host, storage)
    controller.connect(Server("what is this"))
    host.until(lambda: controller.connection.state == "refused")
    assert controller.connection.short == "“what is this” is not an address."
    controller.connect(Server("studio:50051", token="secret"))
    host.until(lambda: "unencrypted" in controller.connection.sentence)
    assert controller.connection.state == "refused"
    controller.close()


def test_the_last_server_that_was_entered_wins(
    controller: Controller, host: FakeHost, service: FakeService
) -> None:
    gate = service.gate("info")
    controller.connect(Server("slow:1"))
    controller.connect(Server("quick:1"))
    gate.set()
    host.until(lambda: controller.connection.state == "connected")
    host.until(lambda: service.calls.count("info") == 2 and any(client.closed for client in service.clients))
    host.settle()
    assert controller.connection.address == "quick:1"
    current = controller.connection.client
    assert [client.closed for client in service.clients if client is not current] == [True]


def test_a_lost_server_is_noticed_and_reconnected(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    service.take_down()
    host.pass_time(10)
    host.until(lambda: connected.connection.state == "reconnecting")
    service.bring_up()
    host.pass_time(1)
    host.until(lambda: connected.connection.state == "connected")


def test_a_revoked_token_is_noticed(connected: Controller, host: FakeHost, service: FakeService) -> None:
    service.fail("info", Unauthenticated("gone"))
    host.pass_time(10)
    host.until(lambda: connected.connection.state == "refused")


def test_a_disconnected_connection_stays_disconnected(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    connected.connection.disconnect()
    calls = len(service.calls)
    host.pass_time(60)
    host.settle()
    assert connected.connection.state == "disconnected"
    assert len(service.calls) == calls
    with pytest.raises(ValueError, match="Choose where to paint"):
        connected.stylize(order())


def test_the_server_is_remembered(
    connected: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    connected.connect(Server("other:1", token="secret", tls=True, ca="/ca.pem"))
    again = make(host, service, storage)
    again.start()
    host.until(lambda: again.connection.state == "connected")
    assert again.connection.server == Server("other:1", token="secret", tls=True, ca="/ca.pem")
    assert "secret" not in repr(again.connection.server)
    again.close()


# A painting.


def test_a_16_bit_host_sends_and_receives_16_bits(
    host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    controller = Controller(
        host,
        storage,
        open_client=service.open,  # type: ignore[arg-type]
        timing=TIMING,
    )
    controller.connect(SERVER)
    host.until(lambda: controller.connection.state == "connected" and controller.library.offered)
    deep = RawPixels(20, 16, bytes(20 * 16 * 8), bits_per_channel=16)
    run = controller.stylize(dataclasses.replace(order(), content=lambda: deep, bits=16))
    host.until(lambda: run.state == "queued")
    assert service.only().request["format"] == "png16"
    service.become("succeeded")
    host.until(lambda: run.is_final)
    assert host.placed[0].picture.format == "rgba16"
    controller.close()


def test_a_painting_from_the_order_to_the_placed_picture(
    connected: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    told: list[str] = []
    connected.listen(told.append)
    run = connected.stylize(order(strength=80, effort="fine", color="luminance", seed=7))
    assert (run.state, run.sentence) == ("submitting", "Sending the picture …")
    assert connected.is_painting
    host.until(lambda: run.state == "queued")
    assert (run.queue_position, run.sentence) == (1, "Waiting, number 1 in the queue …")
    request = service.only().request
    assert request["styles"] == [Style(StyleName("styles/starry-night"))]
    assert {k: request[k] for k in ("content_weight", "effort", "color", "seed", "size")} == {
        "content_weight": pytest.approx(MIDDLE_CONTENT_WEIGHT * 8**-0.6, rel=1e-3),
        "effort": "fine",
        "color": "luminance",
        "seed": 7,
        "size": 20,
    }
    assert service.only().job.title.startswith("The Starry Night on flower.kra [")
    service.become("running", queue_position=None)
    host.until(lambda: run.state == "running")
    assert (run.sentence, run.fraction, run.queue_position) == ("Starting …", None, None)
    service.progress(0, 10, preparing=0.4)
    host.until(lambda: run.progress)
    assert (run.sentence, run.time_left) == ("Painting, 0 of 10: comparing with the style, 40 %", None)
    service.progress(4, 10, 83.2)
    host.until(lambda: run.progress and run.progress.evaluation == 4)
    assert (run.sentence, run.fraction, run.time_left) == ("Painting, 4 of 10, 84 s left", 0.4, 83.2)
    service.preview(4)
    host.until(lambda: run.preview)
    assert run.preview == "decoded 4"
    service.become("succeeded")
    host.until(lambda: run.is_final)
    (painted,) = host.placed
    assert (painted.picture.format, painted.picture.width, painted.picture.height) == ("rgba8", 20, 16)
    assert painted.place == {"document": "flower.kra", "box": [1, 2, 40, 32]}
    assert painted.choices.strength == 80
    assert (run.state, run.sentence, run.fraction) == ("succeeded", "Finished.", 1.0)
    assert {"recents", "run", "preview"} <= set(told)
    assert not connected.is_painting
    assert json.loads(storage.kept["jobs.json"]) == []
    assert not [key for key in storage.kept if key.startswith("places/")]
    assert connected.recents[0].choices.strength == 80
    assert connected.choices().seed == 7


def test_newer_previews_replace_those_that_a_busy_host_has_not_taken(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    told: list[str] = []
    connected.listen(told.append)
    for evaluation in range(1, 50):
        service.preview(evaluation)
    watcher = service.only().watchers[0]
    while not watcher.empty():
        pass
    host.until(lambda: run.preview == "decoded 49")
    assert told.count("preview") <= 2


def test_a_job_that_fails_says_why(connected: Controller, host: FakeHost, service: FakeService) -> None:
    run = paint(connected, host, service)
    service.become("failed", error=ResourceExhausted("4,000 MiB are needed, 2,000 MiB are there"))
    host.until(lambda: run.is_final)
    assert run.state == "failed"
    assert "4,000 MiB are needed" in run.sentence
    assert "smaller size" in run.sentence
    assert host.placed == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InvalidRequest("the style is too small; give one of 16 pixels"), "16 pixels"),
        (ResourceExhausted("the queue is full", retry_after=120), "Try again in about 2 min"),
        (JobFailed("strange"), "The server says: Strange."),
        (ValueError("The document was closed."), "The document was closed."),
        (KeyError("bug"), "Please report it"),
    ],
)
def test_a_refused_request_is_told_with_what_to_do(
    connected: Controller, host: FakeHost, service: FakeService, error: Exception, words: str
) -> None:
    service.fail("create_job", error)
    run = connected.stylize(order())
    host.until(lambda: run.is_final)
    assert run.state == "failed"
    assert words in run.sentence
    assert connected.connection.state == "connected"
    again = connected.stylize(order())
    host.until(lambda: again.state == "queued")


def test_unreadable_content_ends_the_painting_with_a_sentence(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    def content() -> RawPixels:
        raise ValueError("The layer is empty.")

    run = connected.stylize(dataclasses.replace(order(), content=content))
    host.until(lambda: run.is_final)
    assert run.sentence == "The layer is empty."
    assert "create_job" not in service.calls


# Pausing, cancelling.


def test_pause_and_resume(connected: Controller, host: FakeHost, service: FakeService) -> None:
    run = paint(connected, host, service)
    assert run.can_pause
    assert not run.can_resume
    run.pause()
    assert run.asking == "pause"
    assert not run.can_pause
    run.pause()
    host.until(lambda: run.state == "paused")
    assert run.can_resume
    assert run.sentence == "Paused. The server keeps the painting."
    run.resume()
    host.until(lambda: run.state == "queued")
    assert service.calls.count("pause") == 1


def test_a_failed_pause_is_shown_and_the_painting_goes_on(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    service.fail("pause", JobFailed("strange"))
    run.pause()
    host.until(lambda: run.notice)
    assert "could not be paused" in run.notice
    assert run.state == "running"


def test_cancel(connected: Controller, host: FakeHost, service: FakeService, storage: FakeStorage) -> None:
    run = paint(connected, host, service)
    run.cancel()
    assert (run.state, run.sentence) == ("cancelled", "Cancelled.")
    host.until(lambda: service.only().job.state == "cancelled")
    host.until(lambda: json.loads(storage.kept["cancelled.json"]) == {})
    assert json.loads(storage.kept["jobs.json"]) == []


def test_cancel_while_it_is_being_sent(connected: Controller, host: FakeHost, service: FakeService) -> None:
    gate = service.gate("create_job")
    run = connected.stylize(order())
    host.until(lambda: "create_job" in service.calls)
    run.cancel()
    assert run.state == "cancelled"
    gate.set()
    host.until(lambda: service.jobs and service.only().job.state == "cancelled")
    assert run.state == "cancelled"


def test_the_host_closes_while_a_cancelled_order_is_being_sent(
    connected: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    gate = service.gate("create_job")
    connected.stylize(order()).cancel()
    host.until(lambda: "create_job" in service.calls)
    connected.close()
    gate.set()
    host.until(lambda: service.jobs)
    again = make(host, service, storage)
    again.start()
    host.until(lambda: service.only().job.state == "cancelled")
    again.close()


def test_a_cancel_without_connection_is_sent_after_reconnecting(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    service.take_down()
    host.until(lambda: connected.connection.state == "reconnecting")
    run.cancel()
    assert run.state == "cancelled"
    service.bring_up()
    host.pass_time(1)
    host.until(lambda: service.only().job.state == "cancelled")


def test_a_painting_cancelled_too_late_still_counts_as_cancelled(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    gate = service.gate("download")
    service.become("succeeded")
    host.until(lambda: run.state == "fetching")
    run.cancel()
    gate.set()
    host.settle()
    assert run.state == "cancelled"
    assert host.placed == []


def test_a_job_cancelled_by_another_caller_raises_job_cancelled(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    service.become("cancelled")
    host.until(lambda: run.is_final)
    assert (run.state, run.sentence) == ("cancelled", "The painting was cancelled on the server.")


# The connection is lost, in every state.


def test_the_connection_is_lost_before_the_order_is_sent(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    service.take_down()
    run = connected.stylize(order())
    host.until(lambda: connected.connection.state == "reconnecting")
    assert run.state == "submitting"
    assert "The picture is sent when the connection is back" in run.sentence
    service.bring_up()
    host.pass_time(1)
    host.until(lambda: run.state == "queued")


def test_an_order_whose_answer_was_lost_creates_one_job(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    real = service.clients[-1].create_job

    def lose_the_answer(*arguments: Any, **rest: Any) -> Any:
        real(*arguments, **rest)
        raise Unavailable("the connection broke")

    service.clients[-1].create_job = lose_the_answer  # type: ignore[method-assign]
    run = connected.stylize(order())
    host.until(lambda: connected.connection.state == "reconnecting")
    assert run.state == "submitting"
    host.pass_time(1)
    host.until(lambda: run.state == "queued")
    assert len(service.jobs) == 1


def test_the_connection_is_lost_during_painting(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    service.take_down()
    host.until(lambda: connected.connection.state == "reconnecting")
    assert run.state == "running"
    assert not run.in_contact
    assert not run.can_pause
    assert "it goes on painting" in run.sentence
    service.bring_up()
    host.pass_time(1)
    host.until(lambda: run.in_contact)
    service.progress(9)
    host.until(lambda: run.progress and run.progress.evaluation == 9)


def test_the_job_ends_while_the_connection_is_lost(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    service.take_down()
    host.until(lambda: not run.in_contact)
    service.become("succeeded")
    service.bring_up()
    host.pass_time(1)
    host.until(lambda: run.state == "succeeded")
    assert len(host.placed) == 1


def test_the_connection_is_lost_while_the_picture_is_fetched(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    service.fail("download", Unreachable("gone"))
    service.become("succeeded")
    host.until(lambda: connected.connection.state == "reconnecting")
    assert run.state == "fetching"
    host.pass_time(1)
    host.until(lambda: run.state == "succeeded")
    assert len(host.placed) == 1


def test_the_job_is_missing_after_reconnecting(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    service.take_down()
    host.until(lambda: not run.in_contact)
    service.jobs.clear()
    service.bring_up()
    host.pass_time(1)
    host.until(lambda: run.is_final)
    assert run.state == "failed"
    assert "no longer has" in run.sentence


def test_an_order_refused_for_its_token_waits_for_another_token(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    service.fail("create_job", Unauthenticated("who are you?"))
    run = connected.stylize(order())
    host.until(lambda: connected.connection.state == "refused")
    assert run.state == "submitting"
    connected.connect(Server(SERVER.address, token="right"))
    host.until(lambda: run.state == "queued")


def test_connecting_to_another_server_does_not_touch_the_painting(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    connected.connect(Server("other:1"))
    host.until(lambda: connected.connection.state == "connected")
    assert "The server studio:50051 paints this" in run.sentence
    assert not run.in_contact
    connected.connect(SERVER)
    host.until(lambda: run.in_contact)
    service.become("succeeded")
    host.until(lambda: run.state == "succeeded")


# Steering.


def test_many_moves_of_a_slider_make_few_calls_and_the_newest_wins(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    for strength in range(51, 71):
        run.steer(Choices(strength=strength))
    assert service.only().updates == []
    host.pass_time(0.15)
    host.until(lambda: service.only().updates)
    assert service.only().updates == [{"content_weight": Choices(strength=70).content_weight}]


def test_one_change_is_sent_at_a_time(connected: Controller, host: FakeHost, service: FakeService) -> None:
    run = paint(connected, host, service)
    gate = service.gate("update_job")
    run.steer(Choices(strength=60))
    host.pass_time(0.15)
    run.steer(Choices(strength=70))
    host.pass_time(1)
    run.steer(Choices(strength=80, color="matched"))
    host.pass_time(1)
    host.settle()
    assert service.calls.count("update_job") == 1
    gate.set()
    host.until(lambda: service.only().updates)
    host.until(lambda: host.waits and host.waits[0] < 1)
    host.pass_time(0.15)
    host.until(lambda: len(service.only().updates) == 2)
    assert service.only().updates[1] == {
        "content_weight": Choices(strength=80).content_weight,
        "color": "matched",
    }
    assert run.choices.strength == 80


def test_steering_waits_until_the_job_is_created(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    gate = service.gate("create_job")
    run = connected.stylize(order())
    run.steer(Choices(strength=90))
    host.pass_time(1)
    assert "update_job" not in service.calls
    gate.set()
    host.until(lambda: run.state == "queued")
    host.pass_time(0.15)
    host.until(lambda: service.only().updates)


def test_steering_without_connection_is_sent_after_reconnecting(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    service.fail("update_job", Unreachable("gone"))
    run.steer(Choices(strength=90))
    host.pass_time(0.15)
    host.until(lambda: connected.connection.state == "reconnecting")
    run.steer(Choices(strength=95))
    host.pass_time(1)
    host.until(lambda: run.in_contact)
    host.pass_time(0.15)
    host.until(lambda: service.only().updates)
    assert service.only().updates == [{"content_weight": Choices(strength=95).content_weight}]


def test_refused_steering_is_shown(connected: Controller, host: FakeHost, service: FakeService) -> None:
    run = paint(connected, host, service)
    service.fail("update_job", InvalidRequest("too strong; give less"))
    run.steer(Choices(strength=90))
    host.pass_time(0.15)
    host.until(lambda: run.notice)
    assert "Too strong; give less." in run.notice
    host.pass_time(1)
    host.settle()
    assert service.calls.count("update_job") == 1


def test_steering_a_job_that_has_just_ended_is_harmless(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    gate = service.gate("update_job")
    run.steer(Choices(strength=90))
    host.pass_time(0.15)
    service.become("succeeded")
    host.until(lambda: run.state == "succeeded")
    gate.set()
    host.settle()
    assert (run.state, run.notice) == ("succeeded", "")
    run.steer(Choices(strength=10))
    host.pass_time(1)
    host.settle()
    assert service.calls.count("update_job") == 1


def test_size_and_seed_are_not_steered(connected: Controller, host: FakeHost, service: FakeService) -> None:
    run = paint(connected, host, service, seed=3)
    run.steer(Choices(seed=9, size=2048))
    host.pass_time(1)
    host.settle()
    assert service.only().updates == []
    assert run.choices.seed == 3


# Own styles.


def test_an_own_style_is_uploaded_once_and_remembered(
    connected: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    item = connected.library.add(b"a painting", "Mine", jpeg(note=b"thumb"))
    assert item.own
    assert connected.library.own == (item,)
    for _ in range(2):
        run = connected.stylize(order(style=item))
        host.until(lambda: run.state == "queued")  # noqa: B023
        run.cancel()
    assert service.uploads == [b"a painting"]
    assert service.jobs["jobs/1"].request["styles"] == [Style(UploadedImage(item.key))]
    again = make(host, service, storage)
    assert again.library.own == (item,)
    assert again.library.own[0].thumbnail == jpeg(note=b"thumb")
    again.library.remove(item.key)
    assert make(host, service, storage).library.own == ()
    assert f"styles/{item.key}" not in storage.kept


def test_an_own_style_that_the_server_forgot_is_uploaded_again(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    item = connected.library.add(b"a painting", "Mine")
    service.forgets_uploads = True
    run = connected.stylize(order(style=item))
    host.until(lambda: run.state == "queued")
    assert service.uploads == [b"a painting", b"a painting"]


def test_an_own_style_whose_file_is_lost_is_told(
    connected: Controller, host: FakeHost, storage: FakeStorage
) -> None:
    item = connected.library.add(b"a painting", "Mine")
    storage.remove(f"styles/{item.key}")
    run = connected.stylize(order(style=item))
    host.until(lambda: run.is_final)
    assert run.sentence == "The file of the style “Mine” is lost. Add the style again."


# The host is restarted.


def test_a_finished_job_is_found_again_and_its_picture_placed(
    connected: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    run = paint(connected, host, service, seed=5)
    run.steer(Choices(strength=90))
    host.pass_time(0.15)
    host.until(lambda: service.only().updates)
    connected.close()
    service.become("succeeded")
    again = make(host, service, storage)
    again.start()
    host.until(lambda: again.found)
    (found,) = again.found
    assert found.ready
    assert found.sentence == "The Starry Night on flower.kra: finished."
    taken = again.take_up(found)
    assert again.found == ()
    host.until(lambda: taken.state == "succeeded")
    (painted,) = host.placed
    assert painted.place["box"] == [1, 2, 40, 32]
    assert (painted.choices.seed, painted.choices.strength) == (5, 90)
    again.close()


def test_a_job_that_still_runs_is_taken_up(
    connected: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    paint(connected, host, service)
    connected.close()
    again = make(host, service, storage)
    again.start()
    host.until(lambda: again.found)
    assert not again.found[0].ready
    assert "still being painted" in again.found[0].sentence
    run = again.take_up(again.found[0])
    host.until(lambda: run.state == "running")
    run.pause()
    host.until(lambda: run.state == "paused")
    again.close()


def test_a_job_without_a_known_name_is_found_by_its_title(
    connected: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    gate = service.gate("create_job")
    connected.stylize(order())
    host.until(lambda: "create_job" in service.calls)
    connected.close()
    gate.set()
    host.until(lambda: service.jobs)
    again = make(host, service, storage)
    again.start()
    host.until(lambda: again.found)
    assert again.found[0].remembered.name == "jobs/1"
    again.close()


def test_found_jobs_can_be_dismissed(
    connected: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    paint(connected, host, service)
    connected.close()
    again = make(host, service, storage)
    again.start()
    host.until(lambda: again.found)
    again.dismiss(again.found[0])
    assert again.found == ()
    host.until(lambda: service.only().job.state == "cancelled")
    assert json.loads(storage.kept["jobs.json"]) == []
    again.close()


def test_failed_and_cancelled_jobs_are_forgotten(
    connected: Controller, host: FakeHost, service: FakeService, storage: FakeStorage
) -> None:
    paint(connected, host, service)
    connected.close()
    service.become("failed", error=JobFailed("strange"))
    again = make(host, service, storage)
    again.start()
    host.until(lambda: json.loads(storage.kept["jobs.json"]) == [])
    assert again.found == ()
    again.close()


def test_a_picture_that_cannot_be_placed_can_be_placed_later(
    connected: Controller, host: FakeHost, service: FakeService
) -> None:
    run = paint(connected, host, service)
    host.cannot_place()
    service.become("succeeded")
    host.until(lambda: connected.found)
    assert run.sentence == "There is no document. Open one."
    host.refuses = None
    taken = connected.take_up(connected.found[0])
    host.until(lambda: taken.state == "succeeded")
    assert len(host.placed) == 1
    assert connected.found == ()


def test_nothing_happens_after_closing(connected: Controller, host: FakeHost, service: FakeService) -> None:
    run = paint(connected, host, service)
    told: list[str] = []
    connected.listen(told.append)
    connected.close()
    service.progress(5)
    service.become("succeeded")
    host.settle()
    assert run.state == "running"
    assert told == []
    assert host.placed == []


def test_damaged_stored_files_are_ignored(host: FakeHost, service: FakeService, storage: FakeStorage) -> None:
    for key in ("server.json", "styles.json", "recents.json", "jobs.json", "cancelled.json"):
        for broken in (b"", b"{", b"[1, null, {}]", b'{"a": 1}', b"null"):
            storage.write(key, broken)
            controller = make(host, service, storage)
            controller.start(SERVER)
            assert controller.choices() == Choices()
            controller.close()
