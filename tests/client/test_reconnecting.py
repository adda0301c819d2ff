"""Reconnecting: a painting survives broken connections, silence and restarts, on real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.rpc import error_details_pb2

import impasto
from impasto import calls
from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.fake_server import FakeServer, Line, course, heartbeat, png, refuse, resume, snapshot, status

pytestmark = pytest.mark.usefixtures("way")

PIECE = 50
KINDS = ["JobChanged", "JobChanged", *["Progress", "Preview"] * 4, "JobChanged"]
REASON = error_details_pb2.ErrorInfo(domain="impasto", reason="SHUTTING_DOWN")


def kinds(painting: impasto.Painting) -> list[str]:
    return [type(event).__name__ for event in painting]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stylize_first(count: int, then: Callable[[], object], *, pieces: int = 0) -> fake_server.Script:
    """Returns a script that sends `count` events and `pieces` pieces of the picture, then calls `then`."""

    def script(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        for event in course()[:count]:
            yield pb.StylizeResponse(event=event)
        for piece in fake_server.chunks(png(), size=PIECE)[:pieces]:
            yield pb.StylizeResponse(result=piece)
        then()
        # The messages are already sent; only the caller notices the broken stream.
        while context.is_active():
            time.sleep(0.01)

    return script


@pytest.mark.slow
@pytest.mark.parametrize("count", range(1, len(course()) + 1))
def test_a_painting_survives_a_broken_connection_after_any_event(
    fake: FakeServer, line: Line, count: int
) -> None:
    seen: list[str] = []
    reached = threading.Event()

    def cut() -> None:
        # Wait until the events before the cut have arrived.
        reached.wait(10)
        line.cut()

    fake.script = stylize_first(count, cut)
    with impasto.Client(line.address) as client, client.stylize(png(), png()) as painting:
        for event in painting:
            seen.append(type(event).__name__)
            if len(seen) == count:
                reached.set()
        assert seen == KINDS
        assert painting.result().data == png()
    if count < len(course()):
        assert [request.after_sequence for request in fake.called("WatchJob")] == [count]
        assert {request.name for request in fake.called("WatchJob")} == {"jobs/fake"}
    assert [request.result_of for request in fake.called("DownloadImage")] == ["jobs/fake"]
    assert len(fake.requests) == 1
    assert not fake.called("CancelJob")


@pytest.mark.slow
def test_a_painting_survives_many_broken_connections(fake: FakeServer, line: Line) -> None:
    seen: list[str] = []

    def one_event_each(request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        before = len(seen)
        events = fake._watch(request, context)
        yield next(events)
        yield next(events)
        until(lambda: len(seen) > before)
        line.cut()

    fake.script = stylize_first(1, line.cut)
    fake.watch_script = one_event_each
    with impasto.Client(line.address) as client:
        for event in client.stylize(png(), png()):
            seen.append(type(event).__name__)
        assert seen == KINDS
    assert len(fake.called("WatchJob")) >= len(KINDS) - 1


@pytest.mark.parametrize("pieces", [1, 2])
def test_the_rest_of_the_picture_is_downloaded(fake: FakeServer, line: Line, pieces: int) -> None:
    received: list[pb.ImageChunk] = []
    add = calls.Pieces.add

    def receive(self: calls.Pieces, piece: pb.ImageChunk) -> bool:
        received.append(piece)
        return add(self, piece)

    def cut() -> None:
        until(lambda: len(received) == pieces)
        line.cut()

    fake.script = stylize_first(len(course()), cut, pieces=pieces)
    with pytest.MonkeyPatch.context() as patch, impasto.Client(line.address) as client:
        patch.setattr(calls.Pieces, "add", receive)
        assert client.stylize(png(), png()).result().data == png()
    (request,) = fake.called("DownloadImage")
    assert request.offset == PIECE * pieces


@pytest.mark.slow
def test_a_painting_survives_a_restart_of_the_server() -> None:
    with fake_server.running() as (fake, server), impasto.Client(fake.address) as client:
        seen: list[str] = []
        gone = threading.Event()
        fake.script = stylize_first(3, lambda: gone.wait(10))

        def restart() -> None:
            until(lambda: len(seen) == 3)
            gone.set()
            server.stop()
            time.sleep(1)  # The server is down for a while.
            server.start()

        restarter = threading.Thread(target=restart)
        restarter.start()
        painting = client.stylize(png(), png())
        for event in painting:
            seen.append(type(event).__name__)
        assert seen == KINDS
        assert painting.result().data == png()
        restarter.join()
        assert [request.after_sequence for request in fake.called("WatchJob")][-1] == 3


def test_a_server_that_does_not_come_back_raises_unavailable() -> None:
    with fake_server.running() as (fake, server), impasto.Client(fake.address, patience=0.7) as client:
        fake.script = stylize_first(2, lambda: None)
        painting = client.stylize(png(), png())
        threading.Timer(0.2, server.stop).start()
        with pytest.raises(impasto.Unavailable):
            painting.result()
        painting.close()


def test_a_server_that_shuts_down_says_when_to_reconnect(client: impasto.Client, fake: FakeServer) -> None:
    ended = 0.0

    def draining(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        nonlocal ended
        for event in course()[:2]:
            yield pb.StylizeResponse(event=event)
        ended = time.monotonic()
        yield pb.StylizeResponse(event=resume(2, milliseconds=600))

    fake.script = draining
    painting = client.stylize(png(), png())
    came: list[float] = []

    def timed(request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        came.append(time.monotonic())
        yield from fake._watch(request, context)

    fake.watch_script = timed
    assert kinds(painting) == KINDS
    assert 0.6 <= came[0] - ended < 2


def test_known_events_are_not_repeated(client: impasto.Client, fake: FakeServer) -> None:
    def twice(request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        yield snapshot(course()[:4])
        for event in course():
            yield event
            yield heartbeat(event.sequence)
            yield event

    fake.script = refuse_after(4)
    fake.watch_script = twice
    painting = client.stylize(png(), png())
    assert kinds(painting) == KINDS
    assert painting.job.state == "succeeded"


def refuse_after(count: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> fake_server.Script:
    def script(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        for event in course()[:count]:
            yield pb.StylizeResponse(event=event)
        yield from refuse(code, "the worker died", REASON)(request, context)

    return script


def test_a_preview_older_than_the_job_it_comes_with(client: impasto.Client, fake: FakeServer) -> None:
    def missed(request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        yield snapshot(course())
        yield course()[3]

    fake.script = refuse_after(2)
    fake.watch_script = missed
    assert kinds(client.stylize(png(), png()))[2:] == ["JobChanged", "Preview"]


def test_only_unavailable_is_retried(client: impasto.Client, fake: FakeServer) -> None:
    fake.script = refuse_after(3, grpc.StatusCode.INTERNAL)
    painting = client.stylize(png(), png())
    with pytest.raises(impasto.ServerError, match="worker died"):
        painting.result()
    assert not fake.called("WatchJob")
    assert fake.called("CancelJob")


@pytest.mark.slow
def test_silence_counts_as_a_broken_connection(
    fake: FakeServer, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SILENCE", 1.5)
    # The server sends two events; the connection falls silent once both have arrived.
    fake.script = stylize_first(2, lambda: None)
    seen: list[str] = []
    with impasto.Client(line.address, timeout=2.0) as client:
        for event in client.stylize(png(), png()):
            seen.append(type(event).__name__)
            if len(seen) == 2:
                line.silence()
                threading.Timer(4.0, line.flow).start()
    assert seen == KINDS
    assert {request.after_sequence for request in fake.called("WatchJob")} == {2}
    assert len(fake.requests) == 1


@pytest.mark.slow
def test_heartbeats_keep_a_quiet_stream_open(
    client: impasto.Client, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SILENCE", 2.5)

    def quiet(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        yield pb.StylizeResponse(event=course()[0])
        for _ in range(30):
            time.sleep(0.1)
            yield pb.StylizeResponse(event=heartbeat(1))
        for event in course()[1:]:
            yield pb.StylizeResponse(event=event)
        yield from [pb.StylizeResponse(result=piece) for piece in fake_server.chunks(png())]

    fake.script = quiet
    assert kinds(client.stylize(png(), png())) == KINDS
    assert not fake.called("WatchJob")


@pytest.mark.slow
def test_a_slow_reader_does_not_count_as_silence(
    client: impasto.Client, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SILENCE", 2.0)
    painting = client.stylize(png(), png())
    time.sleep(2.5)
    for _ in painting:
        time.sleep(0.05)
    assert not fake.called("WatchJob")


def test_a_lost_stylize_is_repeated_with_the_same_request(client: impasto.Client, fake: FakeServer) -> None:
    fake.faults["Stylize"] = [status(grpc.StatusCode.UNAVAILABLE, "not yet", REASON)] * 2
    client.stylize(png(), png()).result()
    first, second, third = fake.called("Stylize")
    assert first == second == third
    assert len(first.request_id) == 36
    assert first.linger.seconds == 30
    client.stylize(png(), png()).result()
    assert fake.called("Stylize")[-1].request_id != first.request_id


def test_how_long_a_job_goes_on_without_its_caller_can_be_chosen(
    client: impasto.Client, fake: FakeServer
) -> None:
    client.stylize(png(), png(), linger=4.5).result()
    (request,) = fake.called("Stylize")
    assert (request.linger.seconds, request.linger.nanos) == (4, 500_000_000)


def test_a_job_that_keeps_running_is_not_cancelled(client: impasto.Client, fake: FakeServer) -> None:
    fake.script = fake_server.paint_forever
    with client.stylize(png(), png(), keep_running=True, title="t", priority=3):
        pass
    (request,) = fake.requests
    assert (request.keep_running, request.title, request.priority) == (True, "t", 3)
    assert not request.HasField("linger")
    assert fake.left.wait(10)
    assert not fake.called("CancelJob")


def test_cancelling_while_the_stream_is_down(fake: FakeServer, line: Line) -> None:
    def refuse_to_watch(request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        yield

    fake.script = refuse_after(2)
    fake.watch_script = refuse_to_watch
    with impasto.Client(line.address) as client:
        painting = client.stylize(png(), png())
        ends: list[float] = []

        def cancel() -> None:
            until(lambda: len(fake.called("WatchJob")) >= 2)
            painting.cancel()
            ends.append(time.monotonic())

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(impasto.JobCancelled):
            painting.result()
        assert fake.cancelled.wait(10)
        canceller.join()
        # Not only once its patience, a minute, is over.
        assert abs(time.monotonic() - ends[0]) < 30


def test_cancelling_gives_up_if_the_server_does_not_answer(
    fake: FakeServer, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "CANCEL_TIMEOUT", 0.5)
    fake.script = fake_server.paint_forever
    with impasto.Client(line.address) as client:
        painting = client.stylize(png(), png())
        line.silence()
        began = time.monotonic()
        painting.cancel()
        painting.close()
        assert time.monotonic() - began < 30


def test_closing_the_client_cancels_owned_jobs(fake: FakeServer) -> None:
    fake.script = fake_server.paint_forever
    with impasto.Client(fake.address) as client:
        painting = client.stylize(png(), png())
    assert fake.cancelled.is_set()
    with pytest.raises(impasto.JobCancelled):
        painting.result()


def test_watching_an_existing_job(client: impasto.Client, fake: FakeServer) -> None:
    fake.log = course()
    with client.watch("jobs/fake", previews=False) as painting:
        assert painting.job.name == "jobs/fake"
        assert kinds(painting) == KINDS
        assert painting.result().data == png()
    (request,) = fake.called("WatchJob")
    assert request.omit_previews


def test_leaving_a_watch_only_stops_watching(client: impasto.Client, fake: FakeServer) -> None:
    def forever(request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        context.add_callback(fake.left.set)
        yield course()[0]
        while context.is_active():
            time.sleep(0.05)
            yield heartbeat(1)

    fake.watch_script = forever
    with client.watch("jobs/fake"):
        pass
    assert fake.left.wait(10)
    assert not fake.called("CancelJob")
    painting = client.watch("jobs/fake")
    painting.cancel()
    assert fake.called("CancelJob")


def test_watching_ends_after_its_timeout(client: impasto.Client, fake: FakeServer) -> None:
    fake.watch_script = lambda request, context: iter([course()[0], heartbeat(1), *slowly(context)])
    with pytest.raises(impasto.DeadlineExceeded):
        client.watch("jobs/fake", timeout=0.5).result()
    assert not fake.called("CancelJob")


def slowly(context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
    while context.is_active():
        time.sleep(0.05)
        yield heartbeat(1)


def test_watching_a_deleted_job_raises_not_found(client: impasto.Client, fake: FakeServer) -> None:
    def gone(request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        context.abort(grpc.StatusCode.NOT_FOUND, "there is no job jobs/gone")
        yield

    fake.watch_script = gone
    with pytest.raises(impasto.NotFound, match="jobs/gone"):
        client.watch("jobs/gone")


def test_unary_calls_are_repeated_until_their_deadline(client: impasto.Client, fake: FakeServer) -> None:
    fake.faults["GetServerInfo"] = [status(grpc.StatusCode.UNAVAILABLE, "not yet", REASON)] * 3
    assert client.info().version == "9.9"
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromSeconds(30)
    fake.faults["GetServerInfo"] = [status(grpc.StatusCode.UNAVAILABLE, "not yet", REASON, retry)]
    with pytest.raises(impasto.Unavailable, match="not yet"):
        client.info()
    fake.faults["GetServerInfo"] = [status(grpc.StatusCode.INTERNAL, "a bug")]
    with pytest.raises(impasto.ServerError, match="a bug"):
        client.info()


@pytest.mark.slow
def test_unary_calls_survive_a_restart() -> None:
    with fake_server.running() as (fake, server), impasto.Client(fake.address) as client:
        client.info()
        server.stop()
        threading.Timer(1, server.start).start()
        assert client.info().version == "9.9"
        server.stop()
        impatient = impasto.Client(fake.address, timeout=0.5)
        with pytest.raises(impasto.Unreachable):
            impatient.info()
        server.start()


def test_a_delete_whose_answer_was_lost_succeeds(client: impasto.Client, fake: FakeServer) -> None:
    name = client.create_job(png(), png()).name
    fake.faults["DeleteJob"] = [status(grpc.StatusCode.UNAVAILABLE, "after it was done", REASON)]
    fake.jobs.clear()
    client.delete(name)
    with pytest.raises(impasto.NotFound):
        client.delete(name)
