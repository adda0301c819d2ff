"""The client over real sockets, with a fake server that misbehaves on demand."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

import impasto
from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.fake_server import FakeServer, bad_request, png, refuse

pytestmark = pytest.mark.usefixtures("way")

SAID = error_details_pb2.ErrorInfo(domain="impasto", reason="SHUTTING_DOWN")


def test_stylize_returns_a_picture(client: impasto.Client, fake: FakeServer) -> None:
    with client.stylize(png(), [(png(), 0.5)], effort="draft", size=48) as painting:
        picture = painting.result()
    assert picture.data == png()
    (request,) = fake.requests
    assert request.spec.recipe == pb.Recipe(effort=pb.EFFORT_DRAFT, longest_side=48)
    assert request.spec.styles[0].weight == 0.5


def test_settings_replace_fields_of_the_recipe(client: impasto.Client, fake: FakeServer) -> None:
    recipe = impasto.Recipe(objective="report", seed=1)
    client.stylize(png(), png(), recipe=recipe, seed=2, previews=False).result()
    assert fake.requests[0].spec.recipe == pb.Recipe(objective=pb.OBJECTIVE_REPORT, seed=2)
    assert fake.requests[0].preview.disabled


def test_a_texture(client: impasto.Client, fake: FakeServer) -> None:
    client.stylize(None, [png()], texture=(64, 32), style_layers={"relu3_1": 1}).result()
    spec = fake.requests[0].spec
    assert (spec.texture.width, spec.texture.height) == (64, 32)
    assert spec.recipe == pb.Recipe(style_layers=[pb.LayerWeight(layer="relu3_1", weight=1)])


def test_regions_and_a_selection(client: impasto.Client, fake: FakeServer) -> None:
    client.stylize(png(), [png(), png()], regions=[impasto.Region(png(), style=1)], selection=png()).result()
    spec = fake.requests[0].spec
    assert [region.style for region in spec.regions] == [1]
    assert spec.selection.encoded == png()


def test_info_is_read(client: impasto.Client) -> None:
    info = client.info()
    assert info.version == "9.9"
    assert info.devices[0].auto_precision == "bfloat16"
    assert info.network is not None
    assert info.network.weights == "builtin"
    assert info.accepted_formats == ("png", "jpeg")
    assert info.limits.max_longest_side == 4096
    assert info.limits.max_regions == 7
    assert info.devices[0].memory_bytes == 3 * 2**30


def test_a_missing_file_is_found_before_any_call(
    client: impasto.Client, fake: FakeServer, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        client.stylize(tmp_path / "none.png", png())
    assert not fake.requests


def test_a_refused_request_names_the_field(client: impasto.Client, fake: FakeServer) -> None:
    fake.script = refuse(
        grpc.StatusCode.INVALID_ARGUMENT,
        "no",
        SAID,
        bad_request(spec__recipe__longest_side="is 5 px; give 16"),
    )
    with pytest.raises(impasto.InvalidRequest) as caught:
        client.stylize(png(), png())
    assert caught.value.fields == (("spec.recipe.longest_side", "is 5 px; give 16"),)


def test_an_error_keeps_the_servers_reason_and_delay(fake: FakeServer) -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromSeconds(7)
    fake.script = refuse(grpc.StatusCode.UNAVAILABLE, "shutting down", SAID, retry)
    with (
        impasto.Client(fake.address, patience=5) as client,
        pytest.raises(impasto.Unavailable, match="shutting down") as caught,
    ):
        client.stylize(png(), png())
    assert (caught.value.reason, caught.value.retry_after) == ("SHUTTING_DOWN", 7.0)


def test_a_request_larger_than_the_server_takes(client: impasto.Client) -> None:
    with pytest.raises(impasto.ResourceExhausted, match="too large to send"):
        client.create_job(png(), png(), title="x" * 5_000_000)


def test_cancel_from_another_thread_frees_the_server(client: impasto.Client, fake: FakeServer) -> None:
    fake.script = fake_server.paint_forever
    painting = client.stylize(png(), png())
    threading.Timer(0.3, painting.cancel).start()
    with pytest.raises(impasto.JobCancelled):
        painting.result()
    assert fake.cancelled.wait(10)
    assert fake.left.wait(10)


def test_leaving_early_frees_the_server(client: impasto.Client, fake: FakeServer) -> None:
    fake.script = fake_server.paint_forever
    with client.stylize(png(), png()) as painting:
        for event in painting:
            if isinstance(event, impasto.Preview):
                break
    assert fake.cancelled.wait(10)
    assert fake.left.wait(10)


def test_a_painting_that_takes_too_long_is_cancelled(client: impasto.Client, fake: FakeServer) -> None:
    fake.script = fake_server.paint_forever
    with pytest.raises(impasto.DeadlineExceeded):
        client.stylize(png(), png(), timeout=0.5).result()
    assert fake.cancelled.wait(10)
    assert fake.left.wait(10)


def test_an_unreachable_server_is_named_by_its_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with impasto.Client(address) as client:
        for call in (client.info, lambda: client.stylize(png(), png())):
            with pytest.raises(impasto.Unreachable, match=address) as caught:
                call()
            assert caught.value.reason == ""


def test_a_server_that_never_answers_meets_the_deadline() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with impasto.Client(address, timeout=0.3) as client, pytest.raises(impasto.DeadlineExceeded):
            client.info()


def test_a_unix_socket_is_an_address(tmp_path: Path) -> None:
    with fake_server.serving(f"unix:{tmp_path}/s") as fake, impasto.Client(fake.address) as client:
        assert client.info().version == "9.9"


def test_local_servers_are_called_without_the_proxy(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with impasto.Client(fake.address) as client:
        assert client.info().version == "9.9"
