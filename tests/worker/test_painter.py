from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import cast

import PIL.Image
import pytest

from impasto.worker.v1 import worker_pb2
from impasto_server.engine.memory import DoesNotFit, MemoryPlan
from impasto_server.engine.recipe import Recipe, RecipeError
from impasto_server.engine.session import Progress, Session
from impasto_server.jobs.previews import PreviewWish
from impasto_server.worker.painter import Broken, Event, Painted, Painter, Painting, Snapshot

DEVICE_BYTES = 1000


class FakeSession:
    """Takes a moment for each evaluation, and fails where it is told to."""

    size = (20, 10)
    stop_message = "done"

    def __init__(
        self, evaluations: int, *, seconds: float = 0.002, fails_at: int = 0, memory_bytes: int = 10
    ) -> None:
        self.plan = MemoryPlan("plain", memory_bytes)
        self.recipe = Recipe(precision="float32", evaluations=evaluations).resolve(20, 16)
        self.evaluations = evaluations
        self.seconds = seconds
        self.fails_at = fails_at
        self.made = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.held_up = threading.Event()

    @property
    def done(self) -> bool:
        return self.made == self.evaluations

    @property
    def stop_reason(self) -> str | None:
        return "completed" if self.done else None

    def step(self) -> Progress:
        if not self.may_go_on.is_set():
            self.held_up.set()
            self.may_go_on.wait()
        time.sleep(self.seconds)
        self.made += 1
        if self.made == self.fails_at:
            raise RuntimeError("the device failed")
        return Progress(
            evaluation=self.made,
            evaluations=self.evaluations,
            scale=1,
            scales=1,
            width=20,
            height=10,
            loss=1.0,
            content_loss=1.0,
            style_loss=1.0,
            tv_loss=0.0,
            seconds=self.made * self.seconds,
            seconds_left=None,
        )

    def picture(self, max_side: int | None = None) -> PIL.Image.Image:
        return PIL.Image.new("RGB", self.size)


def painting_of(session: FakeSession, wish: PreviewWish | None = None) -> Painting:
    def open_session(memory_bytes: int) -> Session:
        if session.plan.estimated_bytes > memory_bytes:
            message = f"needs {session.plan.estimated_bytes}, there are {memory_bytes}"
            raise RecipeError("longest_side", message) from DoesNotFit(session.plan.estimated_bytes)
        return cast(Session, session)

    return Painting(open_session, wish or PreviewWish())


async def events_of(painter: Painter, painting: Painting) -> list[Event]:
    """Lets a painting be painted, as the worker does, and gives what it told."""
    events: list[Event] = []
    painter.admit(painting)
    async for event in painting.events:
        events.append(event)
        if isinstance(event, Snapshot):
            painting.preview_coded(0.0)
        if isinstance(event, Painted | Broken):
            break
    await asyncio.to_thread(painter.drop, painting)
    return events


@pytest.fixture
def painter() -> Painter:
    painter = Painter(DEVICE_BYTES)
    threading.Thread(target=painter.work, daemon=True).start()
    return painter


def test_a_painting_tells_its_start_its_numbers_and_its_end(painter: Painter) -> None:
    async def paint() -> list[Event]:
        return await events_of(painter, painting_of(FakeSession(5)))

    events = asyncio.run(paint())
    assert isinstance(events[0], worker_pb2.RunResponse)
    assert events[0].started.recipe.evaluations == 5
    assert isinstance(events[-1], Painted)
    assert events[-1].evaluations == 5
    numbers = [e.progress for e in events if isinstance(e, worker_pb2.RunResponse) and e.HasField("progress")]
    assert numbers[-1].evaluation == 5
    assert any(isinstance(event, Snapshot) and event.evaluation == 1 for event in events)
    assert painter.resident == 0


def test_numbers_come_at_most_twenty_times_a_second(painter: Painter) -> None:
    async def paint() -> list[Event]:
        session = FakeSession(200, seconds=0.001)
        return await events_of(painter, painting_of(session, PreviewWish(disabled=True)))

    begin = time.monotonic()
    events = asyncio.run(paint())
    assert len(events) <= 4 + 20 * (time.monotonic() - begin)
    assert not any(isinstance(event, Snapshot) for event in events)


def test_one_that_raises_does_not_stop_the_others(painter: Painter) -> None:
    async def paint() -> list[list[Event]]:
        paintings = [painting_of(FakeSession(20)), painting_of(FakeSession(20, fails_at=3))]
        return await asyncio.gather(*(events_of(painter, painting) for painting in paintings))

    well, broken = asyncio.run(paint())
    assert isinstance(well[-1], Painted)
    assert isinstance(broken[-1], Broken)
    assert str(broken[-1].error) == "the device failed"
    assert painter.resident == 0


def test_a_session_that_cannot_be_opened_breaks_its_painting_only(painter: Painter) -> None:
    def open_session(memory_bytes: int) -> Session:
        raise RuntimeError("out of memory")

    async def paint() -> list[Event]:
        return await events_of(painter, Painting(open_session, PreviewWish()))

    (end,) = asyncio.run(paint())
    assert isinstance(end, Broken)


def test_turns_are_given_by_time(painter: Painter) -> None:
    slow, quick = FakeSession(10_000, seconds=0.02), FakeSession(10_000, seconds=0.002)

    async def paint() -> None:
        paintings = [painting_of(slow), painting_of(quick)]
        for painting in paintings:
            painter.admit(painting)
        await asyncio.sleep(1)
        for painting in paintings:
            await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())
    assert 0.5 < (slow.made * slow.seconds) / (quick.made * quick.seconds) < 3


def test_a_dropped_painting_is_off_before_its_next_evaluation_and_lets_go(painter: Painter) -> None:
    async def paint() -> weakref.ref[FakeSession]:
        session = FakeSession(10_000)
        painting = painting_of(session)
        painter.admit(painting)
        async for event in painting.events:
            if isinstance(event, Snapshot):
                break
        session.may_go_on.clear()
        await asyncio.to_thread(session.held_up.wait)
        dropping = asyncio.create_task(asyncio.to_thread(painter.drop, painting))
        await asyncio.sleep(0.05)
        assert not dropping.done()
        made = session.made
        session.may_go_on.set()
        await dropping
        assert session.made <= made + 1
        assert painter.resident == 0
        return weakref.ref(session)

    session = asyncio.run(paint())
    gc.collect()
    assert session() is None


def test_dropping_twice_or_after_the_end_does_nothing(painter: Painter) -> None:
    async def paint() -> None:
        painting = painting_of(FakeSession(1))
        await events_of(painter, painting)
        painter.drop(painting)

    asyncio.run(paint())
    assert painter.resident == 0


def test_paintings_wait_for_memory_in_line(painter: Painter) -> None:
    async def paint() -> None:
        first, large, small = (
            FakeSession(10_000, memory_bytes=600),
            FakeSession(10_000, memory_bytes=700),
            FakeSession(10_000, memory_bytes=10),
        )
        paintings = [painting_of(session) for session in (first, large, small)]
        for painting in paintings:
            painter.admit(painting)
        await asyncio.sleep(0.1)
        assert first.made > 0
        # The small one would fit, but it came after the large one.
        assert large.made == small.made == 0
        assert painter.resident == 1
        await asyncio.to_thread(painter.drop, paintings[0])
        await asyncio.sleep(0.1)
        assert large.made > 0
        assert small.made > 0
        assert painter.resident == 2
        for painting in paintings:
            await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())
    assert painter.resident == 0


def test_one_that_stops_waiting_makes_room_in_the_line(painter: Painter) -> None:
    async def paint() -> None:
        first, large, small = (FakeSession(10_000, memory_bytes=size) for size in (600, 700, 10))
        paintings = [painting_of(session) for session in (first, large, small)]
        for painting in paintings:
            painter.admit(painting)
        await asyncio.to_thread(painter.drop, paintings[1])
        await asyncio.sleep(0.1)
        assert small.made > 0
        for painting in paintings:
            await asyncio.to_thread(painter.drop, painting)

    asyncio.run(paint())


def test_one_that_can_never_fit_is_refused_at_once(painter: Painter) -> None:
    async def paint() -> Event:
        resident = painting_of(FakeSession(10_000, memory_bytes=600))
        painter.admit(resident)
        end = (await events_of(painter, painting_of(FakeSession(5, memory_bytes=1001))))[-1]
        await asyncio.to_thread(painter.drop, resident)
        return end

    end = asyncio.run(paint())
    assert isinstance(end, Broken)
    assert str(end.error) == "longest_side: needs 1001, there are 1000"
