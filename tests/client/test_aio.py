"""The asyncio client: what differs from the blocking one. The other tests run with both clients."""

from __future__ import annotations

import asyncio
import inspect
import os
import pydoc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest

import impasto
import impasto.aio
from impasto.transport import Stack
from impasto.v1 import style_transfer_pb2 as pb
from support import fake_server
from support.fake_server import FakeServer, course, png


@pytest.fixture(params=["grpcio", "grpclib"])
def stack(request: pytest.FixtureRequest) -> Stack:
    return request.param  # type: ignore[no-any-return]


def run(
    fake: FakeServer, stack: Stack, errand: Callable[[impasto.aio.Client], Awaitable[None]], **options: float
) -> None:
    async def main() -> None:
        async with impasto.aio.Client(fake.address, transport=stack, **options) as client:  # type: ignore[arg-type]
            await asyncio.wait_for(errand(client), 30)

    asyncio.run(main())


def public(kind: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in vars(kind).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [(impasto.Client, impasto.aio.Client), (impasto.Painting, impasto.aio.Painting)],
)
def test_both_clients_have_the_same_calls_with_the_same_documentation(
    blocking: type, asynchronous: type
) -> None:
    here, there = public(blocking), public(asynchronous)
    assert here.keys() == there.keys()
    for name, method in here.items():
        assert inspect.signature(method).parameters == inspect.signature(there[name]).parameters, name
        assert inspect.getdoc(method), name
        assert inspect.getdoc(method) == inspect.getdoc(there[name]), name
        assert not inspect.iscoroutinefunction(method)
        listing = "AsyncIterator" in inspect.signature(there[name]).return_annotation
        assert inspect.iscoroutinefunction(there[name]) != listing, name


@pytest.mark.parametrize("client", [impasto.Client, impasto.aio.Client])
def test_help_shows_the_signature_and_the_documentation_of_a_call(client: type) -> None:
    text = pydoc.plain(pydoc.render_doc(client))
    assert "job(self, name: 'str | Job') -> 'Job'" in text
    assert "size=800" in text
    assert "Painting" in inspect.signature(vars(client)["stylize"]).return_annotation
    assert "allow_plaintext_token: whether to send the token without TLS" in text
    of_call = pydoc.plain(pydoc.render_doc(vars(client)["stylize"]))
    assert "Paints a photograph in the style of one or more paintings" in of_call


def test_a_painting(fake: FakeServer, stack: Stack) -> None:
    async def errand(client: impasto.aio.Client) -> None:
        async with await client.stylize(png(), png()) as painting:
            assert painting.job.state == "queued"
            events = [event async for event in painting]
            assert len(events) == 11
            assert (await painting.result()).data == png()

    run(fake, stack, errand)
    assert not fake.called("CancelJob")


def test_several_paintings_at_the_same_time(fake: FakeServer, stack: Stack) -> None:
    async def errand(client: impasto.aio.Client) -> None:
        async def one() -> bytes:
            return (await (await client.stylize(png(), png())).result()).data

        assert await asyncio.gather(*(one() for _ in range(8))) == [png()] * 8

    run(fake, stack, errand)


def quiet(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
    yield pb.StylizeResponse(event=course()[0])
    while context.is_active():
        time.sleep(0.01)


def test_cancelling_the_task_cancels_the_job(fake: FakeServer, stack: Stack) -> None:
    fake.script = quiet

    async def errand(client: impasto.aio.Client) -> None:
        painting = await client.stylize(png(), png())
        waiting = asyncio.Event()

        async def wait() -> None:
            waiting.set()
            await painting.result()

        task = asyncio.ensure_future(wait())
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert fake.cancelled.is_set()
        with pytest.raises(impasto.JobCancelled):
            await painting.result()

    run(fake, stack, errand)
    assert fake.left.wait(10)


def test_an_asyncio_timeout_cancels_the_job(fake: FakeServer, stack: Stack) -> None:
    fake.script = quiet

    async def errand(client: impasto.aio.Client) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for((await client.stylize(png(), png())).result(), 0.3)
        assert fake.cancelled.is_set()

    run(fake, stack, errand)


def test_cancelling_before_the_job_is_accepted(fake: FakeServer, stack: Stack) -> None:
    asked, cancelled = threading.Event(), threading.Event()

    def slow(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        asked.set()
        cancelled.wait(10)
        yield from fake_server.paint()

    fake.script = slow

    async def errand(client: impasto.aio.Client) -> None:
        task = asyncio.ensure_future(client.stylize(png(), png()))
        assert await asyncio.to_thread(asked.wait, 10)
        task.cancel()
        cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(fake, stack, errand)
    assert [request.name for request in fake.called("CancelJob")] == ["jobs/fake"]
    first, second = fake.called("Stylize")
    assert first == second


def test_cancelling_the_watcher_of_a_job_only_stops_watching(fake: FakeServer, stack: Stack) -> None:
    def forever(request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[pb.JobEvent]:
        context.add_callback(fake.left.set)
        yield course()[0]
        while context.is_active():
            time.sleep(0.01)

    fake.watch_script = forever

    async def errand(client: impasto.aio.Client) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for((await client.watch("jobs/fake")).result(), 0.2)

    run(fake, stack, errand)
    assert fake.left.wait(10)
    assert not fake.called("CancelJob")


def test_cancelling_a_task_ends_its_call(fake: FakeServer, stack: Stack) -> None:
    left = threading.Event()
    real = fake._enter

    def slow(name: str, request: object, context: grpc.ServicerContext) -> None:
        real(name, request, context)
        for _ in range(500):
            if not context.is_active():
                left.set()
                return
            time.sleep(0.01)

    fake._enter = slow  # type: ignore[method-assign]

    async def errand(client: impasto.aio.Client) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.info(), 0.3)
        assert await asyncio.to_thread(left.wait, 10)
        fake._enter = real  # type: ignore[method-assign]
        assert (await client.info()).version == "9.9"

    run(fake, stack, errand)


def test_the_event_loop_is_not_blocked(fake: FakeServer, stack: Stack) -> None:
    def slow(request: pb.StylizeRequest, context: grpc.ServicerContext) -> Iterator[pb.StylizeResponse]:
        for response in fake_server.paint():
            time.sleep(0.02)
            yield response

    fake.script = slow
    gaps = []

    async def tick() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - began)

    async def errand(client: impasto.aio.Client) -> None:
        ticking = asyncio.ensure_future(tick())
        await (await client.stylize(png(), png())).result()
        ticking.cancel()

    run(fake, stack, errand)
    assert len(gaps) > 20


def test_closing_the_client_cancels_owned_jobs(fake: FakeServer, stack: Stack) -> None:
    fake.script = quiet
    paintings = []

    async def errand(client: impasto.aio.Client) -> None:
        paintings.append(await client.stylize(png(), png()))

    run(fake, stack, errand)
    assert fake.cancelled.is_set()
    assert fake.left.wait(10)


def test_ctrl_c_cancels_the_job(fake: FakeServer, stack: Stack) -> None:
    fake.script = quiet
    program = f"""
import asyncio, impasto.aio
async def main():
    async with impasto.aio.Client({fake.address!r}, transport={stack!r}) as client:
        painting = await client.stylize({png()!r}, {png()!r})
        print("begun", flush=True)
        await painting.result()
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        os.kill(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert process.returncode in (1, -signal.SIGINT, 130)
    assert told.rstrip().endswith("KeyboardInterrupt")
    assert fake.cancelled.is_set()


def test_an_asyncio_client_needs_an_event_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        impasto.aio.Client("127.0.0.1")
