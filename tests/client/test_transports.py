"""The duties of a transport besides carrying messages, over real sockets."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import grpc
import pytest

import impasto
from impasto import methods
from impasto import transport as transports
from impasto.transport import Endpoint, Stack, Transport, TransportError
from impasto.v1 import style_transfer_pb2 as pb
from support.fake_server import FakeServer, Line, course, preview, refuse

LARGE = 100_000


@pytest.fixture(params=["grpcio", "grpclib"])
def stack(request: pytest.FixtureRequest) -> Stack:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def transport(stack: Stack, fake: FakeServer) -> Iterator[Transport]:
    transport = transports.of(stack)(Endpoint(fake.address))
    yield transport
    transport.close()


def begun(transport: Transport) -> transports.Stream[pb.StylizeResponse]:
    return transport.stream(methods.STYLIZE, pb.StylizeRequest(), timeout=None)


def test_flow_control_holds_back_news_for_a_slow_reader(transport: Transport, fake: FakeServer) -> None:
    sent = 0

    def flood(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        nonlocal sent
        yield pb.StylizeResponse(event=course()[0])
        while context.is_active() and sent < 300:
            sent += 1
            large = preview(1)
            large.event.preview.data = bytes(LARGE)
            yield large

    fake.script = flood
    stream = begun(transport)
    assert stream.receive(10) is not None
    ahead, since, deadline = sent, time.monotonic(), time.monotonic() + 20
    while time.monotonic() - since < 0.5:
        assert time.monotonic() < deadline
        if sent != ahead:
            ahead, since = sent, time.monotonic()
        time.sleep(0.01)
    assert ahead * LARGE < 2**20
    for _ in range(2 * ahead):
        assert stream.receive(10) is not None
    assert sent > ahead
    stream.cancel()
    assert fake.left.wait(10)


def test_a_bulk_stream_runs_ahead_of_its_reader(transport: Transport, fake: FakeServer) -> None:
    fake.result = bytes(range(256)) * 8000
    stream = transport.stream(methods.DOWNLOAD_IMAGE, pb.DownloadImageRequest(result_of="jobs/a"), timeout=30)
    data = bytearray()
    while (chunk := stream.receive(10)) is not None:
        data += chunk.data
    assert data == fake.result
    assert stream.receive(10) is None


def test_cancelling_from_another_thread(transport: Transport, fake: FakeServer) -> None:
    def quiet(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        yield pb.StylizeResponse(event=course()[0])
        while context.is_active():
            time.sleep(0.01)

    fake.script = quiet
    stream = begun(transport)
    stream.receive(10)
    threading.Timer(0.2, stream.cancel).start()
    with pytest.raises(TransportError) as caught:
        stream.receive(10)
    assert caught.value.code == "CANCELLED"
    assert fake.left.wait(10)
    stream.cancel()


def test_a_silent_stream_raises_unavailable(transport: Transport, fake: FakeServer) -> None:
    def quiet(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        yield pb.StylizeResponse(event=course()[0])
        while context.is_active():
            time.sleep(0.01)

    fake.script = quiet
    stream = begun(transport)
    stream.receive(10)
    with pytest.raises(TransportError, match=r"nothing arrived for 0\.2 s") as caught:
        stream.receive(0.2)
    assert caught.value.code == "UNAVAILABLE"
    assert fake.left.wait(10)


def test_an_abandoned_stream_is_ended(transport: Transport, fake: FakeServer) -> None:
    def quiet(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        yield pb.StylizeResponse(event=course()[0])
        while context.is_active():
            time.sleep(0.01)

    fake.script = quiet
    stream = begun(transport)
    stream.receive(10)
    del stream
    assert fake.left.wait(10)


def test_a_stream_has_a_deadline(transport: Transport, fake: FakeServer) -> None:
    def quiet(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        yield pb.StylizeResponse(event=course()[0])
        while context.is_active():
            time.sleep(0.01)

    fake.script = quiet
    stream = transport.stream(methods.STYLIZE, pb.StylizeRequest(), timeout=0.3)
    stream.receive(10)
    with pytest.raises(TransportError) as caught:
        stream.receive(10)
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_error_details_arrive_unchanged(transport: Transport, fake: FakeServer) -> None:
    fake.script = refuse(grpc.StatusCode.ABORTED, "größer: 100 %")
    with pytest.raises(TransportError) as caught:
        begun(transport).receive(10)
    assert (caught.value.code, caught.value.message) == ("ABORTED", "größer: 100 %")
    assert caught.value.details is not None
    assert b"gr\xc3\xb6\xc3\x9fer" in caught.value.details


def test_an_answer_before_all_requests_are_sent_counts(transport: Transport, fake: FakeServer) -> None:
    # The server has the image and stops reading after the first piece.
    for attempt in range(20):
        sha256 = f"{attempt:064}"
        fake.images[sha256] = b""
        pieces = [
            pb.UploadImageRequest(sha256=sha256, size_bytes=16 * LARGE, offset=i * LARGE, data=bytes(LARGE))
            for i in range(16)
        ]
        answer = transport.upload(methods.UPLOAD_IMAGE, pieces, timeout=10)
        assert answer.complete


def test_an_unreachable_server_is_marked_as_unreached(stack: Stack) -> None:
    transport = transports.of(stack)(Endpoint("127.0.0.1:1"))
    with pytest.raises(TransportError, match="Connection refused") as caught:
        transport.unary(methods.GET_SERVER_INFO, pb.GetServerInfoRequest(), timeout=5)
    assert (caught.value.code, caught.value.unreached) == ("UNAVAILABLE", True)
    transport.close()


def test_a_broken_connection_is_always_unavailable(stack: Stack, fake: FakeServer, line: Line) -> None:
    received = threading.Event()

    def cut(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        yield pb.StylizeResponse(event=course()[0])
        received.wait(10)
        line.cut()

    fake.script = cut
    transport = transports.of(stack)(Endpoint(line.address))
    stream = begun(transport)
    assert stream.receive(10) is not None
    received.set()
    with pytest.raises(TransportError) as caught:
        stream.receive(10)
    assert (caught.value.code, caught.value.unreached) == ("UNAVAILABLE", False)
    transport.close()


def test_a_closed_transport_makes_no_calls(transport: Transport, fake: FakeServer) -> None:
    transport.close()
    transport.close()
    with pytest.raises(ValueError, match="closed"):
        transport.unary(methods.GET_SERVER_INFO, pb.GetServerInfoRequest(), timeout=5)


def test_closing_ends_calls_in_progress(transport: Transport, fake: FakeServer) -> None:
    def quiet(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        yield pb.StylizeResponse(event=course()[0])
        while context.is_active():
            time.sleep(0.01)

    fake.script = quiet
    stream = begun(transport)
    stream.receive(10)
    threading.Timer(0.2, transport.close).start()
    with pytest.raises(TransportError):
        stream.receive(10)
    assert fake.left.wait(10)


def test_closing_from_several_threads_at_once_ends(stack: Stack, fake: FakeServer) -> None:
    for _ in range(50):
        transport = transports.of(stack)(Endpoint(fake.address))
        stream = begun(transport)
        ended = []

        def use(transport: Transport = transport, ended: list[str] = ended) -> None:
            try:
                while True:
                    transport.unary(methods.GET_SERVER_INFO, pb.GetServerInfoRequest(), timeout=60)
            except (TransportError, ValueError):
                ended.append("calls")

        def read(stream: transports.Stream[pb.StylizeResponse] = stream, ended: list[str] = ended) -> None:
            with contextlib.suppress(TransportError):
                while stream.receive(60) is not None:
                    pass
            ended.append("stream")

        def close(transport: Transport = transport, ended: list[str] = ended) -> None:
            transport.close()
            ended.append("closing")

        threads = [threading.Thread(target=work, daemon=True) for work in (use, read, close, close)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(ended) == ["calls", "closing", "closing", "stream"]


def test_a_program_that_closes_at_exit_ends(stack: Stack) -> None:
    """Functions registered with atexit before the client run after the client has ended."""
    program = (
        "import atexit, impasto\n"
        "clients = []\n"
        "atexit.register(lambda: clients[0].close())\n"
        f"clients.append(impasto.Client('127.0.0.1:1', transport={stack!r}))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_threads_end_with_their_client(fake: FakeServer) -> None:
    # Threads of other tests may end later.
    before = set(threading.enumerate())
    for _ in range(3):
        client = impasto.Client(fake.address, transport="grpclib")
        client.info()
        client.close()
        impasto.Client(fake.address, transport="grpclib").info()
    deadline = time.monotonic() + 10
    while new := [t for t in threading.enumerate() if t not in before and t.name == "impasto-grpclib"]:
        assert time.monotonic() < deadline, new
        time.sleep(0.01)
